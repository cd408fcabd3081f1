"""Random changes to training pictures, so that a model learns what stays the same."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lookalike.data.transforms import FILTERS, How, Interpolation, Resize, central_square, squared

IDENTITY = np.eye(3, dtype=np.float32)  # of NumPy, whose small matrices are several times as fast as torch's
OVERSAMPLING = 1.25  # pixels of the picture for a pixel of the result, once a larger picture was shrunk


@dataclass(frozen=True)
class Augment:
    """A picture moved, recoloured and partly covered at random: uint8 [3, size, size].

    Moving is one bilinear resampling; beyond the border it repeats the border. Every draw comes from torch's
    default random numbers. At 0, or (1, 1), a change is off, and with all of them off the result is that of
    `Resize`.

    Args:
        size: side of the result.
        how: how a picture becomes square, as in `Resize`.
        interpolation: bicubic or bilinear, to shrink pictures and where nothing is moved.
        flip: probability of a mirror image.
        scale: smallest and largest size of what is shown; below 1 it shrinks and the border is repeated.
        aspect: at most so much wider and at once less high, or the reverse, as a share.
        rotate: at most so many degrees, either way.
        shift: at most so far, as a share of the side.
        brightness: multiplied by exp of up to this, either way.
        saturation: at most so far from the picture's own, which is 1; colours vanish at 0.
        contrast: at most so far from the picture's own, which is 1.
        balance: at most so much more red and less blue, or the reverse, as a share.
        grey: probability of a picture without colours.
        erase: probability that a square is covered with one random colour.
        erase_side: smallest and largest side of that square, as a share of the picture's.
    """

    size: int
    how: How = "squash"
    interpolation: Interpolation = "bicubic"
    flip: float = 0.5
    scale: tuple[float, float] = (0.83, 1.12)
    aspect: float = 0.07
    rotate: float = 10.0
    shift: float = 0.04
    brightness: float = 0.2
    saturation: float = 0.3
    contrast: float = 0.2
    balance: float = 0.07
    grey: float = 0.07
    erase: float = 0.0
    erase_side: tuple[float, float] = (0.15, 0.35)

    def __post_init__(self) -> None:
        Resize(self.size, self.how, self.interpolation)  # refuses what these three may not be
        for name in ("flip", "grey", "erase", "aspect", "shift", "saturation", "contrast", "balance"):
            _check(name, getattr(self, name), 0, 1)
        _check("brightness", self.brightness, 0, 3)
        _check("rotate", self.rotate, 0, 180)
        _check_range("scale", self.scale, 0.1, 10)
        _check_range("erase_side", self.erase_side, 0, 1)

    @property
    def at_least(self) -> int:
        """How large `open_image` must leave a picture for nothing to be lost."""
        return self._resize.at_least

    def __call__(self, image: Image.Image) -> Tensor:
        """A random variation of the RGB picture."""
        draws = _Draws()
        pixels = self._moved(image, draws) if self._moves else self._mirrored(image, draws)
        pixels = self._recoloured(pixels, draws)
        if pixels.is_floating_point():
            pixels = pixels.round_().clamp_(0, 255).to(torch.uint8)
        return self._covered(pixels, draws)

    @property
    def _resize(self) -> Resize:
        return Resize(self.size, self.how, self.interpolation)

    @property
    def _moves(self) -> bool:
        return bool(tuple(self.scale) != (1, 1) or self.aspect or self.rotate or self.shift)

    def _mirrored(self, image: Image.Image, draws: "_Draws") -> Tensor:
        pixels = self._resize(image)
        return pixels.flip(2) if draws.chance(self.flip) else pixels

    def _moved(self, image: Image.Image, draws: "_Draws") -> Tensor:
        image = squared(image) if self.how == "letterbox" else image
        shown = central_square(image.size) if self.how == "crop" else (0, 0, *image.size)
        matrix, shift = self._placement(draws)
        across, down = (shown[2] - shown[0]) / image.width, (shown[3] - shown[1]) / image.height
        matrix = [[across * value for value in matrix[0]], [down * value for value in matrix[1]]]
        shift = [across * shift[0], down * shift[1]]
        return _warp(self._shrunk(image, matrix), matrix, shift, self.size)

    def _placement(self, draws: "_Draws") -> tuple[list[list[float]], list[float]]:
        """What the result shows: matrix and shift from its square to the picture's, both centred, side 1."""
        low, high = self.scale
        zoom = math.exp(-draws.between(math.log(low), math.log(high)))
        stretch = math.exp(draws.around(self.aspect))
        angle = math.radians(draws.around(self.rotate))
        mirror = -1 if draws.chance(self.flip) else 1
        cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
        matrix = [[mirror * cos * stretch, -sin * stretch], [mirror * sin / stretch, cos / stretch]]
        return matrix, [draws.around(self.shift), draws.around(self.shift)]

    def _shrunk(self, image: Image.Image, matrix: list[list[float]]) -> Image.Image:
        """A much larger picture made smaller first: bilinear sampling alone would skip most of its pixels."""
        density = [side * math.hypot(*row) / self.size for side, row in zip(image.size, matrix, strict=True)]
        if max(density) <= 1.5:
            return image
        shares = [min(1, OVERSAMPLING / pixels) for pixels in density]
        width, height = (max(1, round(side * share)) for side, share in zip(image.size, shares, strict=True))
        return image.resize((width, height), FILTERS[self.interpolation], reducing_gap=2.0)

    def _recoloured(self, pixels: Tensor, draws: "_Draws") -> Tensor:
        """Brightness, saturation, contrast and colour balance as one matrix on the colours of each pixel."""
        light = math.exp(draws.around(self.brightness))
        colour = 1 + draws.around(self.saturation)
        contrast = 1 + draws.around(self.contrast)
        warmth = draws.around(self.balance)
        colour = 0.0 if draws.chance(self.grey) else colour
        if (light, colour, contrast, warmth) == (1, 1, 1, 0):
            return pixels
        flat = pixels.flatten(1).float()
        offset = np.float32(light * (1 - contrast)) * np.float32(flat.mean().item())
        mix = light * contrast * (colour * IDENTITY + (1 - colour) / 3)
        tint = np.array([[1 + warmth], [1.0], [1 - warmth]], np.float32)
        shift, matrix = torch.from_numpy(tint * offset), torch.from_numpy(tint * mix)
        return torch.addmm(shift, matrix, flat).view_as(pixels)

    def _covered(self, pixels: Tensor, draws: "_Draws") -> Tensor:
        if draws.chance(self.erase):
            side = max(1, round(self.size * draws.between(*self.erase_side)))
            top, left = (int(draws.between(0, self.size - side + 1)) for _ in range(2))
            colour = torch.tensor([int(draws.between(0, 256)) for _ in range(3)], dtype=torch.uint8)
            pixels[:, top : top + side, left : left + side] = colour[:, None, None]
        return pixels


@dataclass(frozen=True)
class Strong(Augment):
    """`Augment` with larger changes, for long training or few pictures."""

    scale: tuple[float, float] = (0.75, 1.15)
    aspect: float = 0.1
    rotate: float = 15.0
    shift: float = 0.05
    brightness: float = 0.3
    saturation: float = 0.4
    contrast: float = 0.3
    balance: float = 0.1
    grey: float = 0.1
    erase: float = 0.25
    erase_side: tuple[float, float] = (0.15, 0.35)


@dataclass(frozen=True)
class Flip(Resize):
    """`Resize`, mirrored with probability `flip`."""

    flip: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("flip", self.flip, 0, 1)

    def __call__(self, image: Image.Image) -> Tensor:
        """The RGB picture, or its mirror image."""
        pixels = super().__call__(image)
        return pixels.flip(2) if torch.rand(()) < self.flip else pixels


class _Draws:
    """Random numbers, drawn from torch together: one call costs as much as twenty."""

    def __init__(self) -> None:
        self._values = iter(torch.rand(20, dtype=torch.float64).tolist())

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._values)

    def around(self, most: float) -> float:
        return self.between(-most, most)

    def chance(self, probability: float) -> bool:
        return next(self._values) < probability


def _warp(image: Image.Image, matrix: list[list[float]], shift: list[float], size: int) -> Tensor:
    """The square whose point p shows the picture's point `matrix @ p + shift`, both centred, side 1."""
    placed = torch.from_numpy(np.array([*matrix, shift], np.float32) * 2)
    grid = torch.addmm(placed[2], _points(size), placed[:2].T)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return F.grid_sample(
        pixels.to(torch.float32, memory_format=torch.contiguous_format)[None],
        grid.view(1, size, size, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )[0]


@lru_cache(maxsize=8)
def _points(size: int) -> Tensor:
    """The centres (x, y) of the pixels of a square of side 1 around 0, [size * size, 2]."""
    places = (torch.arange(size) + 0.5) / size - 0.5
    return torch.cartesian_prod(places, places).flip(1).contiguous()


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} {value}: a number from {low} to {high}")


def _check_range(name: str, value: tuple[float, float], low: float, high: float) -> None:
    if len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise ValueError(f"{name} {list(value)}: the smallest and the largest, from {low} to {high}")
