"""A picture made small once, and stored as JPEG, so that training need not decode all of it each time."""

from pathlib import Path

from PIL import Image

from lookalike.data.decode import Box, open_image
from lookalike.files import replace_file


def shrink(file: Path, box: Box | None, target: Path, side: int, quality: int) -> tuple[int, int]:
    """Write the picture of a file, or of its box, as a JPEG whose shorter side is `side` pixels.

    One that is no larger keeps its pixels. Antialiased (Lanczos); EXIF rotation is applied, transparency laid
    over white.

    Args:
        file: the picture.
        box: the part wanted, x1 y1 x2 y2.
        target: the JPEG to write; its folder must be there.
        side: pixels.
        quality: of the JPEG, 1 to 100.

    Returns:
        Width and height of what was written.

    Raises:
        ImageError: the picture cannot be read.
    """
    image = open_image(file, box, at_least=2 * side)
    share = side / min(image.size)
    if share < 1:
        size = (max(side, round(image.width * share)), max(side, round(image.height * share)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    replace_file(target, lambda beside: image.save(beside, "JPEG", quality=quality))
    return image.size
