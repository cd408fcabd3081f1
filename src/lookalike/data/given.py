"""Pictures as callers of the Python interface have them: in a file, as Pillow holds them, as an array."""

from pathlib import Path

import numpy as np
from PIL import Image

from lookalike.data.decode import open_image, upright

ImageLike = str | Path | Image.Image | np.ndarray


def given_image(image: ImageLike, at_least: int | None = None) -> Image.Image:
    """The upright RGB picture, the same whether a file is named or was opened by Pillow before.

    Args:
        image: a path, a PIL image, or a uint8 array [H, W, 3] (RGB), [H, W, 4] (RGBA) or [H, W] (grey).
        at_least: see `open_image`.

    Raises:
        ImageError: it cannot be read.
        TypeError: it is something else.
    """
    if isinstance(image, str | Path):
        return open_image(image, at_least=at_least)
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
    return upright(image)


def refuse_single(images: object, owner: str) -> None:
    """Refuse one image where a list is wanted: the rows of an array would be taken for images.

    Raises:
        TypeError: it is one image.
    """
    array = isinstance(images, np.ndarray) and (images.ndim == 2 or images.shape[2:] in ((3,), (4,)))
    if array or isinstance(images, str | Path | Image.Image):
        raise TypeError(f"{owner} takes a list of images: {owner}([image])")
