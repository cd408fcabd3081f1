"""Batch samplers: iterables of lists of row numbers, different in each epoch."""

import logging
from collections.abc import Iterator, Mapping

import numpy as np
from torch.utils.data import Sampler

from lookalike.data.class_sizes import choose_rows, images_per_epoch, noise, starts

log = logging.getLogger(__name__)


class Batches(Sampler[list[int]]):
    """Base of samplers: batches depend only on seed and epoch, and can be resumed at any point.

    Call `set_epoch` before each epoch; without it, the same batches are repeated.
    """

    def __init__(self, seed: int):
        self.seed, self.epoch, self._count = seed, 0, 0
        self._start = self._position = 0

    def __len__(self) -> int:
        return self._count

    def batches(self, epoch: int) -> list[np.ndarray]:
        """All batches of an epoch, as row numbers."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration, which starts at the beginning unless a state was loaded."""
        if epoch != self.epoch:
            self._start = self._position = 0
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        self._position, self._start = self._start, 0
        return self._skip_done(self.batches(self.epoch)[self._position :])

    def _skip_done(self, batches: list[np.ndarray]) -> Iterator[list[int]]:
        for batch in batches:
            self._position += 1
            yield batch.tolist()

    def state_dict(self, done: int | None = None) -> dict[str, int]:
        """The position in the epoch.

        Args:
            done: number of batches that the loop has finished. A DataLoader with workers prefetches, so the
                sampler itself only knows the batches that were requested.
        """
        position = self._position if done is None else done
        return {"epoch": self.epoch, "position": position, "batches": len(self), "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue the next iteration at the position of `state_dict`.

        Raises:
            ValueError: the state belongs to other images, batch sizes or another seed.
        """
        mine = {"batches": len(self), "seed": self.seed}
        other = {key: state[key] for key in mine}
        if other != mine:
            raise ValueError(
                f"the saved state has {other}, this sampler {mine}; they must be equal to resume"
            )
        self.epoch = state["epoch"]
        self._start = self._position = state["position"]


class Shuffle(Batches):
    """Each image once per epoch, in random batches whose sizes differ by at most one. For proxy losses.

    Args:
        labels: class id of each row, [N]; rows below 0 have no known class and are left out.
        batch_size: maximum batch size.
        undersample: maximum images per class and epoch, different ones in each epoch; None for all.
        oversample: minimum images per class and epoch, repeated if it has fewer.
        seed: of the order.

    Raises:
        ValueError: there is no image, or a number is invalid.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int = 64,
        undersample: int | None = None,
        oversample: int | None = None,
        seed: int = 0,
    ):
        super().__init__(seed)
        self.rows = np.flatnonzero(np.asarray(labels) >= 0)
        self.left_out = len(labels) - len(self.rows)
        if batch_size < 1 or not len(self.rows):
            raise ValueError(f"batch_size={batch_size}, {len(self.rows)} images; both must be above 0")
        self._limited = undersample is not None or oversample is not None
        _, self._owner, sizes = np.unique(
            np.asarray(labels)[self.rows], return_inverse=True, return_counts=True
        )
        self._images_per_class = images_per_epoch(sizes, undersample, oversample)
        self._count = -(-int(self._images_per_class.sum()) // batch_size)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """See `Batches.batches`."""
        rows = self.rows
        if self._limited:
            rows = choose_rows(rows, self._owner, self._images_per_class, self.seed, epoch)
        return np.array_split(np.random.default_rng([self.seed, epoch]).permutation(rows), self._count)


class PerClass(Batches):
    """Batches of P classes with K images each, so that every image has a positive.

    An epoch shuffles each class and divides it into chunks of K; a short last chunk is filled with images
    from the chunk before it, and a class of fewer than K images repeats them. The chunks are dealt into as
    many batches of P different classes as they fill, so an epoch uses each image about once. Chunks that do
    not fit are left for
    later epochs: up to P - 1 chunks, and the rest of a class with more chunks than there are batches.

    `undersample` and `oversample` change the number of chunks of a class: at most as many as fit into the
    former, at least as many as reach the latter, and always at least one. An undersampled class continues
    with its other images in the next epochs; an oversampled one is shuffled again for each pass.

    Args:
        labels: class id of each row, [N]; rows below 0 have no known class and are left out.
        classes_per_batch: P, or as many as there are.
        samples_per_class: K.
        lonely: include classes with a single image, repeated K times.
        undersample: maximum images per class and epoch; None for all.
        oversample: minimum images per class and epoch, as far as the number of batches allows.
        seed: of the order.

    Raises:
        ValueError: no class can be used, or a number is invalid.
    """

    def __init__(
        self,
        labels: np.ndarray,
        classes_per_batch: int = 24,
        samples_per_class: int = 4,
        lonely: bool = False,
        undersample: int | None = None,
        oversample: int | None = None,
        seed: int = 0,
    ):
        super().__init__(seed)
        if classes_per_batch < 1 or samples_per_class < 1:
            raise ValueError(
                f"classes_per_batch={classes_per_batch}, samples_per_class={samples_per_class}; "
                "both must be above 0"
            )
        self.classes_per_batch, self.samples_per_class = classes_per_batch, samples_per_class
        self.labels = np.asarray(labels, np.int64)
        self._choose_rows(lonely)
        self.chunks = -(-self.sizes // samples_per_class)
        self.chunks_per_class = self._count_chunks(undersample, oversample)
        self._count = _can_fill(self.chunks_per_class, self.classes_per_batch)
        self._dealt = np.minimum(self.chunks_per_class, self._count)

    def _choose_rows(self, lonely: bool) -> None:
        """Keep the rows of known classes with at least two images, class by class, and their `sizes`, [C]."""
        known_rows = np.flatnonzero(self.labels >= 0)
        _, inverse, counts = np.unique(self.labels[known_rows], return_inverse=True, return_counts=True)
        kept_rows = known_rows[(counts >= (1 if lonely else 2))[inverse]]
        self.left_out = len(self.labels) - len(kept_rows)
        _, owner, self.sizes = np.unique(self.labels[kept_rows], return_inverse=True, return_counts=True)
        self._grouped = kept_rows[np.argsort(owner, kind="stable")]
        if not len(self.sizes):
            raise ValueError(
                f"no class can be used: all {self.left_out} images are the only one of their class, or have "
                "an unknown class; use sampler=shuffle with a proxy loss"
            )
        if len(self.sizes) < self.classes_per_batch:
            log.warning(
                "sampler.classes_per_batch=%d is more than there are classes%s: batches show all %d",
                *(self.classes_per_batch, "" if lonely else " of two or more images", len(self.sizes)),
            )
            self.classes_per_batch = len(self.sizes)

    def _count_chunks(self, undersample: int | None, oversample: int | None) -> np.ndarray:
        """Number of chunks of each class per epoch, [C]."""
        images_per_epoch(self.sizes, undersample, oversample)
        images_per_chunk = self.samples_per_class
        max_chunks = None if undersample is None else max(1, undersample // images_per_chunk)
        fewest = None if oversample is None else -(-oversample // images_per_chunk)
        return images_per_epoch(
            self.chunks, max_chunks, min(fewest, max_chunks) if fewest and max_chunks else fewest
        )

    @property
    def num_waiting(self) -> int:
        """Chunks that an epoch leaves to later ones."""
        return int(self.chunks_per_class.sum()) - self._count * self.classes_per_batch

    def batches(self, epoch: int) -> list[np.ndarray]:
        """See `Batches.batches`."""
        waits = self._count_waiting(epoch + 1) - self._count_waiting(epoch)
        dealt = self._dealt - waits
        first = epoch * self._dealt - np.where(self._dealt != self.chunks, self._count_waiting(epoch), 0)
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(dealt))
        lengths = dealt[order]
        classes = np.repeat(order, lengths)
        turn = np.arange(len(classes)) - np.repeat(lengths.cumsum() - lengths, lengths)
        chunks = self._chunk_rows(classes, first[classes] + turn)
        return list(chunks[_deal(classes, len(self), rng).T].reshape(len(self), -1))

    def _count_waiting(self, epoch: int) -> np.ndarray:
        """How often each class was left out by one chunk before this epoch; classes take turns."""
        excess = int(self._dealt.sum()) - self._count * self.classes_per_batch
        turn = np.random.default_rng(self.seed).permutation(len(self._dealt))
        return (epoch * excess - turn - 1) // len(turn) + 1

    def _chunk_rows(self, classes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Rows of chunks, [T, K], by chunk index in the endless shuffled passes of each class."""
        passes, chunk = np.divmod(numbers, self.chunks[classes])
        span = int(passes.max()) + 1
        pairs, pair = np.unique(classes * span + passes, return_inverse=True)
        rows, begin = self._shuffle_rows(*np.divmod(pairs, span))
        size = self.sizes[classes][:, None]
        start = np.minimum(
            chunk[:, None] * self.samples_per_class, np.maximum(size - self.samples_per_class, 0)
        )
        return rows[begin[pair][:, None] + (start + np.arange(self.samples_per_class)) % size]

    def _shuffle_rows(self, classes: np.ndarray, passes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of these classes, each in the random order of its pass, and their start offsets."""
        sizes = self.sizes[classes]
        begin = starts(sizes)
        of = np.repeat(np.arange(len(classes)), sizes)
        rows = self._grouped[(starts(self.sizes)[classes] - begin)[of] + np.arange(len(of))]
        return rows[np.lexsort((noise(self.seed, passes[of], rows), of))], begin


def _can_fill(chunks: np.ndarray, classes_per_batch: int) -> int:
    """Maximum number of batches of P different classes that these chunks per class fill."""
    low, high = 1, int(chunks.sum()) // classes_per_batch
    while low < high:
        middle = (low + high + 1) // 2
        enough = np.minimum(chunks, middle).sum() >= classes_per_batch * middle
        low, high = (middle, high) if enough else (low, middle - 1)
    return low


def _deal(classes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Deal chunks into `count` batches so that no batch gets a class twice.

    The chunks, sorted by class, are laid out in P lines with one chunk per batch, and each line is shuffled.
    Only a
    class that continues from one line into the next can collide: its second part is assigned to batches
    without its first part, of which there are enough since no class has more chunks than there are batches.

    Args:
        classes: of each chunk, [P * count], grouped by class.
        count: number of batches.
        rng: random generator.

    Returns:
        indices of the chunks, [P, count]: one column per batch.
    """
    lines = np.arange(len(classes)).reshape(-1, count)
    dealt = np.empty_like(lines)
    is_taken, last = np.zeros(count, bool), None
    for line, numbers in zip(dealt, lines, strict=True):
        owners = classes[numbers]
        slots = rng.permutation(count)
        slots = slots[np.argsort(is_taken[slots], kind="stable")]
        rng.shuffle(slots[np.count_nonzero(owners == last) :])
        line[slots] = numbers
        last = owners[-1]
        is_taken[:] = False
        is_taken[slots[owners == last]] = True
    return dealt
