"""The random changes of training images, ours or the user's own, tried before anything is read."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lookalike.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from lookalike.data.transforms import ResizeMode


def build_augment(
    node: Mapping[str, Any], size: int, resize_mode: "ResizeMode"
) -> "Callable[[Image.Image], Tensor]":
    """The transform that `augment` describes.

    Raises:
        ConfigError: it refuses its arguments; or it is the user's own, and makes no uint8 tensors [3, H, W]
            of one size.
    """
    from lookalike.config import build
    from lookalike.data.random_transform import RandomTransform
    from lookalike.data.transforms import Resize

    augment = build(node, "augment", size=size, how=resize_mode)
    if not isinstance(augment, RandomTransform | Resize):
        _try_augment(augment, size)
    return augment


def _try_augment(augment: "Callable[[Image.Image], Any]", size: int) -> None:
    import torch
    from PIL import Image

    with torch.random.fork_rng(devices=[]):
        outputs = [augment(Image.new("RGB", shape)) for shape in ((2 * size, 3 * size), (2 * size, size))]
    for output in outputs:
        if not isinstance(output, torch.Tensor):
            raise ConfigError(f"augment: gives {type(output).__name__}, not {EXPECTED_OUTPUT}")
        if output.dtype != torch.uint8 or output.ndim != 3 or output.shape[0] != 3 or not output.numel():
            raise ConfigError(f"augment: gives {output.dtype} {list(output.shape)}, not {EXPECTED_OUTPUT}")
    if outputs[0].shape != outputs[1].shape:
        raise ConfigError(
            f"augment: gives {list(outputs[0].shape)} of one picture and {list(outputs[1].shape)} of "
            "another; "
            "all must be of one size: resize to (height, width), not to a shorter side"
        )


EXPECTED_OUTPUT = (
    "a torch.uint8 tensor [3, H, W]. The model scales pixels itself, so leave out what makes numbers from "
    "0 to 1 of them (ToTensor, ToDtype) and Normalize; torchvision's PILToTensor makes such a tensor"
)
