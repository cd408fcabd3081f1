"""The random changes of training images, ours or the user's own, tried before anything is read."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lookalike.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from lookalike.data.transforms import How


def build_augment(node: Mapping[str, Any], size: int, how: "How") -> "Callable[[Image.Image], Tensor]":
    """The transform that `augment` describes.

    Raises:
        ConfigError: it refuses its arguments; or it is the user's own, and makes no uint8 tensors [3, H, W]
            of one size.
    """
    from lookalike.config import build
    from lookalike.data.drawn import Drawn
    from lookalike.data.transforms import Resize

    augment = build(node, "augment", size=size, how=how)
    if not isinstance(augment, Drawn | Resize):
        _try(augment, size)
    return augment


def _try(augment: "Callable[[Image.Image], Any]", size: int) -> None:
    import torch
    from PIL import Image

    with torch.random.fork_rng(devices=[]):
        made = [augment(Image.new("RGB", shape)) for shape in ((2 * size, 3 * size), (2 * size, size))]
    for one in made:
        if not isinstance(one, torch.Tensor):
            raise ConfigError(f"augment: gives {type(one).__name__}, not {WANTED}")
        if one.dtype != torch.uint8 or one.ndim != 3 or one.shape[0] != 3 or not one.numel():
            raise ConfigError(f"augment: gives {one.dtype} {list(one.shape)}, not {WANTED}")
    if made[0].shape != made[1].shape:
        raise ConfigError(
            f"augment: gives {list(made[0].shape)} of one picture and {list(made[1].shape)} of another; "
            "all must be of one size: resize to (height, width), not to a shorter side"
        )


WANTED = (
    "a torch.uint8 tensor [3, H, W]. The model scales pixels itself, so leave out what makes numbers from "
    "0 to 1 of them (ToTensor, ToDtype) and Normalize; torchvision's PILToTensor makes such a tensor"
)
