"""Random transforms as functions of an image and its random numbers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lookalike.data.decode import Box
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError

EXPECTED_OUTPUT = (
    "a torch.uint8 tensor [3, H, W]. The model scales pixels itself, so leave out ToTensor, ToDtype and "
    "Normalize; torchvision's PILToTensor makes such a tensor"
)


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


def check_transform(transform: Callable[[Image.Image], Any], size: int) -> None:
    """Call a transform that is not Lookalike's with two images of different shapes.

    Raises:
        ConfigError: it does not return uint8 tensors [3, H, W] of one size.
    """
    if isinstance(transform, RandomTransform | Resize):
        return
    with torch.random.fork_rng(devices=[]):
        outputs = [transform(Image.new("RGB", shape)) for shape in ((2 * size, 3 * size), (2 * size, size))]
    for output in outputs:
        if not isinstance(output, torch.Tensor):
            raise ConfigError(f"augment: gives {type(output).__name__}, not {EXPECTED_OUTPUT}")
        if output.dtype != torch.uint8 or output.ndim != 3 or output.shape[0] != 3 or not output.numel():
            raise ConfigError(f"augment: gives {output.dtype} {list(output.shape)}, not {EXPECTED_OUTPUT}")
    if outputs[0].shape != outputs[1].shape:
        raise ConfigError(
            f"augment: gives {list(outputs[0].shape)} of one picture and {list(outputs[1].shape)} of "
            "another; all must be of one size: resize to (height, width), not to a shorter side"
        )
