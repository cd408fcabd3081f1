"""From an image to uint8 [3, size, size]. The evaluation transform is stored with the model."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from PIL import Image

if TYPE_CHECKING:  # exported models work without PyTorch
    from torch import Tensor

ResizeMode = Literal["squash", "crop", "letterbox"]
Interpolation = Literal["bicubic", "bilinear"]

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
GREY = (127, 127, 127)


MAX_SIZE = 10_000
"""Largest image size, in pixels: its square is the number of pixels up to which images are read."""


@dataclass(frozen=True)
class Resize:
    """Resize an image to a square with antialiasing.

    `squash` changes the aspect ratio, `crop` takes the centre, and `letterbox` pads with mid-grey, close to
    the mean that models subtract.
    """

    size: int
    how: ResizeMode = "squash"
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MAX_SIZE:
            raise ValueError(f"size {self.size}: must be from 1 to {MAX_SIZE:,}")
        check_choice("how", self.how, get_args(ResizeMode))
        check_choice("interpolation", self.interpolation, get_args(Interpolation))

    @property
    def at_least(self) -> int:
        """Minimum shorter side for `open_image` to keep all detail: twice the size."""
        return 2 * self.size

    def __call__(self, image: Image.Image) -> "Tensor":
        """The RGB image as uint8 [3, size, size]."""
        return to_tensor(self.resize(image))

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The RGB image as a uint8 array [3, size, size]."""
        return np.asarray(self.resize(image)).transpose(2, 0, 1)

    def resize(self, image: Image.Image) -> Image.Image:
        """The image as a square of this size."""
        if self.how == "letterbox":
            return self._letterbox(image)
        box = None if self.how == "squash" else central_box(image.size)
        return image.resize((self.size, self.size), FILTERS[self.interpolation], box)

    def _letterbox(self, image: Image.Image) -> Image.Image:
        scale = self.size / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        return pad_to_square(image.resize((width, height), FILTERS[self.interpolation]))

    def to_dict(self) -> dict[str, Any]:
        """The arguments, as stored in the config.json of a model."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The transform that `to_dict` described.

        Raises:
            ValueError: if a key is missing or unknown, or a value is not allowed.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            wrong = ", ".join(sorted(names ^ set(values)))
            raise ValueError(
                f"transform: keys must be {', '.join(sorted(names))}; missing or unknown: {wrong}"
            )
        return cls(**values)


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise a ValueError that lists the choices unless the value is one of them."""
    if value not in allowed:
        raise ValueError(f"{name} {value!r}: choose one of {', '.join(allowed)}")


def check_value(name: str, value: float, low: float, high: float) -> None:
    """Raise a ValueError unless the value lies between the two."""
    if not low <= value <= high:
        raise ValueError(f"{name} {value}: must be from {low} to {high}")


def check_range(name: str, value: tuple[float, float], low: float, high: float) -> None:
    """Raise a ValueError unless the value is a valid range between the two."""
    if len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise ValueError(f"{name} {list(value)}: must be a minimum and a maximum from {low} to {high}")


def central_box(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest centred square, as a box."""
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    return left, top, left + side, top + side


def pad_to_square(image: Image.Image) -> Image.Image:
    """Pad the image to a centred square with grey bars."""
    if image.width == image.height:
        return image
    side = max(image.size)
    canvas = Image.new("RGB", (side, side), GREY)
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def pad_pixels_to_square(pixels: np.ndarray) -> np.ndarray:
    """`pad_to_square` for pixels [h, w, 3]."""
    height, width = pixels.shape[:2]
    if height == width:
        return pixels
    side = max(height, width)
    canvas = np.full((side, side, 3), GREY[0], np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    canvas[top : top + height, left : left + width] = pixels
    return canvas


def to_tensor(image: Image.Image) -> "Tensor":
    """An RGB image as uint8 [3, H, W]."""
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def stack_images(pictures: "Sequence[Tensor]") -> "Tensor":
    """Stack images of one size, [3, H, W] each, to a batch [B, 3, H, W], in the memory layout of the first.

    Transforms of this package produce channels-last memory, as its models expect.
    """
    import torch

    if pictures[0].is_contiguous():
        return torch.stack(list(pictures))
    return torch.stack([picture.permute(1, 2, 0) for picture in pictures]).permute(0, 3, 1, 2)
