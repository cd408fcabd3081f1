"""Reading image files: each becomes an upright RGB image, or an error with the reason."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from PIL import Image

from lookalike.data.flatten import UnsupportedError, over_white, with_alpha
from lookalike.data.header import MAX_PIXELS, Opened, RefusedError, read_header, with_turn
from lookalike.data.png import COLOUR, TRUNCATED, DamagedError, read_notes
from lookalike.data.shards import ShardError, open_image_file, parse_member
from lookalike.errors import ImageError

Source = str | Path | IO[bytes]
Box = tuple[int, int, int, int]
Result = TypeVar("Result")
Choose = Callable[[tuple[int, int]], tuple[Box | None, int | None]]
"""From width and height of an image to the required region, in pixels (None for all of it), and the minimum
number of pixels on its shorter side (None for full resolution)."""

IN_MEMORY = "(image in memory)"


def open_image(source: Source, box: Box | None = None, at_least: int | None = None) -> Image.Image:
    """The image in a file: upright, RGB, 8 bits, completely decoded.

    The format is recognised by content (JPEG, PNG, WebP, BMP, GIF, TIFF, HEIC, AVIF, netpbm), and the number
    of pixels is checked before decoding. EXIF or XMP rotation is applied, transparency composited on white,
    16 bits scaled to 8; an animation gives its first frame.

    Args:
        source: a path, or an open binary file.
        box: region to return, x1 y1 x2 y2 in pixels of the upright image; it is clipped to the image.
        at_least: allow a JPEG to be decoded up to 8 times smaller, with a shorter side of at least this. Much
            faster for photos, with nearly the same pixels after downscaling.

    Raises:
        ImageError: the file is missing, damaged, truncated, too large or not an image.
    """
    return decode_guarded(source, lambda stream: decode_part(stream, box, lambda size: (None, at_least)))


def image_size(source: Source) -> tuple[int, int]:
    """Width and height of the upright image in a file, from its header alone.

    Raises:
        ImageError: the header is not one of a readable image.
    """
    return decode_guarded(source, lambda stream: read_header(stream).size)


def decode_guarded(source: Source, read: Callable[[IO[bytes]], Result]) -> Result:
    """The result of `read` for the file; all errors of decoders are converted to ImageError."""
    try:
        with _stream(source) as stream:
            return read(stream)
    except Exception as error:
        name = source if isinstance(source, str | Path) else getattr(source, "name", IN_MEMORY)
        raise ImageError(name, _reason(error)) from error


@contextmanager
def _stream(source: Source) -> Iterator[IO[bytes]]:
    if not isinstance(source, str | Path):
        source.seek(0)
        yield source
        return
    path = Path(source)
    if parse_member(source) is None and path.exists() and not path.is_file():
        raise RefusedError("this is a folder" if path.is_dir() else "this is not a regular file")
    with open_image_file(source) as stream:
        yield stream


def _reason(error: Exception) -> str:
    """The message for an error of the system or of a decoder."""
    match error:
        case RefusedError() | ShardError() | DamagedError() | UnsupportedError():
            return str(error)
        case FileNotFoundError():
            return "there is no such file"
        case PermissionError():
            return "no permission to read it"
        case OSError() if error.strerror:
            return f"it cannot be opened: {error.strerror}"
        case Image.DecompressionBombError():
            return f"too large: {_number(error)} pixels, at most {MAX_PIXELS:,} are read"
        case MemoryError():
            return "not enough memory to decode it"
        case EOFError():
            return TRUNCATED
    if "decoder object" in str(error):
        return "damaged or truncated: it cannot be decoded"
    return TRUNCATED if "truncated" in str(error).lower() else f"damaged: {error or type(error).__name__}"


def _number(error: Exception) -> str:
    """The first number in an error message of Pillow, with thousands separators."""
    match = re.search(r"\d+", str(error))
    return f"{int(match[0]):,}" if match else "too many"


def decode_part(stream: IO[bytes], box: Box | None, choose: Choose) -> Image.Image:
    """The region selected by `choose` in an open file, or in its `box`; errors are not converted."""
    opened = read_header(stream, check=True)
    part, reduction = part_to_decode(opened.size, box, choose)
    if reduction > 1:
        image = opened.image
        image.draft(None, (image.width // reduction, image.height // reduction))
    return _turn_upright(opened, None if part == (0, 0, *opened.size) else part, stream)


def upright_picture(image: Image.Image) -> Image.Image:
    """`open_image` for an image that Pillow has opened.

    Raises:
        ImageError: it is damaged or not supported.
    """
    try:
        stream = getattr(image, "fp", None)
        unread = image.format == "PNG" and bool(getattr(image, "tile", None)) and stream is not None
        notes = read_notes(stream, check=True) if unread else None
        image = image if unread or type(image) is not Image.Image else image.copy()
        with _without_memory_map(image):
            return _turn_upright(with_turn(image, notes), None, stream)
    except Exception as error:
        raise ImageError(getattr(image, "filename", "") or IN_MEMORY, _reason(error)) from error


@contextmanager
def _without_memory_map(image: Image.Image) -> Iterator[None]:
    """Prevent Pillow from memory-mapping a TIFF by name, which swaps its sides."""
    name = getattr(image, "filename", "")
    if image.format != "TIFF" or not name:
        yield
        return
    image.filename = ""  # type: ignore[attr-defined]
    try:
        yield
    finally:
        image.filename = name  # type: ignore[attr-defined]


def _turn_upright(opened: Opened, part: Box | None, stream: IO[bytes] | None) -> Image.Image:
    """A region, in pixels of the upright image; the whole image without one."""
    image, notes = opened.image, opened.notes
    key = None if notes is None else notes.transparent
    low = None
    if (
        notes is not None
        and key is not None
        and stream is not None
        and (notes.bits, notes.kind) == (16, COLOUR)
    ):
        low = _lower_bytes(stream)
    image.load()
    image = with_alpha(image, key, 8 if notes is None else notes.bits, low)
    image = image if opened.turn is None else image.transpose(opened.turn)
    image = image if part is None else image.crop(_scale_box(part, opened.size, image.size))
    image = over_white(image)
    image = image if type(image) is Image.Image else image.copy()  # a plain image, detached from its file
    image.info = {}  # otherwise the next reader would rotate it again
    return image


def _lower_bytes(stream: IO[bytes]) -> np.ndarray:
    """The lower bytes of a PNG with 16 bits per channel, [H, W, 3]; Pillow keeps the upper ones."""
    before = stream.tell()
    stream.seek(0)
    image = Image.open(stream, formats=("PNG",))
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]  # in the other byte order
    image.load()
    stream.seek(before)
    return np.asarray(image)


def part_to_decode(size: tuple[int, int], box: Box | None, choose: Choose) -> tuple[Box, int]:
    """The required region of an image of this size, and its reduction factor: 1, 2, 4 or 8."""
    x1, y1, x2, y2 = (0, 0, *size) if box is None else _clip_box(box, size)
    part, at_least = choose((x2 - x1, y2 - y1))
    if part is not None:
        x1, y1, x2, y2 = x1 + part[0], y1 + part[1], x1 + part[2], y1 + part[3]
    max_reduction = 1 if at_least is None else min(x2 - x1, y2 - y1) // max(1, at_least)
    return (x1, y1, x2, y2), next((factor for factor in (8, 4, 2) if factor <= max_reduction), 1)


def _clip_box(box: Box, size: tuple[int, int]) -> Box:
    """The part of the box inside the image."""
    x1, y1, x2, y2 = max(box[0], 0), max(box[1], 0), min(box[2], size[0]), min(box[3], size[1])
    if x1 >= x2 or y1 >= y2:
        raise RefusedError(f"box {tuple(box)} is outside the image of {size[0]} × {size[1]} pixels")
    return x1, y1, x2, y2


def _scale_box(box: Box, size: tuple[int, int], actual: tuple[int, int]) -> Box:
    """The box in pixels of the decoded image, at least one pixel wide and high."""
    across, down = actual[0] / size[0], actual[1] / size[1]
    x1, y1 = min(int(box[0] * across), actual[0] - 1), min(int(box[1] * down), actual[1] - 1)
    return x1, y1, max(x1 + 1, round(box[2] * across)), max(y1 + 1, round(box[3] * down))
