"""Small copies of images that copies of a photo share, and the hashes that are computed from them."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import IO

import numpy as np
from PIL import Image

from lookalike.data.decode import Box, decode_guarded, decode_part
from lookalike.data.table import Table
from lookalike.errors import DataError, ImageError, Problem
from lookalike.prepare.files import CRASHED, run_in_workers

SIDE = 32
"""Pixels of a small copy, squeezed to a square."""
HASHED = 8
"""Frequencies a side that the hash is made of."""
CHROMA = 4
"""Frequencies a side of each of the two colour differences in a descriptor."""
MEASURED = 128
"""Pixels of the shorter side at which sharpness is measured."""
FLAT = 2.0
"""Standard deviation, in grey levels, up to which an image is blank."""
BLOCK = 8192
IN_MEMORY = 1 << 29
"""Bytes of small copies that are kept in memory; more of them lie in a temporary file."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
MEASURES = ("contrast", "sharpness", "dark", "bright")

Item = tuple[str, Box | None]


@dataclass(frozen=True)
class Reading:
    """What is read of one image.

    Attributes:
        thumb: uint8 [32, 32, 3] as bytes.
        width: of the image, or of its box.
        height: of the image, or of its box.
        measures: contrast (standard deviation in grey levels), sharpness (of the Laplacian, divided by the
            contrast), and the shares of pixels that are nearly black and nearly white.
        reason: why the image cannot be read; empty if it can.
    """

    thumb: bytes = b""
    width: int = 0
    height: int = 0
    measures: tuple[float, ...] = (np.nan,) * len(MEASURES)
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Signatures:
    """The images of a table in small, one row each.

    Attributes:
        thumbs: uint8 [N, 32, 32, 3]; zeros for an image that cannot be read.
        sizes: width and height of the images, or of their boxes, int64 [N, 2]; 0 where unreadable.
        measures: float64 [N, 4], see `Reading`; NaN unless they were asked for.
        problems: images that cannot be read.
    """

    thumbs: np.ndarray
    sizes: np.ndarray
    measures: np.ndarray
    problems: list[Problem]

    def __len__(self) -> int:
        return len(self.thumbs)

    @property
    def readable(self) -> np.ndarray:
        """Which images can be read, bool [N]."""
        return self.sizes[:, 0] > 0

    @property
    def areas(self) -> np.ndarray:
        """Pixels of each image, int64 [N]."""
        return self.sizes.prod(1)

    @cached_property
    def grey(self) -> np.ndarray:
        """Grey levels of the small copies, uint8 [N, 32, 32]."""
        grey = np.empty(self.thumbs.shape[:3], np.uint8)
        for part in blocks(len(self)):
            grey[part] = np.rint(self.thumbs[part] @ LUMA)
        return grey

    @cached_property
    def is_blank(self) -> np.ndarray:
        """Which images show nothing but one colour, bool [N]."""
        spread = np.empty(len(self), np.float32)
        for part in blocks(len(self)):
            spread[part] = self.thumbs[part].reshape(len(self.thumbs[part]), -1, 3).std(1).max(1)
        return self.readable & (spread < FLAT)


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Consecutive parts of so many rows."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def read_signatures(
    table: Table, *, measure: bool = False, workers: int | None = 0, progress: bool = False
) -> Signatures:
    """Read every image of a table once.

    Args:
        table: rows may have boxes.
        measure: also measure contrast, sharpness and exposure, which takes a larger copy.
        workers: processes; 0 for none, None for one a core.
        progress: show a bar on stderr.

    Raises:
        DataError: the table has no files, but images in memory.
    """
    from rich.console import Console
    from rich.progress import track

    if table.items is not None:
        raise DataError(f"{table.folder}: images in memory cannot be compared; write them as files first")
    items = [(os.fspath(table.file(row)), table.box(row)) for row in range(len(table))]
    readings = run_in_workers(items, partial(read_image, measure=measure), Reading(reason=CRASHED), workers)
    thumbs = _allocate((len(items), SIDE, SIDE, 3))
    sizes, measures = np.zeros((len(items), 2), np.int64), np.full((len(items), len(MEASURES)), np.nan)
    problems = []
    bar = track(
        readings, "Reading images", total=len(items), console=Console(stderr=True), disable=not progress
    )
    for row, reading in enumerate(bar):
        if reading.reason:
            problems.append(Problem(table.frame["path"][row], reading.reason, row))
            continue
        thumbs[row] = np.frombuffer(reading.thumb, np.uint8).reshape(SIDE, SIDE, 3)
        sizes[row], measures[row] = (reading.width, reading.height), reading.measures
    return Signatures(thumbs, sizes, measures, problems)


def _allocate(shape: tuple[int, ...]) -> np.ndarray:
    if int(np.prod(shape)) <= IN_MEMORY:
        return np.zeros(shape, np.uint8)
    with tempfile.TemporaryFile() as file:  # stays readable through the map
        return np.memmap(file, np.uint8, "w+", shape=shape)


def read_image(item: Item, measure: bool = False) -> Reading:
    """What is read of one image, given as its file and box."""
    file, box = item
    size = (0, 0)

    def choose(whole: tuple[int, int]) -> tuple[None, int]:
        nonlocal size
        size = whole
        return None, MEASURED if measure else SIDE

    def decode(stream: IO[bytes]) -> Image.Image:
        return decode_part(stream, box, choose)

    try:
        image = decode_guarded(file, decode)
    except ImageError as error:
        return Reading(reason=error.reason)
    measures = measure_image(image) if measure else Reading.measures
    return Reading(squeeze(image, SIDE).tobytes(), *size, measures)


def squeeze(image: Image.Image, side: int) -> Image.Image:
    """The image as a square, every pixel of it averaged."""
    filters = Image.Resampling
    return image.resize((side, side), filters.BOX if min(image.size) >= side else filters.BILINEAR)


def measure_image(image: Image.Image) -> tuple[float, ...]:
    """The measures of `Reading`."""
    short = min(image.size)
    scale = min(1.0, MEASURED / short)
    size = (max(3, round(image.width * scale)), max(3, round(image.height * scale)))
    grey = np.asarray(image.convert("L").resize(size, Image.Resampling.BOX), np.float32)
    laplacian = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * grey[1:-1, 1:-1]
    contrast = float(grey.std())
    return (
        contrast,
        float(laplacian.std()) / max(contrast, 1.0),
        float((grey < 12).mean()),
        float((grey > 243).mean()),
    )


def _cosines(count: int) -> np.ndarray:
    """The first rows of the orthonormal DCT of 32 values, float32 [count, 32]."""
    frequency, positions = np.arange(count)[:, None], np.arange(SIDE) + 0.5
    rows = np.cos(np.pi / SIDE * frequency * positions) * np.sqrt(2 / SIDE)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


def perceptual_hashes(grey: np.ndarray) -> np.ndarray:
    """The 64-bit pHash of small grey images [N, 32, 32], uint64 [N].

    A bit for each of the 8 × 8 lowest frequencies of the DCT: whether it is at least the median of all but
    the constant one (Zauner 2010; as in imagededup and easy_metric_learning). The first bit is the highest.
    """
    cosines = _cosines(HASHED)
    hashes = np.empty(len(grey), np.uint64)
    for part in blocks(len(grey)):
        spectrum = (cosines @ grey[part].astype(np.float32) @ cosines.T).reshape(-1, HASHED**2)
        bits = spectrum >= np.median(spectrum[:, 1:], axis=1, keepdims=True)
        hashes[part] = np.packbits(bits, axis=1).view(">u8")[:, 0]
    return hashes


def descriptors(thumbs: np.ndarray) -> np.ndarray:
    """Low frequencies of brightness and colour, float32 [N, 95], of length 1; zeros for an image without any.

    Unlike the bits of a hash they change little where a frequency is nearly absent, as in symmetric icons.
    """
    luma, chroma = _cosines(HASHED), _cosines(CHROMA)
    vectors = np.empty((len(thumbs), HASHED**2 - 1 + 2 * CHROMA**2), np.float32)
    for part in blocks(len(thumbs)):
        pixels = thumbs[part].astype(np.float32)
        grey = pixels @ LUMA
        parts = [(luma @ grey @ luma.T).reshape(len(grey), -1)[:, 1:]]
        parts += [
            (chroma @ (pixels[..., channel] - grey) @ chroma.T).reshape(len(grey), -1) for channel in (0, 2)
        ]
        joined = np.concatenate(parts, 1)
        vectors[part] = joined / np.maximum(np.linalg.norm(joined, axis=1, keepdims=True), 1e-6)
    return vectors


def hash_texts(hashes: np.ndarray) -> list[str]:
    """Hashes as 16 hexadecimal digits, the way the column `hash` holds them."""
    return [f"{value:016x}" for value in hashes.tolist()]


def hash_column(signatures: Signatures) -> list[str | None]:
    """The column `hash` of a table; None for an image that cannot be read."""
    texts: Sequence[str] = hash_texts(perceptual_hashes(signatures.grey))
    return [text if good else None for text, good in zip(texts, signatures.readable.tolist(), strict=True)]
