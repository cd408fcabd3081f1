"""A trial of the random transform of training images, before anything is read."""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from lookalike.data.random_transform import RandomTransform
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError

EXPECTED_OUTPUT = (
    "a torch.uint8 tensor [3, H, W]. The model scales pixels itself, so leave out what makes numbers from "
    "0 to 1 of them (ToTensor, ToDtype) and Normalize; torchvision's PILToTensor makes such a tensor"
)


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
