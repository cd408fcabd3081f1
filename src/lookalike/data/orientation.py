"""Image orientation, for all formats and decoders."""

import re

from PIL import Image

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TAG = 0x0112
XMP = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)\s*([0-9]+)""")


def decide(exif: object, xmp: bytes | str | None) -> int:
    """The orientation of an image, 1 to 8, as defined by EXIF.

    EXIF takes precedence, even if its value is invalid (then 1); XMP is used only if EXIF has no orientation.

    Args:
        exif: the value of the EXIF tag `TAG`; None if there is none, or if the data cannot be read.
        xmp: the XMP packet, if there is one.
    """
    if exif is None and xmp:
        data = xmp.encode("utf-8", "replace") if isinstance(xmp, str) else bytes(xmp)
        match = XMP.search(data.replace(b"\0", b""))  # without zeros, UTF-16 is read like UTF-8
        exif = int(match[1]) if match else None
    return exif if isinstance(exif, int) and exif in TURNS else 1
