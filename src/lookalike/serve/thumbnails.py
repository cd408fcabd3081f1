"""Small pictures of enrolled photos."""

import io
from functools import lru_cache

from PIL import Image

from lookalike.data.decode import Box, open_image
from lookalike.data.table import Table
from lookalike.errors import ImageError

THUMBNAIL = 256
"""Longer side in pixels, unless another one is requested."""
SIZES = (64, 128, 256, 512, 1024)


def thumbnail(table: Table, row: int, size: int) -> bytes | None:
    """A JPEG file of the box of a row, at most `size` pixels long; None if its image cannot be read."""
    size = next(each for each in SIZES if each >= min(size, SIZES[-1]))
    file = table.file(row)
    try:
        changed = (
            file.stat().st_mtime_ns if file.exists() else 0
        )  # a member of a shard has no file of its own
        return _make(str(file), table.box(row), size, changed)
    except (ImageError, OSError, ValueError):
        return None


@lru_cache(maxsize=512)
def _make(file: str, box: Box | None, size: int, changed: int) -> bytes:
    image = open_image(file, box, size)
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def forget_thumbnails() -> None:
    """Drop all small pictures from memory, since those of forgotten photos may be among them."""
    _make.cache_clear()
