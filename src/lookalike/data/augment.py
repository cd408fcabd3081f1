"""Random augmentation of training images."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lookalike.data.decode import Box
from lookalike.data.effects import (
    add_grain,
    add_noise,
    equalise_contrast,
    gaussian_blur,
    motion_blur,
    sharpen_image,
)
from lookalike.data.random_numbers import generator
from lookalike.data.random_transform import RandomTransform
from lookalike.data.transforms import (
    Interpolation,
    Resize,
    ResizeMode,
    check_range,
    check_value,
    pad_pixels_to_square,
)

OVERSAMPLING = 1.25  # image pixels per output pixel after a larger image has been downscaled
BLOCK = 1 << 17  # number of values processed at once, so that they stay in the CPU cache
CHANCES = ("flip", "turn", "grey", "erase", "blur", "motion", "sharpen", "equalise", "noise", "grain")
SHARES = ("aspect", "shift", "saturation", "contrast", "balance")


@dataclass(frozen=True)
class Augment(RandomTransform):
    """Random geometric changes, colour changes and erasing: uint8 [3, size, size].

    All geometric changes are one bilinear resampling, which repeats the border pixels outside the image. A
    value of 0, or (1, 1), disables a change; with all of them disabled the result is that of `Resize`.

    Args:
        size: side of the result.
        how: how an image becomes square, as in `Resize`.
        interpolation: bicubic or bilinear, for downscaling and for images without geometric changes.
        flip: probability of a horizontal flip.
        turn: probability of a quarter or half turn.
        scale: range of the zoom factor; below 1 the border pixels are repeated.
        aspect: maximum relative change of the aspect ratio.
        rotate: maximum rotation in degrees.
        shift: maximum shift as a fraction of the side.
        brightness: maximum change of the logarithm of the brightness.
        saturation: maximum change of the factor, which is 1 for no change.
        contrast: maximum change of the factor, which is 1 for no change.
        balance: maximum relative shift of the white balance between red and blue.
        grey: probability of conversion to greyscale.
        equalise: probability of local contrast equalisation (CLAHE).
        blur: probability of a blur of 1 or 2 pixels.
        motion: probability of motion blur of 1 or 2 pixels either way.
        sharpen: probability of sharpening.
        noise: probability of noise, of a standard deviation of 3 to 10 of 255.
        grain: probability of low-light sensor noise.
        erase: probability of random erasing with squares of random colours.
        erase_side: range of the side of a square, as a fraction of the image side.
        holes: range of the number of squares.
    """

    size: int
    how: ResizeMode = "squash"
    interpolation: Interpolation = "bicubic"
    flip: float = 0.5
    turn: float = 0.0
    scale: tuple[float, float] = (0.83, 1.12)
    aspect: float = 0.07
    rotate: float = 10.0
    shift: float = 0.04
    brightness: float = 0.2
    saturation: float = 0.3
    contrast: float = 0.2
    balance: float = 0.07
    grey: float = 0.07
    equalise: float = 0.0
    blur: float = 0.0
    motion: float = 0.0
    sharpen: float = 0.0
    noise: float = 0.0
    grain: float = 0.0
    erase: float = 0.0
    erase_side: tuple[float, float] = (0.15, 0.35)
    holes: tuple[int, int] = (1, 1)
    count: ClassVar[int] = 28

    def __post_init__(self) -> None:
        Resize(self.size, self.how, self.interpolation)  # validates these three
        for name in CHANCES + SHARES:
            check_value(name, getattr(self, name), 0, 1)
        check_value("brightness", self.brightness, 0, 3)
        check_value("rotate", self.rotate, 0, 180)
        check_range("scale", self.scale, 0.1, 10)
        check_range("erase_side", self.erase_side, 0, 1)
        check_range("holes", self.holes, 1, 100)

    def transform_one(self, size: tuple[int, int], draws: np.ndarray) -> tuple[Box | None, int]:
        """The whole image: see `RandomTransform.transform_one`."""
        return None, self._resize.at_least

    def transform_many(self, pictures: Sequence[np.ndarray], draws: np.ndarray) -> Tensor:
        """See `RandomTransform.transform_many`."""
        output = torch.empty((len(pictures), 3, self.size, self.size), dtype=torch.uint8)
        step = max(1, BLOCK // (3 * self.size**2))
        for start in range(0, len(pictures), step):
            some = slice(start, start + step)
            output[some] = self._augment_pictures(pictures[some], _Draws(draws[some]))
        return output

    def _augment_pictures(self, pictures: Sequence[np.ndarray], draws: "_Draws") -> Tensor:
        pixels = (
            self._move_pictures(pictures, draws)
            if self._affine_transforms
            else self._mirror_pictures(pictures, draws)
        )
        pixels = self._apply_camera_effects(self._change_colours(pixels, draws), draws)
        if pixels.is_floating_point():
            pixels = pixels.round_().clamp_(0, 255).to(torch.uint8)
        return self._erase_rectangles(pixels, draws)

    @property
    def _resize(self) -> Resize:
        return Resize(self.size, self.how, self.interpolation)

    @property
    def _affine_transforms(self) -> bool:
        placed = self.aspect or self.rotate or self.shift or self.turn
        return bool(tuple(self.scale) != (1, 1) or placed)

    def _mirror_pictures(self, pictures: Sequence[np.ndarray], draws: "_Draws") -> Tensor:
        pixels = torch.stack([self._resize(Image.fromarray(picture)) for picture in pictures])
        mirrored = torch.from_numpy(draws.sample_event(self.flip))
        pixels[mirrored] = pixels[mirrored].flip(3)
        return pixels

    def _move_pictures(self, pictures: Sequence[np.ndarray], draws: "_Draws") -> Tensor:
        if self.how == "letterbox":
            pictures = [pad_pixels_to_square(picture) for picture in pictures]
        sizes = np.array([picture.shape[1::-1] for picture in pictures])
        matrix, shift = self._placement(draws)
        if self.how == "crop":
            shares = sizes.min(1, keepdims=True) / sizes
            matrix, shift = shares[:, :, None] * matrix, shares * shift
        density = sizes * np.hypot(matrix[:, :, 0], matrix[:, :, 1]) / self.size
        pictures = [self._shrink_picture(*each) for each in zip(pictures, density, strict=True)]
        grid = _grid(matrix, shift, self.size)
        if len({picture.shape for picture in pictures}) == 1:
            return _sample_bilinear(np.stack(pictures), grid)
        parts = [_sample_bilinear(picture[None], grid[n : n + 1]) for n, picture in enumerate(pictures)]
        return torch.cat(parts)

    def _placement(self, draws: "_Draws") -> tuple[np.ndarray, np.ndarray]:
        """Affine maps from the output square to the image: matrices [B, 2, 2] and shifts [B, 2].

        Both squares are centred and have side 1.
        """
        low, high = self.scale
        zoom = np.exp(-draws.sample_between(math.log(low), math.log(high)))
        stretch = np.exp(draws.sample_around(self.aspect))
        angle = np.radians(draws.sample_around(self.rotate))
        mirror = np.where(draws.sample_event(self.flip), -1.0, 1.0)
        shift = np.stack([draws.sample_around(self.shift), draws.sample_around(self.shift)], 1)
        turned, turns = draws.sample_event(self.turn), np.floor(draws.sample_between(1, 4))
        angle += np.where(turned, turns, 0) * (math.pi / 2)
        cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
        matrix = [[mirror * cos * stretch, -sin * stretch], [mirror * sin / stretch, cos / stretch]]
        return np.array(matrix).transpose(2, 0, 1), shift

    def _shrink_picture(self, picture: np.ndarray, density: np.ndarray) -> np.ndarray:
        """Downscale a much larger image first, since bilinear sampling would skip most of its pixels."""
        if density.max() <= 1.5:
            return picture
        shares = np.minimum(1, OVERSAMPLING / density)
        height, width = (
            max(1, round(side * share)) for side, share in zip(picture.shape[:2], shares[::-1], strict=True)
        )
        pixels = torch.from_numpy(np.ascontiguousarray(picture))[None].permute(0, 3, 1, 2)
        small = F.interpolate(pixels, (height, width), mode=self.interpolation, antialias=True)
        return small[0].permute(1, 2, 0).numpy()

    def _change_colours(self, pixels: Tensor, draws: "_Draws") -> Tensor:
        """Brightness, saturation, contrast and colour balance as one matrix on the colours of each pixel."""
        light = np.exp(draws.sample_around(self.brightness))
        colour = 1 + draws.sample_around(self.saturation)
        contrast = 1 + draws.sample_around(self.contrast)
        warmth = draws.sample_around(self.balance)
        colour = np.where(draws.sample_event(self.grey), 0.0, colour)
        if not (self.brightness or self.saturation or self.contrast or self.balance or self.grey):
            return pixels
        pixels = pixels.float()
        tint = np.stack([1 + warmth, np.ones_like(warmth), 1 - warmth], 1)
        weights, common = light * contrast * colour, light * contrast * (1 - colour) / 3
        offset = light * (1 - contrast) * (_means(pixels) if self.contrast else 0)
        together = pixels.sum(1, keepdim=True) * _scalars(tint * common[:, None]) if common.any() else None
        pixels = pixels.mul_(_scalars(tint * weights[:, None]))
        pixels = pixels if together is None else pixels.add_(together)
        return pixels.add_(_scalars(tint * offset[:, None]))

    def _apply_camera_effects(self, pixels: Tensor, draws: "_Draws") -> Tensor:
        """Camera effects, each with its own probability."""
        chances = (self.equalise, self.blur, self.motion, self.sharpen, self.noise, self.grain)
        hits = [(draws.sample_event(chance), draws.sample_between(0, 1)) for chance in chances]
        if not any(hit.any() for hit, _ in hits):
            return pixels
        pixels = pixels.float()
        for effect, (hit, amounts) in zip(EFFECTS, hits, strict=True):
            for row in np.flatnonzero(hit):
                pixels[row] = effect(pixels[row], float(amounts[row]))
        return pixels

    def _erase_rectangles(self, pixels: Tensor, draws: "_Draws") -> Tensor:
        hit, numbers = draws.sample_event(self.erase), draws.sample_between(0, 1)
        for row in np.flatnonzero(hit):
            rng = generator(float(numbers[row]))
            for _ in range(rng.integers(*self.holes, endpoint=True)):
                side = max(1, round(self.size * rng.uniform(*self.erase_side)))
                top, left = rng.integers(0, self.size - side, 2, endpoint=True)
                colour = torch.from_numpy(rng.integers(0, 256, 3).astype(np.uint8))
                pixels[row, :, top : top + side, left : left + side] = colour[:, None, None]
        return pixels


EFFECTS = (
    lambda pixels, draw: equalise_contrast(pixels, 1 + 3 * draw),
    lambda pixels, draw: gaussian_blur(pixels, 1 if draw < 0.5 else 2),
    lambda pixels, draw: motion_blur(pixels, 1 if draw < 0.5 else 2, math.pi * (2 * draw % 1)),
    lambda pixels, draw: sharpen_image(pixels, 0.5 + draw),
    lambda pixels, draw: add_noise(pixels, 3 + 7 * draw, generator(draw)),
    lambda pixels, draw: add_grain(pixels, 0.02 + 0.06 * draw, generator(draw)),
)


@dataclass(frozen=True)
class Strong(Augment):
    """`Augment` with larger changes and camera effects, for long training or few images."""

    turn: float = 0.1
    scale: tuple[float, float] = (0.75, 1.2)
    aspect: float = 0.1
    rotate: float = 15.0
    shift: float = 0.1
    brightness: float = 0.3
    saturation: float = 0.4
    contrast: float = 0.3
    balance: float = 0.1
    grey: float = 0.1
    equalise: float = 0.05
    blur: float = 0.1
    motion: float = 0.05
    sharpen: float = 0.05
    noise: float = 0.1
    grain: float = 0.05
    erase: float = 0.25
    erase_side: tuple[float, float] = (0.1, 0.25)
    holes: tuple[int, int] = (1, 6)


class _Draws:
    """Random numbers of some images, consumed one after the other: each [B]."""

    def __init__(self, draws: np.ndarray) -> None:
        self._values: Iterator[np.ndarray] = iter(draws.T)

    def sample_between(self, low: float, high: float) -> np.ndarray:
        return low + (high - low) * next(self._values)

    def sample_around(self, limit: float) -> np.ndarray:
        return self.sample_between(-limit, limit)

    def sample_event(self, probability: float) -> np.ndarray:
        return next(self._values) < probability


def _scalars(values: np.ndarray) -> Tensor:
    """A number per image and channel, [B, 3, 1, 1]."""
    return torch.from_numpy(values.astype(np.float32))[:, :, None, None]


def _means(pixels: Tensor) -> np.ndarray:
    """The mean of each image, [B], in integer arithmetic, so that it is exact in any order of summation."""
    return pixels.trunc().sum(3).double().mean((1, 2)).numpy() / pixels.shape[3] + 0.5


def _grid(matrix: np.ndarray, shift: np.ndarray, size: int) -> Tensor:
    """Sampling positions in the image, from -1 to 1: 2 (matrix @ p + shift) for pixels p, [B, S, S, 2]."""
    coordinates = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    matrix, shift = (2 * matrix).astype(np.float32), (2 * shift).astype(np.float32)
    grid = np.empty((len(matrix), size, size, 2), np.float32)
    for axis in (0, 1):
        across = matrix[:, axis, 0, None] * coordinates + shift[:, axis, None]
        down = matrix[:, axis, 1, None] * coordinates
        np.add(across[:, None, :], down[:, :, None], out=grid[..., axis])
    return torch.from_numpy(grid)


def _sample_bilinear(pictures: np.ndarray, grid: Tensor) -> Tensor:
    """Sample images uint8 [B, h, w, 3] at positions [B, S, S, 2]: float [B, 3, S, S]."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    pixels = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
