"""Images as passed by Python callers: a file, a PIL image, or an array."""

from pathlib import Path

import numpy as np
from PIL import Image

from lookalike.data.decode import IN_MEMORY, Box, open_image, upright_picture
from lookalike.errors import ImageError

ImageLike = str | Path | Image.Image | np.ndarray


def as_pillow_image(image: ImageLike, at_least: int | None = None, box: Box | None = None) -> Image.Image:
    """The upright RGB image, the same for a file name and for a file opened by Pillow.

    Args:
        image: a path, a PIL image, or a uint8 array [H, W, 3] (RGB), [H, W, 4] (RGBA) or [H, W] (grey).
        at_least: see `open_image`.
        box: the part wanted, x1 y1 x2 y2 in pixels of the upright picture; what sticks out is cut off.

    Raises:
        ImageError: it cannot be read.
        TypeError: it is something else.
    """
    if isinstance(image, str | Path):
        return open_image(image, box, at_least)
    if isinstance(image, np.ndarray):
        channels = image.shape[2:]
        if (
            image.dtype != np.uint8
            or image.ndim not in (2, 3)
            or channels not in ((), (3,), (4,))
            or not image.size
        ):
            raise TypeError(f"an image array is uint8 [H, W, 3] or [H, W], got {image.dtype} {image.shape}")
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise TypeError(f"an image is a path, a PIL image or an array, got {type(image).__name__}")
    whole = upright_picture(image)
    if box is None:
        return whole
    x1, y1, x2, y2 = max(box[0], 0), max(box[1], 0), min(box[2], whole.width), min(box[3], whole.height)
    if x1 >= x2 or y1 >= y2:
        size = f"{whole.width} × {whole.height}"
        raise ImageError(IN_MEMORY, f"box {' '.join(map(str, box))} is outside the image of {size} pixels")
    return whole.crop((x1, y1, x2, y2))


def refuse_single(images: object, owner: str) -> None:
    """Reject a single image where a list is expected: the rows of an array would be read as images.

    Raises:
        TypeError: it is one image.
    """
    array = isinstance(images, np.ndarray) and (images.ndim == 2 or images.shape[2:] in ((3,), (4,)))
    if array or isinstance(images, str | Path | Image.Image):
        raise TypeError(f"{owner} takes a list of images: {owner}([image])")
