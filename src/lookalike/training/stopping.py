"""Stopping on SIGTERM or Ctrl-C: training finishes its step and saves."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist


class Stopped(Exception):
    """Training was stopped by a signal, after it was saved.

    Args:
        by: "SIGTERM" or "Ctrl-C".
        epoch, batch: where it stopped.
    """

    def __init__(self, by: str | None, epoch: int, batch: int) -> None:
        super().__init__(f"stopped by {by} in epoch {epoch}, after {batch} batches of it")
        self.by = by


class Stop:
    """Whether a signal has asked training to end, and which.

    Attributes:
        by: "SIGTERM" or "Ctrl-C"; None while training may go on.
    """

    def __init__(self) -> None:
        self.by: str | None = None

    def stop_requested(self) -> bool:
        """Whether to end now; all processes of a run get the same answer after the same step."""
        if not (dist.is_available() and dist.is_initialized()):
            return self.by is not None
        names = (None, "SIGTERM", "Ctrl-C")
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        signal_code = torch.tensor(names.index(self.by), device=device)
        dist.all_reduce(signal_code, dist.ReduceOp.MAX)
        together = names[int(signal_code)]
        self.by = together or self.by  # a signal that came meanwhile counts after the next step
        return together is not None


@contextmanager
def listen_for_signals() -> Iterator[Stop]:
    """Record SIGTERM and the first Ctrl-C instead of ending; a second Ctrl-C ends training at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note_signal(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and stop.by == "Ctrl-C":
            raise KeyboardInterrupt
        stop.by = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"

    before = {number: signal.signal(number, note_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_signals_alone(_: int) -> None:
    """Signal handlers of a loader process: the main process handles Ctrl-C, and sends SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
