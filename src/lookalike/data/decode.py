"""Reading picture files: each becomes an upright RGB picture, or an error that says why not."""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from lookalike.data.shards import ShardError, member, opened
from lookalike.errors import ImageError

Source = str | Path | IO[bytes]
Box = tuple[int, int, int, int]
Result = TypeVar("Result")
Choose = Callable[[tuple[int, int]], tuple[Box | None, int | None]]
"""From a picture's width and height to the part that is wanted, in its pixels (None for all of it), and how
many pixels its shorter side must keep (None for all of them)."""

MAX_PIXELS = 100_000_000
READERS = {  # by content, not by name; Pillow's many other formats are a risk without a use here
    "JPEG": JpegImagePlugin,
    "PNG": PngImagePlugin,
    "WEBP": WebPImagePlugin,
    "BMP": BmpImagePlugin,
    "GIF": GifImagePlugin,
    "TIFF": TiffImagePlugin,
}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM", b"GIF8", b"II*\0", b"MM\0*")  # how files of these begin
IN_MEMORY = "(picture in memory)"
TRUNCATED = "the file ends too early (truncated)"


class _RefusedError(Exception):
    """A picture we do not read; the text is the reason the user gets."""


def open_image(source: Source, box: Box | None = None, at_least: int | None = None) -> Image.Image:
    """The picture in a file: upright, RGB, 8 bits, decoded to the last pixel.

    The format is recognised by content (JPEG, PNG, WebP, BMP, GIF, TIFF), and the number of pixels checked
    before anything is decoded. EXIF rotation is applied, transparency laid over white, 16 bits scaled to 8;
    an animation gives its first frame.

    Args:
        source: a path, or an open binary file.
        box: the part wanted, x1 y1 x2 y2 in pixels of the upright picture; what sticks out is cut off.
        at_least: allow a JPEG to come out up to 8 times smaller, its shorter side no less than this. Much
            faster for photos, with nearly the same pixels once shrunk.

    Raises:
        ImageError: if there is no such picture, or it is damaged, truncated, too large or of another kind.
    """
    return guarded(source, lambda stream: chosen(stream, box, lambda size: (None, at_least)))


def image_size(source: Source) -> tuple[int, int]:
    """Width and height of the upright picture in a file, from its header alone.

    Raises:
        ImageError: if the header is not one of a picture that can be read.
    """
    return guarded(source, lambda stream: _upright_size(_header(stream)))


def guarded(source: Source, read: Callable[[IO[bytes]], Result]) -> Result:
    """What `read` makes of the file. On damaged files decoders raise nearly anything: all becomes ours."""
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
    if member(source) is None and path.exists() and not path.is_file():
        raise _RefusedError("this is a folder" if path.is_dir() else "this is not a regular file")
    with opened(source) as stream:
        yield stream


def _reason(error: Exception) -> str:
    """An error of the system or of a decoder in words for the user."""
    match error:
        case _RefusedError() | ShardError():
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
        return "damaged or cut off: it cannot be decoded"
    return TRUNCATED if "truncated" in str(error).lower() else f"damaged: {error or type(error).__name__}"


def _number(error: Exception) -> str:
    """The first number in an error of Pillow, to be read by people."""
    found = re.search(r"\d+", str(error))
    return f"{int(found[0]):,}" if found else "too many"


def _header(stream: IO[bytes]) -> Image.Image:
    """The picture before decoding: format and size are known and within limits."""
    start = stream.read(16)
    if not start:
        raise _RefusedError("the file is empty (0 bytes)")
    try:
        image = Image.open(stream, formats=tuple(READERS))
    except UnidentifiedImageError:
        if start.startswith(MAGIC):
            raise _RefusedError("damaged or cut off: its header cannot be read") from None
        kinds = ", ".join(READERS)
        raise _RefusedError(f"not a readable picture ({kinds}); it begins with {start!r}") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _RefusedError(f"too large: {width} × {height} pixels, at most {MAX_PIXELS:,} are read")
    return image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8. Pillow turns TIFFs itself; damaged EXIF data costs no picture."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1  # asking a PNG that has none would decode it
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return value if value in TURNS else 1


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) >= 5 else (width, height)


def chosen(stream: IO[bytes], box: Box | None, choose: Choose) -> Image.Image:
    """The part that `choose` wants of the picture in an open file, or of its `box`; errors as they come."""
    image = _header(stream)
    size = _upright_size(image)
    part, reduction = wanted(size, box, choose)
    if image.format == "PNG":
        _check_png(stream)
    if reduction > 1:
        image.draft(None, (image.width // reduction, image.height // reduction))
    return _upright(image, None if part == (0, 0, *size) else part, size)


def upright(image: Image.Image) -> Image.Image:
    """What `open_image` makes of a file, of a picture that Pillow has opened.

    Raises:
        ImageError: it is damaged, or of a kind that cannot be read.
    """
    try:
        return _upright(image.copy() if type(image) is Image.Image else image, None, image.size)
    except Exception as error:
        raise ImageError(getattr(image, "filename", "") or IN_MEMORY, _reason(error)) from error


def _upright(image: Image.Image, part: Box | None, size: tuple[int, int]) -> Image.Image:
    """A part, in pixels of a picture of this size; all of it without one."""
    turn = TURNS.get(_orientation(image))
    image.load()
    image = _eight_bits(image)
    image = image if turn is None else image.transpose(turn)
    image = image if part is None else image.crop(_scaled(part, size, image.size))
    image = _rgb(image)
    image = image if type(image) is Image.Image else image.copy()  # a plain picture, free of its file
    image.info = {}  # else the next reader would turn it again
    return image


def wanted(size: tuple[int, int], box: Box | None, choose: Choose) -> tuple[Box, int]:
    """The part of a picture of this size that is wanted, and by how much it may be reduced: 1, 2, 4 or 8."""
    x1, y1, x2, y2 = (0, 0, *size) if box is None else _inside(box, size)
    part, at_least = choose((x2 - x1, y2 - y1))
    if part is not None:
        x1, y1, x2, y2 = x1 + part[0], y1 + part[1], x1 + part[2], y1 + part[3]
    most = 1 if at_least is None else min(x2 - x1, y2 - y1) // max(1, at_least)
    return (x1, y1, x2, y2), next((factor for factor in (8, 4, 2) if factor <= most), 1)


def _inside(box: Box, size: tuple[int, int]) -> Box:
    """The part of the box that lies in the picture."""
    x1, y1, x2, y2 = max(box[0], 0), max(box[1], 0), min(box[2], size[0]), min(box[3], size[1])
    if x1 >= x2 or y1 >= y2:
        raise _RefusedError(f"box {tuple(box)} holds nothing of the {size[0]} × {size[1]} picture")
    return x1, y1, x2, y2


def _scaled(box: Box, size: tuple[int, int], actual: tuple[int, int]) -> Box:
    """The box in pixels of the picture as it was decoded, at least one pixel wide and high."""
    across, down = actual[0] / size[0], actual[1] / size[1]
    x1, y1 = min(int(box[0] * across), actual[0] - 1), min(int(box[1] * down), actual[1] - 1)
    return x1, y1, max(x1 + 1, round(box[2] * across)), max(y1 + 1, round(box[3] * down))


def _check_png(stream: IO[bytes]) -> None:
    """Check each needed part up to the end mark: Pillow shows wrong pixels without a word."""
    before = stream.tell()
    stream.seek(8)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", _exactly(stream, 8))
        crc = zlib.crc32(kind)
        for start in range(0, length, 1 << 16):
            crc = zlib.crc32(_exactly(stream, min(1 << 16, length - start)), crc)
        if struct.unpack(">I", _exactly(stream, 4))[0] != crc and kind[:1].isupper():
            raise _RefusedError(f"damaged: the checksum of its {kind.decode('latin-1')} part is wrong")
    stream.seek(before)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise _RefusedError(TRUNCATED)
    return data


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 (Pillow alone would cut it off at 255); 12-bit TIFFs by their own white."""
    if not image.mode.startswith("I;16"):
        return image
    tags = getattr(image, "tag_v2", {})
    white = 4095 if tags.get(TiffImagePlugin.BITSPERSAMPLE) == (12,) else 65535
    scale = np.minimum(np.arange(65536) / white, 1)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
        scale = 1 - scale  # this TIFF counts ink, not light
    return Image.fromarray(np.rint(scale * 255).astype(np.uint8)[np.asarray(image)])


def _rgb(image: Image.Image) -> Image.Image:
    """RGB, with whatever is transparent over white."""
    if image.mode in ("I", "F"):
        raise _RefusedError(f"32-bit pixels (mode {image.mode}) have no fixed white: save 8 or 16")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
        return canvas
    try:
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError:
        raise _RefusedError(f"pixels of mode {image.mode} are not supported: save it as RGB") from None
