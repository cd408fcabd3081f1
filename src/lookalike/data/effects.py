"""What cameras do to pictures: blur, noise, sharpening and local contrast.

Pixels are float [3, H, W], 0 … 255.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)
LEVELS = 256


def gaussian_blur(pixels: Tensor, radius: int) -> Tensor:
    """A Gaussian blur that reaches `radius` pixels."""
    offsets = np.arange(-radius, radius + 1)
    line = np.exp(-(offsets**2) / (2 * (radius / 2 + 0.1) ** 2))
    return _filter_channels(pixels, np.outer(line, line))


def motion_blur(pixels: Tensor, radius: int, angle: float) -> Tensor:
    """Motion blur: the mean along a line of `radius` pixels either way, at an angle in radians."""
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    for step in np.linspace(-radius, radius, 4 * radius + 1):
        kernel[round(radius + step * math.sin(angle)), round(radius + step * math.cos(angle))] = 1
    return _filter_channels(pixels, kernel)


def sharpen_image(pixels: Tensor, amount: float) -> Tensor:
    """The picture plus `amount` times what a small blur takes away."""
    return pixels + amount * (pixels - gaussian_blur(pixels, 1))


def _filter_channels(pixels: Tensor, kernel: np.ndarray) -> Tensor:
    """Each channel's weighted mean around each pixel; beyond the border it repeats the border."""
    weights = torch.from_numpy(kernel / kernel.sum()).to(pixels.dtype)
    reach = len(kernel) // 2
    padded = F.pad(pixels[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(padded, weights[None, None])[:, 0]


def add_noise(pixels: Tensor, deviation: float, numbers: np.random.Generator) -> Tensor:
    """Gaussian noise of this standard deviation on every value."""
    noise = numbers.standard_normal(tuple(pixels.shape), dtype=np.float32)
    return pixels + deviation * torch.from_numpy(noise)


def add_grain(pixels: Tensor, amount: float, numbers: np.random.Generator) -> Tensor:
    """The noise of a photo in little light: in all channels together, stronger where it is bright, tinted.

    Args:
        pixels: float [3, H, W], 0 … 255.
        amount: standard deviation at white, as a share of white.
        numbers: where the noise comes from.
    """
    size = tuple(pixels.shape[1:])
    light = torch.from_numpy(numbers.standard_normal(size, dtype=np.float32))
    tint = torch.from_numpy(numbers.standard_normal((3, *size), dtype=np.float32))
    return pixels + amount * (pixels.clamp_min(0) * 255).sqrt() * (light + 0.3 * tint)


def equalise_contrast(pixels: Tensor, limit: float = 3.0, tiles: int = 8) -> Tensor:
    """Contrast that is high everywhere: contrast limited adaptive histogram equalisation (Zuiderveld 1994).

    The luminance of each tile is spread over all levels, neighbouring tiles blended; colours move with it.

    Args:
        pixels: float [3, H, W], 0 … 255.
        limit: no level counts more than so many times its fair share.
        tiles: in each direction, of at least four pixels a side.
    """
    height, width = pixels.shape[1:]
    down, across = (max(1, min(tiles, side // 4)) for side in (height, width))
    weights = torch.tensor(LUMINANCE, dtype=pixels.dtype).view(3, 1, 1)
    old = (pixels * weights).sum(0).round().clamp(0, LEVELS - 1).to(torch.uint8).numpy()
    row, column = np.arange(height) * down // height, np.arange(width) * across // width
    tile = row[:, None] * across + column
    counts = np.bincount((tile * LEVELS + old).ravel(), minlength=down * across * LEVELS)
    counts = counts.reshape(down, across, LEVELS).astype(np.float64)
    total = counts.sum(2, keepdims=True)
    clipped = np.minimum(counts, limit * total / LEVELS)
    curves = (
        np.cumsum(clipped + (total - clipped.sum(2, keepdims=True)) / LEVELS, axis=2) * (LEVELS - 1) / total
    )
    new = _blend_curves(curves, old, height, width)
    return pixels + torch.from_numpy(new - old).to(pixels.dtype)


def _blend_curves(curves: np.ndarray, old: np.ndarray, height: int, width: int) -> np.ndarray:
    """Each pixel through the curves of the four tiles [down, across, 256] around it, by nearness."""
    top, bottom, below = _neighbours(height, curves.shape[0])
    left, right, weight = _neighbours(width, curves.shape[1])
    upper = (1 - weight) * curves[top[:, None], left, old] + weight * curves[top[:, None], right, old]
    lower = (1 - weight) * curves[bottom[:, None], left, old] + weight * curves[bottom[:, None], right, old]
    return (1 - below[:, None]) * upper + below[:, None] * lower


def _neighbours(side: int, tiles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each place the tile before it, the one after it, and how far it is from the one to the other."""
    position = np.clip((np.arange(side) + 0.5) * tiles / side - 0.5, 0, tiles - 1)
    before = np.floor(position).astype(np.int64)
    return before, np.minimum(before + 1, tiles - 1), position - before
