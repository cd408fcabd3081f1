"""Fast path for JPEGs: header parsed in Python, pixels from torchvision's decoder, identical to Pillow's."""

import functools
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lookalike.data.orientation import decide

START, EXIF = b"\xff\xd8\xff", b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, Huffman coded
SIZES = {marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC)}  # frames of all kinds
SCAN = 0xDA
RGB = 3  # torchvision.io.ImageReadMode.RGB
ORIENTATION = 0x0112
PIXELS_PER_BYTE = 512
"""Each block of 8 × 8 pixels takes at least a bit; the decoder makes up grey ones where data are missing."""


class Header(NamedTuple):
    """Size as stored, and orientation, 1 to 8, from EXIF or XMP."""

    width: int
    height: int
    orientation: int


def read_header(data: bytes | bytearray) -> Header | None:
    """The header of a JPEG; None for anything unusual or damaged, which is left to Pillow.

    Supported are 8 bits per channel, grey or YCbCr; EXIF data, if any, must be readable and in one part.
    """
    if data[:3] != START:
        return None
    try:
        return _header(data)
    except (struct.error, IndexError):
        return None


def _header(data: bytes | bytearray) -> Header | None:
    """The same for a complete file; metadata may be anywhere before the pixels."""
    position, size = 2, None
    exif: int | None = None
    xmp: bytes | None = None
    notes = 0
    while data[position] == 0xFF:
        marker, length = data[position + 1], struct.unpack_from(">H", data, position + 2)[0]
        body, end = position + 4, position + 2 + length
        if marker == SCAN:
            return Header(*size, decide(exif, xmp)) if size else None
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2:
            return None
        if marker in SIZES:
            size = _size(data, marker, body) if size is None else None
            if size is None:
                return None
        if marker == 0xEE and data[body : body + 5] == b"Adobe" and data[body + 11] != 1:
            return None  # not YCbCr
        if marker == 0xE1 and data[body : body + 6] == EXIF:
            exif, notes = _orientation(data[body + 6 : end]), notes + 1
            if notes > 1 or not 0 <= (exif or 0) <= 8 or exif == 0:
                return None  # in several parts, or unusual
        elif marker == 0xE1 and data[body : body + len(XMP)] == XMP:
            xmp = bytes(data[body + len(XMP) : end])
        position = end
    return None


def _size(data: bytes | bytearray, marker: int, body: int) -> tuple[int, int] | None:
    """Width and height from a frame header; None for unusual frames."""
    if marker not in FRAMES:
        return None
    bits, height, width, channels = struct.unpack_from(">BHHB", data, body)
    return (width, height) if bits == 8 and channels in (1, 3) and height and width else None


def _orientation(exif: bytes | bytearray) -> int | None:
    """The orientation in a block of EXIF data; None if there is none, 0 if it cannot be read."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(exif[:4]))
    if order is None:
        return 0
    first = struct.unpack_from(f"{order}I", exif, 4)[0]
    for entry in range(struct.unpack_from(f"{order}H", exif, first)[0]):
        tag, kind, count, value = struct.unpack_from(f"{order}HHIH", exif, first + 2 + 12 * entry)
        if tag == ORIENTATION:
            return value if (kind, count) == (3, 1) else 0
    return None


def decode(data: bytearray) -> np.ndarray | None:
    """The pixels of a JPEG, uint8 [H, W, 3], as they are stored; None if Pillow must try."""
    import torch

    native = _native_decoder()
    if native is None:
        return None
    try:
        return native(torch.frombuffer(data, dtype=torch.uint8), RGB, False).permute(1, 2, 0).numpy()
    except RuntimeError:
        return None


@functools.cache
def _native_decoder() -> Callable | None:
    """Torchvision's decoder; a version without it does no harm."""
    try:
        import torch
        import torchvision.io  # noqa: F401 - what registers the operator

        return torch.ops.image.decode_jpeg
    except (ImportError, AttributeError, RuntimeError):
        return None


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels [H, W, 3] rotated according to their EXIF orientation."""
    turned = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return turned
