"""Loading images: a table as a dataset for torch's DataLoader, and its batches."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from lookalike.data.decode import MAX_PIXELS, Box, image_size, open_image
from lookalike.data.memory_cache import ROOM, MemoryCache
from lookalike.data.pixels import crop, open_pixels
from lookalike.errors import ImageError, Problem

if TYPE_CHECKING:  # jobs without torch import this file, and importing torch takes seconds
    from torch import Tensor
    from torch.utils.data import Dataset

    from lookalike.data.cache import Cache
    from lookalike.data.random_transform import RandomTransform
    from lookalike.data.table import Table

    Rows = Dataset[Any]
else:
    Rows = object

__all__ = ["MAX_PIXELS", "Batch", "ImageTable", "Item", "Unreadable", "collate", "image_size", "open_image"]


class Item(NamedTuple):
    """A preprocessed image, [3, H, W] uint8; its class id, -1 if unknown; its table row."""

    image: Tensor
    class_id: int
    row: int


@dataclass(frozen=True)
class Unreadable:
    """A row whose image cannot be read, in place of its image."""

    row: int
    path: str
    reason: str


class Batch(NamedTuple):
    """Images [B, 3, H, W] uint8 with their class ids [B] and rows [B], and the unreadable ones."""

    images: Tensor
    class_ids: Tensor
    rows: Tensor
    skipped: list[Problem]


class ImageTable(Rows):
    """The images of a table as a dataset for torch's DataLoader, which requests whole batches.

    With a `seed` the transform is random: its result depends on seed, epoch, row and the number of earlier
    occurrences of the row in the batch, and global random states are not changed. The same seed gives the
    same pixels for any number of workers and order of rows. Transforms of this package receive their random
    numbers per batch; any other, such as those of torchvision, is called with torch's generator seeded for
    the image. Random numbers from elsewhere (`random`, NumPy) are not controlled.

    Small images, at most 256 MiB for all rows together, stay in memory once decoded for a random transform,
    since each epoch needs them again; workers share them.

    Args:
        table: its rows are the items.
        transform: from an RGB picture to uint8 [3, H, W], the same size for all.
        class_ids: from label to class id; other labels get -1.
        seed: for a random transform; none for evaluation.
        at_least: passed to `open_image`; the transforms of this package define it themselves.
        cache: cache of downscaled images.
        memory: maximum bytes of decoded images of all rows together.
    """

    def __init__(
        self,
        table: Table,
        transform: Callable[[Image.Image], Tensor],
        class_ids: dict | None = None,
        seed: int | None = None,
        at_least: int | None = None,
        cache: Cache | None = None,
        memory: int = ROOM,
    ):
        import torch

        from lookalike.data.random_transform import RandomTransform

        self.transform, self.seed, self.at_least, self.cache = transform, seed, at_least, cache
        self.random_transform = (
            transform if isinstance(transform, RandomTransform) and seed is not None else None
        )
        self.class_ids = np.full(len(table), -1)
        if class_ids is not None:
            self.class_ids = np.array([class_ids.get(label, -1) for label in table.labels.tolist()], np.int64)
        # forked workers must not use the table's frame, whose threads do not exist there
        self._files = [os.fspath(table.folder / path) for path in table.frame["path"].to_list()]
        self._items, self._indices = table.items, []
        if table.items is not None:
            self._indices = table.frame["item"].to_list()
            if table.items.tensor_shape:
                self.random_transform = None
        boxed = "x1" in table.frame.columns
        self._boxes = [table.box(row) for row in range(len(table))] if boxed else None
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # visible to persistent workers
        self._memory_cache = MemoryCache(0 if seed is None else len(table), memory)

    def __len__(self) -> int:
        return len(self._files)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the random numbers, in running workers too."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Item | Unreadable:
        batch = self.__getitems__([index])
        if batch.skipped:
            return Unreadable(index, batch.skipped[0].path, batch.skipped[0].reason)
        return Item(batch.images[0], int(batch.class_ids[0]), index)

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        """A batch; a repeated row gets different random numbers."""
        self._memory_cache.commit()
        repeats_so_far: Counter[int] = Counter()
        repeats = []
        for row in rows:
            repeats.append(repeats_so_far[row])
            repeats_so_far[row] += 1
        return (
            self._batch_with_draws(rows, repeats)
            if self.random_transform
            else self._batch_with_calls(rows, repeats)
        )

    def _batch_with_draws(self, rows: Sequence[int], repeats: Sequence[int]) -> Batch:
        """A batch by a transform that receives its random numbers."""
        from lookalike.data.random_numbers import random_uniform

        transform: RandomTransform = self.random_transform  # type: ignore[assignment]
        numbers = random_uniform(self.seed or 0, int(self._epoch), rows, repeats, transform.count)
        pictures, good, skipped = [], [], []
        for index, row in enumerate(rows):
            try:
                pictures.append(
                    self._read_part(
                        row, lambda size, draws=numbers[index]: transform.transform_one(size, draws)
                    )
                )
                good.append(index)
            except ImageError as error:
                skipped.append(Problem(error.path, error.reason, row))
        images = transform.transform_many(pictures, numbers[good]) if good else None
        return self._batch(images, [rows[index] for index in good], skipped)

    def _batch_with_calls(self, rows: Sequence[int], repeats: Sequence[int]) -> Batch:
        """A batch by any other transform, called for each picture."""
        from lookalike.data.transforms import stack_images

        images, good, skipped = [], [], []
        with nullcontext() if self.seed is None else _preserve_random_state():
            for row, repeat in zip(rows, repeats, strict=True):
                if self.seed is not None and self._items is not None:
                    _seed(
                        self.seed, self._epoch.item(), row, repeat
                    )  # the source may use random numbers, too
                try:
                    image = self._image(row)
                except ImageError as error:
                    skipped.append(Problem(error.path, error.reason, row))
                    continue
                if self.seed is not None and self._items is None:
                    _seed(self.seed, self._epoch.item(), row, repeat)
                images.append(image if self._is_tensor_source else self.transform(image))
                good.append(row)
        return self._batch(stack_images(images) if images else None, good, skipped)

    def _batch(self, images: Tensor | None, rows: Sequence[int], skipped: list[Problem]) -> Batch:
        import torch

        if images is None:
            images = torch.empty((0, 3, 0, 0), dtype=torch.uint8)
        ids = torch.from_numpy(self.class_ids[np.array(rows, np.int64)])
        return Batch(images, ids, torch.tensor(rows, dtype=torch.int64), skipped)

    def _box(self, row: int) -> Box | None:
        return self._boxes[row] if self._boxes else None

    def _read_part(self, row: int, choose: Callable[[tuple[int, int]], tuple[Box | None, int]]) -> np.ndarray:
        """The region of an image that a transform needs, [h, w, 3]."""
        if self._items is not None:
            picture = self._items.picture(self._indices[row])
            return crop(np.array(picture), choose(picture.size)[0])
        whole = self._memory_cache.get(row)
        if whole is None and self.cache is not None:
            return self.cache.get(self._files[row], self._box(row), choose)
        if whole is not None:
            return crop(whole, choose((whole.shape[1], whole.shape[0]))[0])
        part: Box | None = None
        keep = True

        def choose_part(size: tuple[int, int]) -> tuple[Box | None, int | None]:
            nonlocal part, keep
            part, at_least = choose(size)
            keep = part is None or self._memory_cache.fits(*size)
            return (None, None) if part is not None and keep else (part, at_least)

        opened_pixels = open_pixels(self._files[row], choose_part, self._box(row))
        if not keep:
            return opened_pixels
        self._keep_in_memory(row, opened_pixels)
        return crop(opened_pixels, part)

    @property
    def _is_tensor_source(self) -> bool:
        return self._items is not None and self._items.tensor_shape is not None

    def _image(self, row: int) -> Any:
        """The image of a row as a PIL image, or a tensor if the source gives tensors."""
        if self._items is not None:
            source = self._items.tensor if self._items.tensor_shape else self._items.picture
            return source(self._indices[row])
        cached = self._memory_cache.get(row)
        if cached is None and self.cache is not None:
            cached = self.cache.get(self._files[row], self._box(row), lambda size: (None, None))
        if cached is not None:
            return Image.fromarray(cached)
        image = open_image(self._files[row], self._box(row), self.at_least)
        self._keep_in_memory(row, image)
        return image

    def _keep_in_memory(self, row: int, picture: np.ndarray | Image.Image) -> None:
        from torch.utils.data import get_worker_info

        width, height = picture.size if isinstance(picture, Image.Image) else picture.shape[1::-1]
        if self._memory_cache.fits(width, height):
            self._memory_cache.store(row, np.asarray(picture))
            if get_worker_info() is None:
                self._memory_cache.commit()


@contextmanager
def _preserve_random_state() -> Iterator[None]:
    """Restore torch's random state afterwards."""
    from torch import default_generator

    before = default_generator.get_state()
    try:
        yield
    finally:
        default_generator.set_state(before)


def _seed(*numbers: int | float) -> None:
    """Seed torch's generator from these numbers."""
    from torch import default_generator

    seed = np.random.SeedSequence([abs(int(number)) for number in numbers]).generate_state(1, np.uint64)
    default_generator.manual_seed(int(seed[0] >> np.uint64(1)))


def collate(items: Batch | Iterable[Item | Unreadable]) -> Batch:
    """A batch of the readable items, in order; the others are listed, and each item keeps its row."""
    import torch

    from lookalike.data.transforms import stack_images

    if isinstance(items, Batch):
        return items
    items = list(items)
    good = [item for item in items if isinstance(item, Item)]
    skipped = [Problem(item.path, item.reason, item.row) for item in items if isinstance(item, Unreadable)]
    images = [item.image for item in good]
    return Batch(
        stack_images(images) if images else torch.empty((0, 3, 0, 0), dtype=torch.uint8),
        torch.tensor([item.class_id for item in good], dtype=torch.int64),
        torch.tensor([item.row for item in good], dtype=torch.int64),
        skipped,
    )
