"""Random transforms as functions of a picture and of numbers drawn for it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lookalike.data.decode import Box


class RandomTransform(ABC):
    """A random transform that is handed its random numbers, so that a batch can be changed at once.

    What becomes of a picture depends on the picture and on its own numbers, never on the rest of the batch.
    """

    count: ClassVar[int]
    """How many numbers it wants for a picture."""

    @abstractmethod
    def transform_one(self, size: tuple[int, int], draws: np.ndarray) -> tuple[Box | None, int]:
        """What will be shown of a picture of this width and height, None for all of it.

        And how many pixels its shorter side must keep for nothing to be lost. `draws`: [count].
        """

    @abstractmethod
    def transform_many(self, pictures: Sequence[np.ndarray], draws: np.ndarray) -> Tensor:
        """The parts that `transform_one` chose, [h, w, 3] each, changed by draws [B, count]: uint8 [B, 3, S,
        S].
        """

    def __call__(self, image: Image.Image) -> Tensor:
        """A random variation of an RGB picture, by torch's default random numbers: uint8 [3, S, S]."""
        draws = torch.rand(1, self.count, dtype=torch.float64).numpy()
        box, _ = self.transform_one(image.size, draws[0])
        return self.transform_many([np.array(image if box is None else image.crop(box))], draws)[0]
