"""Image files as arrays, decoding no more than necessary."""

import os
from typing import IO

import numpy as np

from lookalike.data import decode, jpeg
from lookalike.data import header as headers
from lookalike.data.decode import Box, Choose, Source


def open_pixels(source: Source, choose: Choose, box: Box | None = None) -> np.ndarray:
    """The required region of the image in a file: upright, uint8 [H, W, 3], possibly downscaled.

    The pixels and checks are those of `open_image`. A JPEG is decoded by torchvision, or by Pillow if it can
    be reduced by 2, 4 or 8 while the region keeps its minimum resolution.

    Args:
        source: a path, or an open binary file.
        choose: selects the region from the size of the image or its box.
        box: the box in the file, as in `open_image`.

    Raises:
        ImageError: as in `open_image`.
    """
    return decode.decode_guarded(source, lambda stream: _read(stream, choose, box))


def _read(stream: IO[bytes], choose: Choose, box: Box | None) -> np.ndarray:
    if stream.read(3) == jpeg.START:
        stream.seek(0)
        data = bytearray(os.fstat(stream.fileno()).st_size) if _is_file(stream) else bytearray()
        if data:
            stream.readinto(data)  # type: ignore[attr-defined]
        else:
            data = bytearray(stream.read())
        pixels = _jpeg(data, choose, box)
        if pixels is not None:
            return pixels
    stream.seek(0)
    return np.array(decode.decode_part(stream, box, choose))


def _is_file(stream: IO[bytes]) -> bool:
    try:
        return stream.fileno() >= 0
    except OSError:
        return False


def _jpeg(data: bytearray, choose: Choose, box: Box | None) -> np.ndarray | None:
    """The required region, if it needs the full resolution of a standard JPEG."""
    header = jpeg.read_header(data)
    pixels = 0 if header is None else header.width * header.height
    if header is None or pixels > min(headers.MAX_PIXELS, jpeg.PIXELS_PER_BYTE * len(data)):
        return None  # left to Pillow, or to be refused
    stored = (header.width, header.height)
    size = stored[::-1] if header.orientation >= 5 else stored
    (x1, y1, x2, y2), reduction = decode.part_to_decode(size, box, choose)
    if reduction > 1:
        return None
    picture = jpeg.decode(data)
    if picture is None or picture.shape[1::-1] != stored:
        return None
    part = jpeg.turn_upright(picture, header.orientation)[y1:y2, x1:x2]
    return part if min(part.strides) > 0 else part.copy()  # torch does not support negative strides


def crop(picture: np.ndarray, part: Box | None) -> np.ndarray:
    """The region of an image [h, w, 3]."""
    return picture if part is None else picture[part[1] : part[3], part[0] : part[2]]
