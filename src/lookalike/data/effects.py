"""Camera effects: blur, noise, sharpening and local contrast.

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
    """Gaussian blur with a kernel radius of `radius` pixels."""
    offsets = np.arange(-radius, radius + 1)
    line = np.exp(-(offsets**2) / (2 * (radius / 2 + 0.1) ** 2))
    return _filter_channels(pixels, np.outer(line, line))


def motion_blur(pixels: Tensor, radius: int, angle: float) -> Tensor:
    """Motion blur: the mean along a line of `radius` pixels in both directions, at an angle in radians."""
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    for step in np.linspace(-radius, radius, 4 * radius + 1):
        kernel[round(radius + step * math.sin(angle)), round(radius + step * math.cos(angle))] = 1
    return _filter_channels(pixels, kernel)


def sharpen_image(pixels: Tensor, amount: float) -> Tensor:
    """Unsharp mask: the image plus `amount` times its difference from a small blur."""
    return pixels + amount * (pixels - gaussian_blur(pixels, 1))


def _filter_channels(pixels: Tensor, kernel: np.ndarray) -> Tensor:
    """Convolve each channel; the border is replicated."""
    weights = torch.from_numpy(kernel / kernel.sum()).to(pixels.dtype)
    reach = len(kernel) // 2
    padded = F.pad(pixels[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(padded, weights[None, None])[:, 0]


def add_noise(pixels: Tensor, deviation: float, numbers: np.random.Generator) -> Tensor:
    """Gaussian noise with this standard deviation on every value."""
    noise = numbers.standard_normal(tuple(pixels.shape), dtype=np.float32)
    return pixels + deviation * torch.from_numpy(noise)


def add_grain(pixels: Tensor, amount: float, numbers: np.random.Generator) -> Tensor:
    """Low-light sensor noise: correlated between channels, stronger in bright areas, tinted.

    Args:
        pixels: float [3, H, W], 0 … 255.
        amount: standard deviation at white, as a fraction of white.
        numbers: random generator.
    """
    size = tuple(pixels.shape[1:])
    light = torch.from_numpy(numbers.standard_normal(size, dtype=np.float32))
    tint = torch.from_numpy(numbers.standard_normal((3, *size), dtype=np.float32))
    return pixels + amount * (pixels.clamp_min(0) * 255).sqrt() * (light + 0.3 * tint)


def equalise_contrast(pixels: Tensor, limit: float = 3.0, tiles: int = 8) -> Tensor:
    """Contrast limited adaptive histogram equalisation, CLAHE (Zuiderveld 1994).

    The luminance of each tile is equalised, with interpolation between tiles; colours are scaled accordingly.

    Args:
        pixels: float [3, H, W], 0 … 255.
        limit: clip limit, as a multiple of the mean bin count.
        tiles: number in each direction; each has at least four pixels a side.
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
    """Map each pixel by interpolating the curves [rows, columns, 256] of the four nearest tiles."""
    top, bottom, below = _neighbours(height, curves.shape[0])
    left, right, weight = _neighbours(width, curves.shape[1])
    upper = (1 - weight) * curves[top[:, None], left, old] + weight * curves[top[:, None], right, old]
    lower = (1 - weight) * curves[bottom[:, None], left, old] + weight * curves[bottom[:, None], right, old]
    return (1 - below[:, None]) * upper + below[:, None] * lower


def _neighbours(side: int, tiles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each position, the tiles before and after it, and the interpolation weight."""
    position = np.clip((np.arange(side) + 0.5) * tiles / side - 0.5, 0, tiles - 1)
    before = np.floor(position).astype(np.int64)
    return before, np.minimum(before + 1, tiles - 1), position - before
