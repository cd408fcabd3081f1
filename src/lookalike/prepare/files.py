"""Decodes every image file once, in worker processes, before training."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TypeVar

log = logging.getLogger(__name__)
CHUNK = 16
CHUNKS_PER_WORKER = 8
CRASHED = "reading it crashed the worker process (damaged, or too large for memory)"


@dataclass(frozen=True)
class FileCheck:
    """The result of checking a file: its size in pixels, or the reason why it cannot be used."""

    width: int = 0
    height: int = 0
    reason: str = ""


CheckFile = Callable[[Path], FileCheck]
Item = TypeVar("Item")
Result = TypeVar("Result")


def check_by_decoding(file: Path) -> FileCheck:
    """Decode an image completely."""
    from lookalike.data.decode import open_image
    from lookalike.errors import ImageError

    try:
        return FileCheck(*open_image(file).size)
    except ImageError as error:
        return FileCheck(reason=error.reason)


def check_header(file: Path) -> FileCheck:
    """Read only the header of an image."""
    from lookalike.data.decode import image_size
    from lookalike.errors import ImageError

    try:
        return FileCheck(*image_size(file))
    except ImageError as error:
        return FileCheck(reason=error.reason)


def check_files(
    files: Sequence[Path], look: CheckFile = check_by_decoding, workers: int | None = None
) -> Iterator[FileCheck]:
    """Check each file, in order.

    A file that crashes the process reading it is identified and reported like any other; the rest continues.

    Args:
        files: the files.
        look: the check: `check_by_decoding`, `check_header`, or another function that a worker can import.
        workers: processes; 0 for none (a crash is then yours), None for one a core.
    """
    return run_in_workers(files, look, FileCheck(reason=CRASHED), workers)


def run_in_workers(
    items: Sequence[Item],
    work: Callable[[Item], Result],
    crashed: Result,
    workers: int | None = None,
    chunk: int | None = None,
) -> Iterator[Result]:
    """Apply `work` to each item in worker processes, in order.

    Args:
        items: are pickled and sent to the workers.
        work: a function that a worker can import, or an object that can be pickled.
        crashed: result for an item that crashed its process; the rest continues.
        workers: processes; 0 for none (a crash then ends this process), None for one per core.
        chunk: items sent at once; None for many, which suits short tasks.
    """
    workers = _cores() if workers is None else workers
    chunk = CHUNK if chunk is None else chunk
    if not workers or len(items) <= chunk or not _can_start():
        yield from map(work, items)
        return
    workers = min(workers, -(-len(items) // chunk))
    done, window = 0, chunk * CHUNKS_PER_WORKER * workers
    while done < len(items):
        with _pool(workers) as pool:
            broken = False
            while done < len(items) and not broken:
                some = items[done : done + window]
                done += len(some)
                broken = yield from _try_in_pool(pool, some, work, crashed, chunk)


def run_in_process(work: Callable[..., Result], *arguments: object) -> Result:
    """The result of `work`, run in a separate process, for libraries that crash on damaged files.

    Args:
        work: a function that a worker can import.
        arguments: its arguments.

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


def _try_in_pool(
    pool: ProcessPoolExecutor,
    items: Sequence[Item],
    work: Callable[[Item], Result],
    crashed: Result,
    chunk: int,
) -> Generator[Result, None, bool]:
    """Yield the results; returns whether one of the items broke the pool."""
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    try:
        waiting = [pool.submit(_run_each, work, few) for few in chunks]
    except BrokenProcessPool:
        for few in chunks:
            yield from _run_one_by_one(few, work, crashed)
        return True
    broken = False
    for few, future in zip(chunks, waiting, strict=True):
        try:
            result = future.result()
        except BrokenProcessPool:
            broken = True
            result = _run_one_by_one(few, work, crashed)
        yield from result
    return broken


def _run_one_by_one(items: Sequence[Item], work: Callable[[Item], Result], crashed: Result) -> list[Result]:
    """Run each group of items in a separate process, halving groups until the crashing item is found."""
    try:
        with _pool(1) as pool:
            return pool.submit(_run_each, work, items).result()
    except BrokenProcessPool:
        if len(items) == 1:
            return [crashed]
    middle = len(items) // 2
    return _run_one_by_one(items[:middle], work, crashed) + _run_one_by_one(items[middle:], work, crashed)


def _run_each(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [work(item) for item in items]


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that ignore Ctrl-C, and end with the block even if work is pending.

    All of them start before there is work. The executor would start them one by one as work comes in, and one
    that starts while another crashes is never ended: the executor then waits for it forever.
    """
    context = _context()
    all_started = context.Event()
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(all_started,))
    try:
        with _interrupt(later=True):
            process_ids = [pool.submit(os.getpid) for _ in range(workers)]
            all_started.set()
            for process_id in process_ids:
                process_id.result()
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(all_started: Event) -> None:
    """Worker initialiser: ignore Ctrl-C, exit when the main process does, and wait for the other workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    all_started.wait()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _context() -> BaseContext:
    """Spawned processes: forking a process with threads, such as those of Polars, may deadlock."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["lookalike.data.decode"])
    with _interrupt(later=False):
        forkserver.ensure_running()
    return context


@contextmanager
def _interrupt(later: bool) -> Iterator[None]:
    """Ignore or defer Ctrl-C while processes start, since half-started ones print errors."""
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
    """Whether workers can start: they cannot in a script without `if __name__ == "__main__"`."""
    try:
        with _pool(1):
            pass
    except BrokenProcessPool:
        log.warning("worker processes could not be started; images are read in this process")
        return False
    return True


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
