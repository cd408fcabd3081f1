"""One thread that runs the model, on the pictures of all requests that wait at the time."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

Run = Callable[[Sequence[Any]], np.ndarray]
"""From model inputs to vectors [n, D]."""


class ModelThread:
    """Computes vectors. Requests that arrive during a pass of the model share the next one.

    Args:
        run: the model.
        batch_size: pictures per pass, at most.
        observe: is told the size of each batch.
    """

    def __init__(self, run: Run, batch_size: int, observe: Callable[[int], object] | None = None):
        self.run, self.batch_size, self.observe = run, batch_size, observe
        self._waiting: queue.SimpleQueue[tuple[Sequence[Any], Future[np.ndarray]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._work, name="lookalike-model", daemon=True)
        self._thread.start()

    def submit(self, inputs: Sequence[Any]) -> "Future[np.ndarray]":
        """The vectors of some pictures, when they are ready."""
        future: Future[np.ndarray] = Future()
        self._waiting.put((inputs, future))
        return future

    def close(self) -> None:
        """Finish what waits, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            jobs, size, is_last = [job], len(job[0]), False
            while size < self.batch_size and not is_last:
                try:
                    job = self._waiting.get_nowait()
                except queue.Empty:
                    break
                is_last = job is None
                if job is not None:
                    jobs.append(job)
                    size += len(job[0])
            self._compute([job for job in jobs if job[1].set_running_or_notify_cancel()])
            if is_last:
                return

    def _compute(self, jobs: "Sequence[tuple[Sequence[Any], Future[np.ndarray]]]") -> None:
        inputs, size = [each for job in jobs for each in job[0]], self.batch_size
        if not inputs:
            return
        try:
            batches = [self._run_batch(inputs[row : row + size]) for row in range(0, len(inputs), size)]
            vectors = np.concatenate(batches)
        except Exception as error:
            for _, future in jobs:
                future.set_exception(error)
            return
        start = 0
        for inputs, future in jobs:
            future.set_result(vectors[start : start + len(inputs)])
            start += len(inputs)

    def _run_batch(self, inputs: Sequence[Any]) -> np.ndarray:
        if self.observe is not None:
            self.observe(len(inputs))
        return self.run(inputs)
