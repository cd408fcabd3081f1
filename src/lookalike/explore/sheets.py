"""Sheets of thumbnails, in the order in which a map needs them."""

import io
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from lookalike.data.table import Table
from lookalike.data.thumbnails import Thumbnails
from lookalike.errors import Problem

log = logging.getLogger(__name__)
PER_SIDE = 16
"""Pictures along each side of a sheet: a sheet of 64 px ones takes 4 MB once a browser has decoded it."""


def tile_order(positions: np.ndarray) -> np.ndarray:
    """The index of each row among the thumbnails, int64 [N].

    The first few cover the whole map, followed by finer and finer levels. Within a level, thumbnails that are
    close on the map are close in this order, so that any view needs few sheets.

    Args:
        positions: positions between 0 and 1, [N, 2].
    """
    left = np.arange(len(positions))
    order: list[np.ndarray] = []
    for level in range(3, 14):
        codes = _morton_codes(positions[left], level)
        _, first = np.unique(codes, return_index=True)
        order.append(left[first])
        left = np.delete(left, first)
        if not len(left):
            break
    order.append(left[np.argsort(_morton_codes(positions[left], 14), kind="stable")])
    rows = np.concatenate(order)
    tiles = np.empty(len(rows), np.int64)
    tiles[rows] = np.arange(len(rows))
    return tiles


def _morton_codes(positions: np.ndarray, level: int) -> np.ndarray:
    """Numbers of the cells of a grid of 2^level × 2^level, along a curve that keeps neighbours together."""
    cells = np.minimum((positions * 2**level).astype(np.int64), 2**level - 1)
    codes = np.zeros(len(positions), np.int64)
    for bit in range(level):
        codes |= ((cells[:, 0] >> bit & 1) << (2 * bit)) | ((cells[:, 1] >> bit & 1) << (2 * bit + 1))
    return codes


@dataclass(frozen=True)
class Sheet:
    """A sheet of pictures.

    Attributes:
        webp: its file.
        height: of the sheet in pixels; the width is always that of `PER_SIDE` pictures.
        rows: which images are on it, row by row from the upper left corner.
        sizes: width and height of each, [n, 2].
        pictures: each as a WebP of its own.
        problems: images that could not be read.
    """

    webp: bytes
    height: int
    rows: np.ndarray
    sizes: np.ndarray
    pictures: list[bytes]
    problems: list[Problem]


def draw_sheets(table: Table, tiles: np.ndarray, side: int, progress: bool = True) -> Iterator[Sheet]:
    """All sheets, one after the other; each image is read once.

    Args:
        table: the images.
        tiles: the place of each row among the pictures.
        side: pixels of the longer side of a picture.
        progress: show a bar on stderr.
    """
    rows = np.argsort(tiles)
    starts = range(0, len(rows), PER_SIDE**2)
    bar = track(starts, "small pictures", console=Console(stderr=True), disable=not progress)
    with ThreadPoolExecutor(2) as pool:
        for start in bar:
            yield _sheet(table, rows[start : start + PER_SIDE**2], side, pool)


def _sheet(table: Table, rows: np.ndarray, side: int, pool: ThreadPoolExecutor) -> Sheet:
    thumbnails = Thumbnails(table, side)
    images = list(pool.map(thumbnails.picture, rows.tolist()))
    lines = -(-len(rows) // PER_SIDE)
    sheet = Image.new("RGB", (PER_SIDE * side, lines * side), "white")
    for index, image in enumerate(images):
        sheet.paste(image, (index % PER_SIDE * side, index // PER_SIDE * side))
    return Sheet(
        _webp(sheet),
        sheet.height,
        rows,
        np.array([image.size for image in images]),
        list(pool.map(_webp, images)),
        list(thumbnails.problems.values()),
    )


def _webp(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=78, method=2)
    return file.getvalue()
