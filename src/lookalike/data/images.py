"""Pictures on their way to the model: a table as a dataset for torch's DataLoader, and its batches."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lookalike.data.decode import MAX_PIXELS, image_size, open_image
from lookalike.errors import ImageError, Problem

if TYPE_CHECKING:  # jobs that never need torch import this file, and torch takes seconds to load
    from PIL import Image
    from torch import Tensor
    from torch.utils.data import Dataset

    from lookalike.data.table import Table

    Rows = Dataset[Any]
else:
    Rows = object

KEPT = 256 * 2**20
"""Bytes of decoded pictures that may stay in memory."""

__all__ = ["MAX_PIXELS", "Batch", "ImageTable", "Item", "Unreadable", "collate", "image_size", "open_image"]


class Item(NamedTuple):
    """A picture as the model takes it, [3, H, W] uint8; its class id, -1 if unknown; its row of the table."""

    image: Tensor
    class_id: int
    row: int


@dataclass(frozen=True)
class Unreadable:
    """A row whose picture cannot be read, in the place of its picture."""

    row: int
    path: str
    reason: str


class Batch(NamedTuple):
    """Pictures [B, 3, H, W] uint8 with their class ids [B] and rows [B], and what could not be read."""

    images: Tensor
    class_ids: Tensor
    rows: Tensor
    skipped: list[Problem]


class ImageTable(Rows):
    """The pictures of a table as a dataset for torch's DataLoader.

    With a `seed` the transform is random: each call runs with torch's random numbers seeded from seed, epoch,
    row and how often the row was in the batch before, and leaves the numbers outside untouched. So the same
    seed gives the same pixels, whatever the number of workers and the order of rows, and any transform of
    torchvision will do. Numbers drawn from elsewhere (`random`, NumPy) are the transform's own affair.

    Small pictures, 256 MiB at most for all rows together, stay in memory once they were decoded for a random
    transform, since each epoch wants them again; not in workers, each of which would have its own.

    Args:
        table: whose rows are the items.
        transform: from an RGB picture to uint8 [3, H, W], the same size for all.
        class_ids: from label to class id; labels it lacks get -1.
        seed: for a random transform; none for evaluation.
        at_least: passed to `open_image`; the transforms of this package know theirs.
    """

    def __init__(
        self,
        table: Table,
        transform: Callable[[Image.Image], Tensor],
        class_ids: dict | None = None,
        seed: int | None = None,
        at_least: int | None = None,
    ):
        import torch

        self.transform, self.seed, self.at_least = transform, seed, at_least
        self.class_ids = np.full(len(table), -1)
        if class_ids is not None:
            self.class_ids = np.array([class_ids.get(label, -1) for label in table.labels.tolist()], np.int64)
        # Workers are forked: they must not touch the table's frame, whose threads stayed behind.
        self._files = [os.fspath(table.folder / path) for path in table.frame["path"].to_list()]
        boxed = "x1" in table.frame.columns
        self._boxes = [table.box(row) for row in range(len(table))] if boxed else None
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # persistent workers see it change
        self._room = 0 if seed is None else KEPT // max(1, len(table))
        self._kept: dict[int, Image.Image] = {}

    def __len__(self) -> int:
        return len(self._files)

    def set_epoch(self, epoch: int) -> None:
        """Choose the random numbers of this epoch, in running workers too."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Item | Unreadable:
        return self.__getitems__([index])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[Item | Unreadable]:
        """The items of a batch; a row that is in it twice gets other random numbers the second time."""
        seen: Counter[int] = Counter()
        items = []
        with nullcontext() if self.seed is None else _random_numbers_kept():
            for row in rows:
                items.append(self._item(row, seen[row]))
                seen[row] += 1
        return items

    def _item(self, row: int, repeat: int) -> Item | Unreadable:
        try:
            image = self._kept.get(row) or self._open(row)
        except ImageError as error:
            return Unreadable(row, error.path, error.reason)
        if self.seed is not None:
            _seed(self.seed, self._epoch.item(), row, repeat)
        return Item(self.transform(image), int(self.class_ids[row]), row)

    def _open(self, row: int) -> Image.Image:
        from torch.utils.data import get_worker_info

        image = open_image(self._files[row], self._boxes[row] if self._boxes else None, self.at_least)
        if 4 * image.width * image.height <= self._room and get_worker_info() is None:
            self._kept[row] = image
        return image


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """Torch's random numbers are afterwards as they were."""
    from torch import default_generator

    before = default_generator.get_state()
    try:
        yield
    finally:
        default_generator.set_state(before)


def _seed(*numbers: int | float) -> None:
    """Torch's random numbers from a seed made of these numbers."""
    from torch import default_generator

    seed = np.random.SeedSequence([abs(int(number)) for number in numbers]).generate_state(1, np.uint64)
    default_generator.manual_seed(int(seed[0] >> np.uint64(1)))


def collate(items: Iterable[Item | Unreadable]) -> Batch:
    """A batch of the readable items, in order, with the rest listed: each row keeps its own id."""
    import torch

    items = list(items)
    good = [item for item in items if isinstance(item, Item)]
    skipped = [Problem(item.path, item.reason, item.row) for item in items if isinstance(item, Unreadable)]
    images = [item.image for item in good]
    return Batch(
        torch.stack(images) if images else torch.empty((0, 3, 0, 0), dtype=torch.uint8),
        torch.tensor([item.class_id for item in good], dtype=torch.int64),
        torch.tensor([item.row for item in good], dtype=torch.int64),
        skipped,
    )
