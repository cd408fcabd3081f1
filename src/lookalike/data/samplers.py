"""Which images form a batch. A sampler is an iterable of lists of row numbers, others in each epoch."""

import logging
from collections.abc import Iterator, Mapping

import numpy as np
from torch.utils.data import Sampler

from lookalike.data.class_sizes import choose_rows, images_per_epoch, noise, starts

log = logging.getLogger(__name__)


class Batches(Sampler[list[int]]):
    """What samplers share: an epoch's batches follow from seed and epoch alone, and can be resumed anywhere.

    Call `set_epoch` before each epoch; without it, the same batches come again.
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
        """Choose the epoch that the next iteration goes through, from its start unless it was just loaded."""
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
        """Where the epoch stands.

        Args:
            done: batches the loop has finished. A DataLoader with workers fetches ahead of the loop, and by
                itself the sampler knows only what it handed out.
        """
        position = self._position if done is None else done
        return {"epoch": self.epoch, "position": position, "batches": len(self), "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration go on where `state_dict` was taken.

        Raises:
            ValueError: the state is that of other images, batch sizes or another seed.
        """
        mine = {"batches": len(self), "seed": self.seed}
        other = {key: state[key] for key in mine}
        if other != mine:
            raise ValueError(f"the state to resume has {other}, this sampler {mine}; nothing may change")
        self.epoch = state["epoch"]
        self._start = self._position = state["position"]


class Shuffle(Batches):
    """Each image once an epoch, in random batches whose sizes differ by one at most. For proxy losses.

    Args:
        labels: class id of each row, [N]; rows below 0 have no known class and are left out.
        batch_size: images in a batch, at most.
        undersample: images that a class shows in an epoch at most, others in each epoch; None for all.
        oversample: images that it shows at least, repeated where it has fewer.
        seed: of the order.

    Raises:
        ValueError: there is no image, or a number cannot be.
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
    """Batches of P classes with K images of each, which give every image a partner.

    An epoch shuffles each class and cuts it into chunks of K; a last, short chunk also takes images from
    the chunk before it, and a class of fewer than K images repeats them. The chunks are dealt into as many
    batches of P different classes as they fill, so an epoch shows each image about once. What cannot be
    dealt waits: up to P - 1 chunks, of other classes in the next epoch, and the rest of a class with more
    chunks than there are batches, which the next epochs go on with.

    `undersample` and `oversample` change how many chunks a class gets: at most as many as fit into the one
    number of images, at least as many as hold the other, and always one. A limited class goes on with its
    other images in the next epochs; a repeated one is shuffled anew for each pass through it.

    Args:
        labels: class id of each row, [N]; rows below 0 have no known class and are left out.
        classes_per_batch: P, or as many as there are.
        samples_per_class: K.
        lonely: also show classes of a single image, K times over; by itself it has no partner to learn from.
        undersample: images that a class shows in an epoch at most; None for all.
        oversample: images that it shows at least, as far as there are batches to show them in.
        seed: of the order.

    Raises:
        ValueError: if no class can be shown, or a number cannot be.
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
        """Keep the rows of known classes with partners, class by class, and the `sizes` of these, [C]."""
        known_rows = np.flatnonzero(self.labels >= 0)
        _, inverse, counts = np.unique(self.labels[known_rows], return_inverse=True, return_counts=True)
        kept_rows = known_rows[(counts >= (1 if lonely else 2))[inverse]]
        self.left_out = len(self.labels) - len(kept_rows)
        _, owner, self.sizes = np.unique(self.labels[kept_rows], return_inverse=True, return_counts=True)
        self._grouped = kept_rows[np.argsort(owner, kind="stable")]
        if not len(self.sizes):
            raise ValueError(
                f"no class can be shown: all {self.left_out} images are alone in their class, or of "
                "an unknown one; a loss with proxies and sampler=shuffle can learn from such"
            )
        if len(self.sizes) < self.classes_per_batch:
            log.warning(
                "sampler.classes_per_batch=%d is more than there are classes%s: batches show all %d",
                *(self.classes_per_batch, "" if lonely else " of two or more images", len(self.sizes)),
            )
            self.classes_per_batch = len(self.sizes)

    def _count_chunks(self, undersample: int | None, oversample: int | None) -> np.ndarray:
        """Chunks that each class is to show in an epoch, [C]."""
        images_per_epoch(self.sizes, undersample, oversample)
        images_per_chunk = self.samples_per_class
        max_chunks = None if undersample is None else max(1, undersample // images_per_chunk)
        fewest = None if oversample is None else -(-oversample // images_per_chunk)
        return images_per_epoch(
            self.chunks, max_chunks, min(fewest, max_chunks) if fewest and max_chunks else fewest
        )

    @property
    def num_waiting(self) -> int:
        """Chunks that an epoch leaves to the next ones."""
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
        """How often each class has shown one chunk less before this epoch. Classes take turns at it."""
        excess = int(self._dealt.sum()) - self._count * self.classes_per_batch
        turn = np.random.default_rng(self.seed).permutation(len(self._dealt))
        return (epoch * excess - turn - 1) // len(turn) + 1

    def _chunk_rows(self, classes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Rows of chunks, [T, K]: each the chunk of this number in its class's endless shuffled passes."""
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
        """Rows of these classes, each in the random order of its pass, and where each begins."""
        sizes = self.sizes[classes]
        begin = starts(sizes)
        of = np.repeat(np.arange(len(classes)), sizes)
        rows = self._grouped[(starts(self.sizes)[classes] - begin)[of] + np.arange(len(of))]
        return rows[np.lexsort((noise(self.seed, passes[of], rows), of))], begin


def _can_fill(chunks: np.ndarray, classes_per_batch: int) -> int:
    """How many batches of P different classes these numbers of chunks a class fill, at most."""
    low, high = 1, int(chunks.sum()) // classes_per_batch
    while low < high:
        middle = (low + high + 1) // 2
        enough = np.minimum(chunks, middle).sum() >= classes_per_batch * middle
        low, high = (middle, high) if enough else (low, middle - 1)
    return low


def _deal(classes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Deal chunks into `count` batches so that no batch gets a class twice.

    The chunks, sorted by class, are laid out in P lines, each as long as there are batches, and each line is
    shuffled. Only a class that runs from one line into the next can meet itself: its second part is given to
    batches that its first part left free, enough since no class has more chunks than there are batches.

    Args:
        classes: of each chunk, [P * count], those of a class next to each other.
        count: number of batches.
        rng: what shuffles.

    Returns:
        the numbers of the chunks, [P, count]: a column for each batch.
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
