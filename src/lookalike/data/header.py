"""Image headers: the format, the upright size, and the orientation."""

import os
from dataclasses import dataclass
from typing import IO

from PIL import (  # noqa: F401 - a format can be opened once its module was imported
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from lookalike.data.formats import HEAD, describe_content, format_of_bytes
from lookalike.data.jpeg import PIXELS_PER_BYTE
from lookalike.data.orientation import TAG, TURNS, decide
from lookalike.data.png import Notes, read_notes

MAX_PIXELS = 100_000_000
PLUGINS = {  # Pillow's other formats are an unnecessary attack surface
    "JPEG": "JPEG",
    "PNG": "PNG",
    "WebP": "WEBP",
    "BMP": "BMP",
    "GIF": "GIF",
    "TIFF": "TIFF",
    "AVIF": "AVIF",
    "netpbm": "PPM",
}
KINDS = ", ".join([*PLUGINS, "HEIC"])
NO_HEIC = "HEIC is read with the package pi-heif, which is not installed: pip install pi-heif"
NO_AVIF = (
    "AVIF cannot be read, since this Pillow was built without AVIF support: pip install --upgrade pillow"
)


class RefusedError(Exception):
    """An image that is not supported; the text is the reason shown to the user."""


@dataclass(frozen=True)
class Opened:
    """An image before decoding.

    Attributes:
        image: as Pillow opened it.
        size: width and height of the upright image.
        turn: the remaining rotation after decoding.
        notes: of a PNG.
    """

    image: Image.Image
    size: tuple[int, int]
    turn: Image.Transpose | None
    notes: Notes | None = None


def read_header(stream: IO[bytes], check: bool = False) -> Opened:
    """The image before decoding, with format and size checked.

    Args:
        stream: of the file, at its start.
        check: look for damage that the decoder would not detect.
    """
    image = _open_by_content(stream)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise RefusedError(f"too large: {width} × {height} pixels, at most {MAX_PIXELS:,} are read")
    if image.format == "JPEG":
        _refuse_missing_pixels(stream, width * height)
    return with_turn(image, read_notes(stream, check) if image.format == "PNG" else None)


def _refuse_missing_pixels(stream: IO[bytes], pixels: int) -> None:
    position = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(position)
    if pixels > PIXELS_PER_BYTE * size:
        raise RefusedError(
            f"damaged or truncated: its header declares {pixels:,} pixels, more than {size:,} bytes can hold"
        )


def _open_by_content(stream: IO[bytes]) -> Image.Image:
    """Open the image with Pillow, using the format given by its first bytes."""
    start = stream.read(HEAD)
    if not start:
        raise RefusedError("the file is empty (0 bytes)")
    stream.seek(0)
    kind = format_of_bytes(start)
    if kind is None:
        message = describe_content(start)
        message = f"it is {message}" if message else f"it begins with {start[:16]!r}"
        raise RefusedError(f"not a readable image ({KINDS}); {message}")
    if kind == "AVIF" and not features.check("avif"):
        raise RefusedError(NO_AVIF)
    try:
        return _heic(stream) if kind == "HEIC" else Image.open(stream, formats=(PLUGINS[kind],))
    except (UnidentifiedImageError, SyntaxError):
        also = ", or it is an unsupported type of TIFF" if kind == "TIFF" else ""
        raise RefusedError(f"damaged or truncated: its header cannot be read{also}") from None


def _heic(stream: IO[bytes]) -> Image.Image:
    try:
        from pi_heif import HeifImageFile
    except ImportError:
        raise RefusedError(NO_HEIC) from None
    return HeifImageFile(stream)


def with_turn(image: Image.Image, notes: Notes | None) -> Opened:
    """The image with the orientation given by its header."""
    if notes is not None:
        exif, xmp = _exif_tag(notes.exif), notes.xmp
    elif image.format == "TIFF":
        exif, xmp = image.tag_v2.get(TAG), image.info.get("xmp")  # type: ignore[attr-defined]
    else:
        exif, xmp = _exif_tag(image.info.get("exif")), image.info.get("xmp")
    orientation = decide(exif, xmp)
    width, height = image.size
    if image.format != "TIFF":
        size = (height, width) if orientation >= 5 else (width, height)
        return Opened(image, size, TURNS.get(orientation), notes)
    if (orientation >= 5) != (exif in TURNS and exif >= 5):
        width, height = height, width  # Pillow rotates a TIFF when decoding it, but considers only the tag
    return Opened(image, (width, height), None if _turned_by_pillow(image) else TURNS.get(orientation))


def _turned_by_pillow(image: Image.Image) -> bool:
    """Whether decoding a TIFF rotates it."""
    try:
        return image.getexif().get(TAG) in TURNS
    except Exception:
        return False


def _exif_tag(data: bytes | None) -> object:
    """The orientation in EXIF data; damaged EXIF data is ignored."""
    if not data:
        return None
    try:
        exif = Image.Exif()
        exif.load(data)
        return exif.get(TAG)
    except Exception:
        return None
