"""Random resized crop: the common training transform for large datasets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np
import torch
from torch import Tensor

from lookalike.data.decode import Box
from lookalike.data.random_transform import RandomTransform
from lookalike.data.transforms import Interpolation, check_choice, check_range, check_value

RESIZED_INTO = {  # the function behind F.interpolate(antialias=True), writing to preallocated memory
    "bicubic": torch.ops.aten._upsample_bicubic2d_aa.out,
    "bilinear": torch.ops.aten._upsample_bilinear2d_aa.out,
}


@dataclass(frozen=True)
class RandomCrop(RandomTransform):
    """A random crop of an image, resized to a square with antialiasing, and optionally flipped.

    Area fraction and aspect ratio are uniform, the ratio on a log scale, as in "random resized crop" (Szegedy
    et al. 2015); crops that do not fit into the image are reduced. Only the crop is decoded, at full or at a
    sufficient reduced resolution.

    Args:
        size: side of the result.
        interpolation: bicubic or bilinear.
        flip: probability of a horizontal flip.
        area: range of the cropped fraction of the image area.
        aspect: range of the aspect ratio of the crop.
    """

    size: int
    interpolation: Interpolation = "bilinear"
    flip: float = 0.5
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (0.75, 1.3333)
    count: ClassVar[int] = 5

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size {self.size}: must be at least 1")
        check_choice("interpolation", self.interpolation, get_args(Interpolation))
        check_value("flip", self.flip, 0, 1)
        check_range("area", self.area, 1e-4, 1)
        check_range("aspect", self.aspect, 0.01, 100)

    def transform_one(self, size: tuple[int, int], draws: np.ndarray) -> tuple[Box | None, int]:
        """See `RandomTransform.transform_one`."""
        area = size[0] * size[1] * _interpolate(self.area, draws[0])
        aspect = math.exp(_interpolate((math.log(self.aspect[0]), math.log(self.aspect[1])), draws[1]))
        width = max(1, min(round(math.sqrt(area * aspect)), size[0]))
        height = max(1, min(round(math.sqrt(area / aspect)), size[1]))
        left, top = int(draws[2] * (size[0] - width + 1)), int(draws[3] * (size[1] - height + 1))
        return (left, top, left + width, top + height), self.size

    def transform_many(self, pictures: Sequence[np.ndarray], draws: np.ndarray) -> Tensor:
        """See `RandomTransform.transform_many`."""
        size = (len(pictures), 3, self.size, self.size)
        output = torch.empty(size, dtype=torch.uint8, memory_format=torch.channels_last)
        mirrored = (draws[:, 4] < self.flip).tolist()
        for into, picture, mirror in zip(output.split(1), pictures, mirrored, strict=True):
            pixels = torch.from_numpy(np.ascontiguousarray(picture))[None].permute(0, 3, 1, 2)
            RESIZED_INTO[self.interpolation](pixels.flip(3) if mirror else pixels, size[2:], False, out=into)
        return output


def _interpolate(ends: tuple[float, float], draw: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * draw
