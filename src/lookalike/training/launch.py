"""Several processes on this machine: started together, watched, and ended together."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lookalike.errors import ConfigError, LookalikeError, PeerError
from lookalike.machine import cores
from lookalike.training.worker import ARGUMENTS_FILE, MEETING, Failure, read_failure

log = logging.getLogger(__name__)
GRACE = 20.0
"""Seconds that the others have, once a process has failed, to notice it and leave their files whole."""
WORLD = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
Codes = list[int | None]


def must_launch(processes: int | None) -> bool:
    """Whether this process has to start others, rather than to train itself.

    Args:
        processes: how many are asked for; None for those that there are.

    Raises:
        ConfigError: torchrun, or a cluster, has started another number.
    """
    started = [int(os.environ[name]) for name in WORLD if name in os.environ]
    if started:
        if processes not in (None, started[0]):
            raise ConfigError(
                f"processes={processes}, but {started[0]} were started: leave out processes=, or let "
                "this command start them, without torchrun"
            )
        return False
    if processes is None and "ACCELERATE_MIXED_PRECISION" in os.environ:
        log.warning(
            "`accelerate launch` has started one process. If you asked it for several, which it "
            "ignores with --cpu, take processes=2, or torchrun"
        )
    return processes is not None and processes > 1


def launch(module: str, arguments: dict[str, Any], processes: int) -> None:
    """Run `python -m module` in so many processes, and return when all have ended well.

    The first of them is the main process, and shares this one's stderr. SIGTERM and Ctrl-C are passed on.
    When one fails, the others have 20 seconds to end; when this one dies, of whatever, they die with it.

    Args:
        module: calls `lookalike.training.worker.run_as_process`.
        arguments: plain values for it.
        processes: how many.

    Raises:
        LookalikeError: a process was killed.
        BaseException: what the process raised that failed first, with its traceback as the cause.
    """
    with tempfile.TemporaryDirectory(prefix="lookalike-") as name:
        meeting, ranks = Path(name), list[subprocess.Popen]()
        (meeting / ARGUMENTS_FILE).write_text(json.dumps(arguments), encoding="utf-8")
        try:
            with _forward_signals(ranks) as signals:
                for rank in range(processes):
                    ranks.append(_start(module, rank, processes, meeting))
                    for number in signals:
                        ranks[-1].send_signal(number)
                codes = _wait(ranks, signals)
        finally:
            _end(ranks)
        failures = [read_failure(meeting, rank) for rank in range(processes)]
    _raise(failures, codes, signals)


def _start(module: str, rank: int, processes: int, meeting: Path) -> subprocess.Popen:
    """One process. Its stdin is a pipe that ends when this process does."""
    environment = {
        **_default_environment(processes),
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        MEETING: str(meeting),
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        env=environment,
        process_group=0,  # or Ctrl-C in a terminal would reach it twice
    )


def _default_environment(processes: int) -> dict[str, str]:
    """Cores divided among processes, which talk over the loopback interface; the user's own values win."""
    environment = {"OMP_NUM_THREADS": str(max(1, cores() // processes))}
    if "lo" in (name for _, name in socket.if_nameindex()):
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    return environment


@contextmanager
def _forward_signals(ranks: list[subprocess.Popen]) -> Iterator[list[int]]:
    """Pass SIGINT and SIGTERM on to all processes; yields the list of those that came."""
    signals: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return

    def forward_signal(number: int, _: FrameType | None) -> None:
        signals.append(number)
        for rank in ranks:
            rank.send_signal(number)

    before = {number: signal.signal(number, forward_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(ranks: list[subprocess.Popen], signals: list[int]) -> Codes:
    """Exit codes when all have ended, or when it is time to end those that go on: None for them."""
    deadline = float("inf")
    while None in (codes := [rank.poll() for rank in ranks]) and time.monotonic() < deadline:
        if any(codes) or signals.count(signal.SIGINT) > 1:
            deadline = min(deadline, time.monotonic() + GRACE)
        time.sleep(0.05)
    return codes


def _end(ranks: list[subprocess.Popen]) -> None:
    """Leave none behind, nor the loader processes of those that are killed."""
    for rank in ranks:
        if rank.poll() is None:
            os.killpg(rank.pid, signal.SIGKILL)
        rank.wait()
        if rank.stdin:
            rank.stdin.close()


def _raise(failures: list[Failure | None], codes: Codes, signals: list[int]) -> None:
    """Raise what ended the run, if it did not end well: the cause, not what followed from it."""
    errors = [failure for failure in failures if failure is not None]
    causes = [failure for failure in errors if not isinstance(failure.error, PeerError)]
    if signals and causes:
        raise causes[0].error  # that of the main process, which says what was saved
    if causes:
        raise min(causes, key=lambda failure: failure.time).error
    if signals and -signals[-1] in codes:
        signal.raise_signal(signals[-1])  # it came before there was anything to save
    for rank, (code, failure) in enumerate(zip(codes, failures, strict=True)):
        if code and failure is None:
            raise LookalikeError(f"process {rank} of 0 to {len(codes) - 1} {_exit_text(code)}")
    if errors:
        raise errors[0].error


def _exit_text(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}, without a word"
    hint = ". Was there memory enough for all of them?" if code == -signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{hint}"
