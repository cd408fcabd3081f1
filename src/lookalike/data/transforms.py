"""From a picture to the model's input: uint8 [3, size, size]. What evaluation does travels with the model."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ResizeMode = Literal["squash", "crop", "letterbox"]
Interpolation = Literal["bicubic", "bilinear"]

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
GREY = (127, 127, 127)


@dataclass(frozen=True)
class Resize:
    """A picture made square, shrunk with antialiasing.

    `squash` changes its proportions, `crop` cuts off what is too long, and `letterbox` adds bars: mid-grey,
    close to the mean that models subtract.
    """

    size: int
    how: ResizeMode = "squash"
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size {self.size}: a picture has at least 1 pixel a side")
        check_choice("how", self.how, get_args(ResizeMode))
        check_choice("interpolation", self.interpolation, get_args(Interpolation))

    @property
    def at_least(self) -> int:
        """How large `open_image` must leave a picture for nothing to be lost: twice the size."""
        return 2 * self.size

    def __call__(self, image: Image.Image) -> Tensor:
        """The RGB picture as uint8 [3, size, size]."""
        return to_tensor(self.resize(image))

    def resize(self, image: Image.Image) -> Image.Image:
        """The picture, square and of this size."""
        if self.how == "letterbox":
            return self._letterbox(image)
        box = None if self.how == "squash" else central_box(image.size)
        return image.resize((self.size, self.size), FILTERS[self.interpolation], box)

    def _letterbox(self, image: Image.Image) -> Image.Image:
        scale = self.size / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        return pad_to_square(image.resize((width, height), FILTERS[self.interpolation]))

    def to_dict(self) -> dict[str, Any]:
        """The arguments, as they stand in a model's config.json."""
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
                f"transform: its keys are {', '.join(sorted(names))}; missing or unknown: {wrong}"
            )
        return cls(**values)


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise a ValueError that lists the choices unless the value is one of them."""
    if value not in allowed:
        raise ValueError(f"{name} {value!r}: choose one of {', '.join(allowed)}")


def check_value(name: str, value: float, low: float, high: float) -> None:
    """Raise a ValueError unless the value lies between the two."""
    if not low <= value <= high:
        raise ValueError(f"{name} {value}: a number from {low} to {high}")


def check_range(name: str, value: tuple[float, float], low: float, high: float) -> None:
    """Raise a ValueError unless the value is a smallest and a largest number between the two."""
    if len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise ValueError(f"{name} {list(value)}: the smallest and the largest, from {low} to {high}")


def central_box(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest square in the middle, as a box."""
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    return left, top, left + side, top + side


def pad_to_square(image: Image.Image) -> Image.Image:
    """The picture in the middle of the smallest square that holds it, with grey bars."""
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


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as uint8 [3, H, W]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def stack_images(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures of one size, [3, H, W] each, as a batch [B, 3, H, W], in the layout that the first has.

    What this package makes of pictures is "channels last" in memory, as its models read them.
    """
    if pictures[0].is_contiguous():
        return torch.stack(list(pictures))
    return torch.stack([picture.permute(1, 2, 0) for picture in pictures]).permute(0, 3, 1, 2)
