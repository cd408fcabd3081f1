"""Random transforms as functions of an image and its random numbers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lookalike.data.decode import Box


class RandomTransform(ABC):
    """A random transform that receives its random numbers, so that a batch can be transformed at once.

    The result depends only on the image and its own numbers, never on the rest of the batch.
    """

    count: ClassVar[int]
    """Number of random numbers per image."""

    @abstractmethod
    def transform_one(self, size: tuple[int, int], draws: np.ndarray) -> tuple[Box | None, int]:
        """The region of an image of this width and height that is used, None for all of it, and the minimum
        number of pixels on its shorter side. `draws`: [count].
        """

    @abstractmethod
    def transform_many(self, pictures: Sequence[np.ndarray], draws: np.ndarray) -> Tensor:
        """Transform the regions chosen by `transform_one`, [h, w, 3] each, with draws [B, count]: uint8
        [B, 3, S, S].
        """

    def __call__(self, image: Image.Image) -> Tensor:
        """A random transform of an RGB image, with torch's default generator: uint8 [3, S, S]."""
        draws = torch.rand(1, self.count, dtype=torch.float64).numpy()
        box, _ = self.transform_one(image.size, draws[0])
        return self.transform_many([np.array(image if box is None else image.crop(box))], draws)[0]
