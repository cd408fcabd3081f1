"""Whether two images are the same photo: one is laid over the other, and what is left is compared.

Copies may be cropped a little, stretched, brighter or darker, and compressed. The crop and the brightness are
estimated (Lucas and Kanade 1981, with gain and offset). What remains between copies is blur and noise along
all edges alike; another photo differs in some places much more than elsewhere.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ITERATIONS = 8
MAX_SHIFT = 0.1
"""Largest change of position and size, where the image is 2 wide."""
MAX_OFFSET = 20.0
GAINS = (0.7, 1.4)
SATURATED = 250.0
OUTLIER = 20.0
"""Grey levels from which a difference counts less."""
GRID = 8
"""Places a side in which differences are averaged."""
NOISE, EDGE, VISIBLE = 2.0, 10.0, 20.0
"""Grey levels: the differences that compression makes in flat places, an edge, and a plain difference."""
WEIGHTS = (2.4, 2.5, 1.0)
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)


class Comparison(NamedTuple):
    """How two images differ once they lie on each other.

    Attributes:
        score: logit of the probability that they are copies of one photo, [P]. Fitted to the two quantities
            of `_differences` on emoji and photos of products, and their copies.
        correlation: of the pixels, in [-1, 1], [P].
        shift: the largest change of position or size, as a share of the width or height, [P].
    """

    score: np.ndarray
    correlation: np.ndarray
    shift: np.ndarray


def compare_images(one: np.ndarray, other: np.ndarray) -> Comparison:
    """Compare pairs of images of one size, uint8 [P, S, S, 3] each."""
    a, b = (torch.from_numpy(images).permute(0, 3, 1, 2).float() for images in (one, other))
    darker = (a.mean((1, 2, 3)) > b.mean((1, 2, 3))).view(-1, 1, 1, 1)
    a, b = torch.where(darker, b, a), torch.where(darker, a, b)  # brightening can be undone, clipping cannot
    warped, inside, moved = _register(a, b)
    unusual, share = _differences(warped, b, inside)
    score = -WEIGHTS[0] * (unusual + 0.05).log() - WEIGHTS[1] * (share + 0.01).log() - WEIGHTS[2]
    shift = moved.abs().amax(1) / 2
    return Comparison(score.numpy(), _correlation(warped, b, inside).numpy(), shift.numpy())


def _register(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`a` laid over `b` [P, 3, S, S], which of its pixels are known [P, 1, S, S], and its motion [P, 4]."""
    count, side = len(a), a.shape[-1]
    source, target = _blur((a * LUMA).sum(1, keepdim=True)), _blur((b * LUMA).sum(1, keepdim=True))[:, 0]
    across, down = _gradients(source)
    stack = torch.cat([source, across * (side / 2), down * (side / 2)], 1)
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    x, y = axis.expand(side, side), axis[:, None].expand(side, side)
    moved = torch.zeros(count, 4)
    gain, offset = torch.ones(count), torch.zeros(count)
    prior = torch.diag_embed(torch.tensor([1.0, 1, 1, 1, 0.3, 0.3]) * (side * side / 2))
    for _ in range(ITERATIONS):
        grid = _grid(x, y, moved)
        known = (grid.abs() < 1).all(-1)
        values = F.grid_sample(stack, grid, padding_mode="border", align_corners=False)
        predicted = gain.view(-1, 1, 1) * values[:, 0] + offset.view(-1, 1, 1)
        rest = predicted.clamp(0, 255) - target
        useful = known & ((predicted < SATURATED) | (target < SATURATED))
        weight = (useful / (1 + (rest / OUTLIER).square())).reshape(count, -1, 1)
        gx, gy = (gain.view(-1, 1, 1) * values[:, column] for column in (1, 2))
        columns = [gx * x, gx, gy * y, gy, values[:, 0] / 64, torch.ones_like(rest)]
        jacobian = torch.stack(columns, -1).reshape(count, -1, 6)
        weighted = (jacobian * weight).transpose(1, 2)
        step = torch.linalg.solve(weighted @ jacobian + prior, weighted @ rest.reshape(count, -1, 1))[..., 0]
        moved = (moved - step[:, :4]).clamp(-MAX_SHIFT, MAX_SHIFT)
        gain = (gain - step[:, 4] / 64).clamp(*GAINS)
        offset = (offset - step[:, 5]).clamp(-MAX_OFFSET, MAX_OFFSET)
    grid = _grid(x, y, moved)
    values = F.grid_sample(a, grid, padding_mode="border", align_corners=False)
    warped = (gain.view(-1, 1, 1, 1) * values + offset.view(-1, 1, 1, 1)).clamp(0, 255)
    return warped, (grid.abs() < 1).all(-1)[:, None].float(), moved


def _grid(x: Tensor, y: Tensor, moved: Tensor) -> Tensor:
    wide, right, high, low = moved.view(-1, 4, 1, 1).unbind(1)
    return torch.stack([x * (1 + wide) + right, y * (1 + high) + low], -1)


def _gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    wide, high = F.pad(images, (1, 1, 0, 0), mode="replicate"), F.pad(images, (0, 0, 1, 1), mode="replicate")
    return (wide[..., 2:] - wide[..., :-2]) / 2, (high[..., 2:, :] - high[..., :-2, :]) / 2


def _blur(images: Tensor) -> Tensor:
    channels, weights = images.shape[1], torch.tensor([0.25, 0.5, 0.25])
    kernel = (weights[:, None] * weights).expand(channels, 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=channels)


def _edges(images: Tensor) -> Tensor:
    return F.max_pool2d(images, 3, 1, 1) + F.max_pool2d(-images, 3, 1, 1)


def _differences(warped: Tensor, target: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """The largest difference in any place, in proportion to those along all edges; all of them, to all
    edges.
    """
    size = target.shape[-1] // GRID
    mean = lambda values: F.avg_pool2d(values * inside, size, size // 2).flatten(1)  # noqa: E731
    difference = mean((_blur(warped) - _blur(target)).abs().amax(1, keepdim=True))
    edges = mean(torch.maximum(_edges(warped), _edges(target)).amax(1, keepdim=True))
    ratios = torch.where(edges > EDGE, difference / (edges + 5), torch.nan)
    usual = torch.nanquantile(ratios, 0.5, dim=1, keepdim=True).nan_to_num(0)
    unusual = ((difference - NOISE).clamp(min=0) / (usual * edges + 2)).amax(1)
    share = difference.norm(dim=1) / (edges.norm(dim=1) + 1)
    return unusual * (difference.amax(1) / VISIBLE).sqrt(), share


def _correlation(warped: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    pixels = inside.sum((1, 2, 3)).clamp(min=1).view(-1, 1, 1, 1)
    one, other = (
        (images - (images * inside).sum((2, 3), keepdim=True) / pixels) * inside
        for images in (warped, target)
    )
    lengths = one.square().sum((1, 2, 3)).sqrt() * other.square().sum((1, 2, 3)).sqrt()
    return (one * other).sum((1, 2, 3)) / (lengths + 1e-6)
