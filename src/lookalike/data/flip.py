"""Mirror images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from lookalike.data.decode import Box
from lookalike.data.drawn import Drawn
from lookalike.data.transforms import How, Interpolation, Resize, check_value, stacked


@dataclass(frozen=True)
class Flip(Drawn):
    """`Resize`, mirrored with probability `flip`."""

    size: int
    how: How = "squash"
    interpolation: Interpolation = "bicubic"
    flip: float = 0.5
    count: ClassVar[int] = 1

    def __post_init__(self) -> None:
        Resize(self.size, self.how, self.interpolation)
        check_value("flip", self.flip, 0, 1)

    def part(self, size: tuple[int, int], draws: np.ndarray) -> tuple[Box | None, int]:
        """All of it: see `Drawn.part`."""
        return None, 2 * self.size

    def many(self, pictures: Sequence[np.ndarray], draws: np.ndarray) -> Tensor:
        """See `Drawn.many`."""
        resize = Resize(self.size, self.how, self.interpolation)
        found = [resize(Image.fromarray(picture)) for picture in pictures]
        return stacked(
            [
                pixels.flip(2) if draw < self.flip else pixels
                for pixels, draw in zip(found, draws[:, 0], strict=True)
            ]
        )
