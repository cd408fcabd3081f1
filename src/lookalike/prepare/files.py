"""Every picture file decoded once, in worker processes, before anything is trained on it."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger(__name__)
CHUNK = 16
CHUNKS_PER_WORKER = 8
CRASHED = "reading it crashed the process that tried (damaged, or too large for the memory)"


@dataclass(frozen=True)
class Seen:
    """What a file turned out to be: its size in pixels, or the reason why it cannot be used."""

    width: int = 0
    height: int = 0
    reason: str = ""


Look = Callable[[Any], Seen]
Result = TypeVar("Result")


def decoded(file: Path) -> Seen:
    """Decode a picture to its last pixel."""
    from lookalike.data.decode import open_image
    from lookalike.errors import ImageError

    try:
        return Seen(*open_image(file).size)
    except ImageError as error:
        return Seen(reason=error.reason)


def glanced(file: Path) -> Seen:
    """Read a picture's header only."""
    from lookalike.data.decode import image_size
    from lookalike.errors import ImageError

    try:
        return Seen(*image_size(file))
    except ImageError as error:
        return Seen(reason=error.reason)


def look_at(files: Sequence[Any], look: Look = decoded, workers: int | None = None) -> Iterator[Seen]:
    """What each file is, in order.

    A file that kills the process reading it is found and reported like any other; the rest goes on.

    Args:
        files: the files, or what else `look` takes.
        look: what to do with each: `decoded`, `glanced`, or another function that a worker can import.
        workers: processes; 0 for none (a crash is then yours), None for one a core.
    """
    workers = _cores() if workers is None else workers
    if not workers or len(files) <= CHUNK or not _can_start():
        yield from map(look, files)
        return
    done, window = 0, CHUNK * CHUNKS_PER_WORKER * workers
    while done < len(files):
        with _pool(workers) as pool:
            broken = False
            while done < len(files) and not broken:
                seen, broken = _tried(pool, files[done : done + window], look)
                done += len(seen)
                yield from seen


def apart(work: Callable[..., Result], *arguments: object) -> Result:
    """What `work` returns, done in a process of its own, for libraries that damaged files bring down.

    Args:
        work: a function that a worker can import.
        arguments: what it is given.

    Raises:
        BrokenProcessPool: the process died.
    """
    try:
        with _pool(1) as pool:
            return pool.submit(work, *arguments).result()
    except BrokenProcessPool:
        if _can_start():
            raise
        return work(*arguments)


def _tried(pool: ProcessPoolExecutor, files: Sequence[Any], look: Look) -> tuple[list[Seen], bool]:
    """What the files are, and whether one of them broke the pool."""
    chunks = [files[place : place + CHUNK] for place in range(0, len(files), CHUNK)]
    try:
        waiting = [pool.submit(_each, look, chunk) for chunk in chunks]
    except BrokenProcessPool:
        return [seen for chunk in chunks for seen in _alone(chunk, look)], True
    found: list[Seen] = []
    broken = False
    for chunk, future in zip(chunks, waiting, strict=True):
        try:
            found += future.result()
        except BrokenProcessPool:
            broken = True
            found += _alone(chunk, look)
    return found, broken


def _alone(files: Sequence[Any], look: Look) -> list[Seen]:
    """Each group of files in a process of its own, halved until the one that crashes is found."""
    try:
        with _pool(1) as pool:
            return pool.submit(_each, look, files).result()
    except BrokenProcessPool:
        if len(files) == 1:
            return [Seen(reason=CRASHED)]
    middle = len(files) // 2
    return _alone(files[:middle], look) + _alone(files[middle:], look)


def _each(look: Look, files: Sequence[Any]) -> list[Seen]:
    return [look(file) for file in files]


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that leave Ctrl-C to the main one, and end with the block whatever waits."""
    ignore = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(workers, _context(), initializer=signal.signal, initargs=ignore)
    try:
        with _interrupt(later=True):
            pool.submit(os.getpid).result()
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _context() -> BaseContext:
    """Fresh processes: a fork of one that runs threads, as Polars does, may hang."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["lookalike.data.decode"])
    with _interrupt(later=False):
        forkserver.ensure_running()
    return context


@contextmanager
def _interrupt(later: bool) -> Iterator[None]:
    """Ctrl-C ignored while processes start, also by them, or heard later: half started, they complain."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    before = signal.signal(
        signal.SIGINT, (lambda number, _: heard.append(number)) if later else signal.SIG_IGN
    )
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def _can_start() -> bool:
    """Whether workers live at all: not in a script that works outside of `if __name__ == "__main__"`."""
    try:
        with _pool(1):
            pass
    except BrokenProcessPool:
        log.warning("no worker processes could be started; images are read one after another")
        return False
    return True


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
