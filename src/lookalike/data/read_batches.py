"""Batches of a table's images as arrays, read ahead by threads, without PyTorch."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from lookalike.data.decode import open_image
from lookalike.data.table import Table
from lookalike.errors import ImageError, Problem

AHEAD = 2
"""Batches that are read while one is computed."""


@dataclass(frozen=True)
class ArrayBatch:
    """Images, uint8 [3, H, W] each, the `rows` [B] they are of, and what could not be read."""

    images: list[np.ndarray]
    rows: np.ndarray
    skipped: list[Problem]


def read_batches(
    table: Table,
    rows: Sequence[int],
    pixels: Callable[[Image.Image], np.ndarray],
    at_least: int | None = None,
    batch_size: int = 64,
    threads: int = 1,
) -> Iterator[ArrayBatch]:
    """The images of some rows, in their order.

    Args:
        table: whose images are read.
        rows: row numbers.
        pixels: from an upright RGB image to uint8 [3, H, W].
        at_least: see `open_image`.
        batch_size: rows per batch.
        threads: threads that decode; decoders work outside of Python's lock.
    """
    starts = range(0, len(rows), batch_size)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        waiting: deque[tuple[Sequence[int], list[Future[Any]]]] = deque()
        for start in starts:
            some = rows[start : start + batch_size]
            waiting.append((some, [pool.submit(_read, table, row, pixels, at_least) for row in some]))
            if len(waiting) > AHEAD:
                yield _collect(*waiting.popleft())
        while waiting:
            yield _collect(*waiting.popleft())


def _read(
    table: Table, row: int, pixels: Callable[[Image.Image], np.ndarray], at_least: int | None
) -> np.ndarray | Problem:
    try:
        if table.items is not None:
            return pixels(table.items.picture(table.frame["item"][row]))
        return pixels(open_image(table.folder / table.frame["path"][row], table.box(row), at_least))
    except ImageError as error:
        return Problem(error.path, error.reason, row)


def _collect(rows: Sequence[int], futures: Sequence["Future[Any]"]) -> ArrayBatch:
    results = [future.result() for future in futures]
    good = [index for index, result in enumerate(results) if not isinstance(result, Problem)]
    skipped = [result for result in results if isinstance(result, Problem)]
    numbers = np.array([rows[index] for index in good], np.int64)
    return ArrayBatch([results[index] for index in good], numbers, skipped)
