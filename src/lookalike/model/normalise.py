"""From pixels to what a backbone sees: scaled and shifted, for a whole batch, where the model is."""

from typing import Literal

import torch
from torch import Tensor

Normalise = Literal["backbone", "image"]
CHUNK = 1 << 17
"""Values that are changed at once on a CPU: they stay in its cache."""


def normalise(images: Tensor, mean: Tensor, std: Tensor, chunk: int = CHUNK) -> Tensor:
    """(images / 255 - mean) / std.

    Args:
        images: [B, 3, H, W], uint8 in 0…255 or float in 0…1.
        mean: of each channel, on a scale of 0…1, [1, 3, 1, 1].
        std: likewise.
        chunk: values that are changed at once on a CPU.
    """
    if images.dtype != torch.uint8:
        return (images - mean) / std
    if images.device.type != "cpu":
        return (images.to(mean.dtype) / 255 - mean) / std
    output = torch.empty_like(images, dtype=mean.dtype)
    shift, scale, rows, into = 255 * mean, 1 / (255 * std), images, output
    if images.is_contiguous(memory_format=torch.channels_last):  # in the order of memory: far faster
        rows, into = (tensor.permute(0, 2, 3, 1).flatten(0, 1).flatten(1) for tensor in (images, output))
        shift, scale = (tensor.flatten().repeat(images.shape[3]) for tensor in (shift, scale))
    step = max(1, chunk // max(1, rows[:1].numel()))
    for some, part in zip(rows.split(step), into.split(step), strict=True):
        part.copy_(some).sub_(shift).mul_(scale)
    return output


def standardise(images: Tensor) -> Tensor:
    """Each image with a mean of 0 and a standard deviation of 1 over all its values.

    The deviation counts at least 1 / sqrt(values), so that an image of one colour becomes zeros.

    Args:
        images: [B, 3, H, W], uint8 in 0…255 or float in 0…1.
    """
    scaled = images.float() / 255 if images.dtype == torch.uint8 else images
    centred = scaled - scaled.mean((1, 2, 3), keepdim=True)
    least = max(1, images.shape[1:].numel()) ** -0.5
    return centred / centred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(least)
