"""Saliency of a similarity by occlusion: blur regions of an image and measure the change."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Forward = Callable[[Tensor], Tensor]


def occlusion(
    forward: Forward, image: Tensor, other: Tensor, window: float = 0.25, steps: int = 12, batch: int = 32
) -> np.ndarray:
    """How much each pixel of an image adds to its similarity with another one, [H, W].

    A square window is moved over the image in `steps` × `steps` places; inside it the image is blurred beyond
    recognition. A pixel's value is the mean loss of similarity over the windows that cover it: positive
    where it makes the two alike, negative where it makes them different. The model is only called, so any
    backbone will do. Sources: Zeiler and Fergus 2014 (arXiv 1311.2901), section 4.2, for occlusion; Dong,
    Collins and Hoogs 2019 (Explainability for Content-Based Image Retrieval, CVPR Workshops), for its use on
    similarity.

    Args:
        forward: from images [B, 3, H, W] to vectors of length 1, [B, D].
        image: uint8 or float, [3, H, W], as `forward` takes it.
        other: vector of the other image, [D].
        window: side of the window, as a share of the image's.
        steps: places of the window along each side.
        batch: images the model sees at once.

    Raises:
        ValueError: a window that is not within (0, 1], or fewer than 2 steps.
    """
    if not 0 < window <= 1 or steps < 2:
        raise ValueError(f"occlusion: window={window}, steps={steps}: 0 < window ≤ 1 and at least 2 steps")
    height, width = image.shape[1:]
    covered = blur_image(image)
    tall, wide = (max(1, round(window * size)) for size in (height, width))
    tops, lefts = (window_starts(size, side, steps) for size, side in ((height, tall), (width, wide)))
    corners = [(top, left) for top in tops for left in lefts]
    whole = float(forward(image[None])[0].double() @ other.double())
    total, times = np.zeros((height, width)), np.zeros((height, width))
    for first in range(0, len(corners), batch):
        part = corners[first : first + batch]
        images = image[None].repeat(len(part), 1, 1, 1)
        for masked, (top, left) in zip(images, part, strict=True):
            box = slice(None), slice(top, top + tall), slice(left, left + wide)
            masked[box] = covered[box]
        losses = (whole - forward(images).double() @ other.double()).tolist()
        for loss, (top, left) in zip(losses, part, strict=True):
            total[top : top + tall, left : left + wide] += loss
            times[top : top + tall, left : left + wide] += 1
    return total / np.maximum(times, 1)


def window_starts(size: int, side: int, steps: int) -> list[int]:
    """Where windows of `side` pixels begin, from edge to edge; each place once."""
    return sorted({round(start) for start in np.linspace(0, size - side, steps)})


def blur_image(image: Tensor) -> Tensor:
    """The image [3, H, W] without its details: a mean over a third of its side, three times."""
    radius = max(1, min(image.shape[1:]) // 6)
    soft = image[None].float()
    for _ in range(3):
        soft = F.avg_pool2d(F.pad(soft, [radius] * 4, mode="replicate"), 2 * radius + 1, stride=1)
    return soft[0].round().to(image.dtype) if image.dtype == torch.uint8 else soft[0]
