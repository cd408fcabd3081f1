"""Images from a Python object, such as a torch Dataset, instead of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lookalike.data.image_input import as_pillow_image
from lookalike.errors import DataError, ImageError

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_KINDS = (
    "a PIL image, a uint8 array [H, W, 3] or [H, W], or a tensor [3, S, S], uint8 or float for the model"
)
LABEL_NAMES = ("targets", "labels")


class Items:
    """The (image, label) pairs of a dataset.

    Args:
        source: has a length, and returns such pairs by index.
        name: for messages.

    Attributes:
        tensor_shape: of its images if they are tensors, which are used as they are; None otherwise.

    Raises:
        DataError: it is empty or has other items.
    """

    def __init__(self, source: Any, name: str = ""):
        self.source, self.name = source, name or type(source).__name__
        if not hasattr(source, "__getitem__") or not hasattr(source, "__len__"):
            raise DataError(
                f"{self.name}: a dataset needs __len__ and __getitem__(index) -> (image, label); iterable "
                "datasets cannot be shuffled by class"
            )
        if not len(source):
            raise DataError(f"{self.name}: the dataset is empty")
        image = self._pair(0)[0]
        self.tensor_shape = tuple(image.shape) if _is_tensor(image) else None
        if self.tensor_shape and (len(self.tensor_shape) != 3 or self.tensor_shape[0] != 3):
            raise DataError(
                f"{self.name}: returns a tensor {[*self.tensor_shape]}; an image is {IMAGE_KINDS}"
            )
        if self.tensor_shape and self.tensor_shape[1] != self.tensor_shape[2]:
            raise DataError(
                f"{self.name}: returns tensors {[*self.tensor_shape]}; they must be square, [3, S, S], like "
                f"the "
                "input of the model"
            )
        if not self.tensor_shape:
            self.picture(0)

    def labels(self) -> list[Any]:
        """The label of each item, from `targets` or `labels` of the source or else from the items.

        Raises:
            DataError: a label is neither text nor an integer.
        """
        length = len(self.source)
        known = (getattr(self.source, name, None) for name in LABEL_NAMES)
        values = next((each for each in known if _has_length(each, length)), None)
        if values is None:
            values = [self._pair(index)[1] for index in range(length)]
        plain = [
            value.item() if hasattr(value, "item") and not isinstance(value, str) else value
            for value in values
        ]
        for index, value in enumerate(plain):
            if isinstance(value, bool) or not isinstance(value, int | str):
                raise DataError(
                    f"{self.name}: the label of item {index} is {value!r} ({type(value).__name__}); labels "
                    "must be integers or text"
                )
        return plain if all(isinstance(value, int) for value in plain) else [str(value) for value in plain]

    def picture(self, index: int) -> Image.Image:
        """An item as an RGB image.

        Raises:
            ImageError: the source failed, or returned something else.
        """
        image = self._image(index)
        try:
            return as_pillow_image(image, None)
        except TypeError as error:
            raise ImageError(
                self._item_name(index), f"returned {type(image).__name__}, not {IMAGE_KINDS}"
            ) from error

    def tensor(self, index: int) -> Tensor:
        """An item that is a tensor, [3, S, S].

        Raises:
            ImageError: the source failed, or returned another shape than for its first item.
        """
        image = self._image(index)
        if not _is_tensor(image) or tuple(image.shape) != self.tensor_shape:
            shape = list(image.shape) if _is_tensor(image) else type(image).__name__
            raise ImageError(
                self._item_name(index), f"returned {shape}, not {[*(self.tensor_shape or ())]} as for item 0"
            )
        return image

    def _image(self, index: int) -> Any:
        try:
            return self._pair(index)[0]
        except ImageError:
            raise
        except Exception as error:
            raise ImageError(self._item_name(index), f"{type(error).__name__}: {error}") from error

    def _pair(self, index: int) -> Any:
        pair = self.source[index]
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise DataError(
                f"{self.name}: item {index} is a {type(pair).__name__}, not a pair (image, label)"
            )
        return pair

    def _item_name(self, index: int) -> str:
        return f"{self.name} item {index}"


class JoinedItems:
    """Several sources as one, in order.

    Args:
        sources: by split.
    """

    def __init__(self, sources: Mapping[str, Any]):
        self.sources = list(sources.values())
        self.ends = np.cumsum([len(source) for source in self.sources])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Any:
        number = int(np.searchsorted(self.ends, index, side="right"))
        start = int(self.ends[number - 1]) if number else 0
        return self.sources[number][index - start]


def _is_tensor(image: Any) -> bool:
    import torch

    return isinstance(image, torch.Tensor)


def _has_length(values: Any, length: int) -> bool:
    try:
        return values is not None and len(values) == length
    except TypeError:
        return False
