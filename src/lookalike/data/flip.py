"""Mirror images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from lookalike.data.decode import Box
from lookalike.data.random_transform import RandomTransform
from lookalike.data.transforms import Interpolation, Resize, ResizeMode, check_value, stack_images


@dataclass(frozen=True)
class Flip(RandomTransform):
    """`Resize` with a horizontal flip of probability `flip`."""

    size: int
    how: ResizeMode = "squash"
    interpolation: Interpolation = "bicubic"
    flip: float = 0.5
    count: ClassVar[int] = 1

    def __post_init__(self) -> None:
        Resize(self.size, self.how, self.interpolation)
        check_value("flip", self.flip, 0, 1)

    def transform_one(self, size: tuple[int, int], draws: np.ndarray) -> tuple[Box | None, int]:
        """The whole image: see `RandomTransform.transform_one`."""
        return None, 2 * self.size

    def transform_many(self, pictures: Sequence[np.ndarray], draws: np.ndarray) -> Tensor:
        """See `RandomTransform.transform_many`."""
        resize = Resize(self.size, self.how, self.interpolation)
        output = [resize(Image.fromarray(picture)) for picture in pictures]
        return stack_images(
            [
                pixels.flip(2) if draw < self.flip else pixels
                for pixels, draw in zip(output, draws[:, 0], strict=True)
            ]
        )
