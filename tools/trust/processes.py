"""Jobs in processes of their own, forked from a server that has imported what is slow."""

import multiprocessing as mp
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

PRELOAD = [
    *(
        "torch._dynamo",
        "timm",
        "polars",
        "safetensors.torch",
        "accelerate",
        "matplotlib.pyplot",
        "scipy.stats",
    ),
    *("lookalike.cli.main", "lookalike.config", "lookalike.cli.train", "lookalike.training.run"),
    *("lookalike.cli.prepare", "lookalike.cli.index", "lookalike.cli.clean", "lookalike.search.index"),
    *("lookalike.clean.cleaning", "lookalike.prepare.make_dataset", "lookalike.search.registry"),
    *("lookalike.evaluation.evaluate", "lookalike.export.job", "onnxruntime", "onnx"),
]
DEADLINE = 600.0
"""Seconds after which a job counts as one that hangs."""
_started: list[int] = []


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: exit code; negative: the signal that killed it; None: it was still running after `DEADLINE`.
        out, err: what it printed.
        seconds: how long it took.
    """

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def is_crash(self) -> bool:
        """Whether it ended other than with an exit code, or showed a traceback or a bug."""
        is_bug = "Traceback (most recent call last)" in self.err or "a bug in Lookalike" in self.err
        return self.code is None or self.code < 0 or is_bug


class Process:
    """A call in a forked process.

    Args:
        work: called with `arguments`; its integer result is the exit code.
        before: called first, to change the process.
    """

    def __init__(self, work: Callable[..., Any], *arguments: Any, before: Callable[[], object] | None = None):
        context = mp.get_context("forkserver")
        if not _started:
            forkserver._forkserver._stop()  # pyrefly: ignore
            context.set_forkserver_preload(PRELOAD)
            _started.append(os.getpid())
        self._files = [Path(tempfile.mkstemp(prefix="trust-")[1]) for _ in range(2)]
        self._process = context.Process(target=_run, args=(work, arguments, before, self._files))
        self._begun = time.monotonic()
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid or 0

    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    def stop(self) -> None:
        """Suspend it, if it still runs."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue it after `stop`."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGCONT)

    def kill_after(self, seconds: float) -> Ended:
        """Send SIGKILL after so many seconds, unless it has ended by itself."""
        self._process.join(seconds)
        self._process.kill()
        return self.wait()

    def wait(self, deadline: float = DEADLINE) -> Ended:
        """Wait for its end; one that runs longer than `deadline` is killed."""
        self._process.join(deadline)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        seconds = time.monotonic() - self._begun
        texts = [file.read_text(encoding="utf-8", errors="replace") for file in self._files]
        for file in self._files:
            file.unlink(missing_ok=True)
        return Ended(code, *texts, seconds)


def _run(
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
    before: Callable[[], object] | None,
    files: list[Path],
) -> None:
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    if before is not None:
        before()
    code = work(*arguments)
    sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else 0)


def run_words(words: Sequence[str], folder: Path) -> int:
    """A command of Lookalike, in a folder."""
    from lookalike.cli import about_job
    from lookalike.cli.main import main

    os.chdir(folder)
    return main(about_job(words))


def start_job(words: Sequence[str], folder: Path, before: Callable[[], object] | None = None) -> Process:
    """Start a command of Lookalike in a forked process, in a folder."""
    return Process(run_words, list(words), folder, before=before)
