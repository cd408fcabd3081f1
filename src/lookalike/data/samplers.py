"""Which images form a batch. A sampler is an iterable of lists of row numbers, others in each epoch."""

import logging
from collections.abc import Iterator, Mapping

import numpy as np
from torch.utils.data import Sampler

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
        return self._rest(self.batches(self.epoch)[self._position :])

    def _rest(self, batches: list[np.ndarray]) -> Iterator[list[int]]:
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
        seed: of the order.
    """

    def __init__(self, labels: np.ndarray, batch_size: int = 64, seed: int = 0):
        super().__init__(seed)
        self.rows = np.flatnonzero(np.asarray(labels) >= 0)
        self.left_out = len(labels) - len(self.rows)
        if batch_size < 1 or not len(self.rows):
            raise ValueError(f"batch_size={batch_size}, {len(self.rows)} images; both must be above 0")
        self._count = -(-len(self.rows) // batch_size)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """See `Batches.batches`."""
        return np.array_split(np.random.default_rng([self.seed, epoch]).permutation(self.rows), self._count)


class PerClass(Batches):
    """Batches of P classes with K images of each, which give every image a partner.

    An epoch shuffles each class and cuts it into chunks of K; a last, short chunk also takes images from
    the chunk before it, and a class of fewer than K images repeats them. The chunks are dealt into as many
    batches of P different classes as they fill, so an epoch shows each image about once. What cannot be
    dealt waits: up to P - 1 chunks, of other classes in the next epoch, and the rest of a class with more
    chunks than there are batches, which the next epochs go on with.

    Args:
        labels: class id of each row, [N]; rows below 0 have no known class and are left out.
        classes_per_batch: P, or as many as there are.
        samples_per_class: K.
        lonely: also show classes of a single image, K times over; by itself it has no partner to learn from.
        seed: of the order.

    Raises:
        ValueError: if no class can be shown.
    """

    def __init__(
        self,
        labels: np.ndarray,
        classes_per_batch: int = 24,
        samples_per_class: int = 4,
        lonely: bool = False,
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
        self._count = _fillable(self.chunks, classes_per_batch)
        self._dealt = np.minimum(self.chunks, self._count)

    def _choose_rows(self, lonely: bool) -> None:
        """Keep the rows of known classes with partners: `rows` [N], their class `owner` [N], `sizes` [C]."""
        known = np.flatnonzero(self.labels >= 0)
        _, inverse, counts = np.unique(self.labels[known], return_inverse=True, return_counts=True)
        kept = known[(counts >= (1 if lonely else 2))[inverse]]
        self.left_out = len(self.labels) - len(kept)
        _, self.owner, self.sizes = np.unique(self.labels[kept], return_inverse=True, return_counts=True)
        self.rows = kept
        if not len(self.sizes):
            raise ValueError(
                f"no class can be shown: all {self.left_out} images are alone in their class, or of "
                "an unknown one; a loss with proxies and sampler=shuffle can learn from such"
            )
        if len(self.sizes) < self.classes_per_batch:
            log.warning("classes_per_batch: %d, all that can be shown", len(self.sizes))
            self.classes_per_batch = len(self.sizes)

    @property
    def waiting(self) -> int:
        """Chunks that an epoch leaves to the next ones."""
        return int(self.chunks.sum()) - self._count * self.classes_per_batch

    def batches(self, epoch: int) -> list[np.ndarray]:
        """See `Batches.batches`."""
        waits = self._waits(epoch + 1) - self._waits(epoch)
        dealt = self._dealt - waits
        first = epoch * self._dealt - np.where(self._dealt < self.chunks, self._waits(epoch), 0)
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(dealt))
        lengths = dealt[order]
        classes = np.repeat(order, lengths)
        turn = np.arange(len(classes)) - np.repeat(lengths.cumsum() - lengths, lengths)
        chunks = self._chunk_rows(classes, first[classes] + turn)
        return list(chunks[_deal(classes, len(self), rng).T].reshape(len(self), -1))

    def _waits(self, epoch: int) -> np.ndarray:
        """How often each class has shown one chunk less before this epoch. Classes take turns at it."""
        excess = int(self._dealt.sum()) - self._count * self.classes_per_batch
        turn = np.random.default_rng(self.seed).permutation(len(self._dealt))
        return (epoch * excess - turn - 1) // len(turn) + 1

    def _chunk_rows(self, classes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Rows of chunks, [T, K]: each the chunk of this number in its class's endless shuffled passes."""
        passes, place = np.divmod(numbers, self.chunks[classes])
        size = self.sizes[classes][:, None]
        start = np.minimum(
            place[:, None] * self.samples_per_class, np.maximum(size - self.samples_per_class, 0)
        )
        within = (start + np.arange(self.samples_per_class)) % size
        where = (self.sizes.cumsum() - self.sizes)[classes][:, None] + within
        latest = np.zeros_like(self.sizes)
        np.maximum.at(latest, classes, passes)
        rows = self._shuffled_rows(latest)[where]
        before = passes < latest[classes]  # a class may end one pass and begin the next in one epoch
        if before.any():
            rows[before] = self._shuffled_rows(latest - 1)[where[before]]
        return rows

    def _shuffled_rows(self, passes: np.ndarray) -> np.ndarray:
        """All rows, grouped by class, each class in the random order of its pass."""
        keys = _noise(self.seed, passes[self.owner], self.rows)
        return self.rows[np.lexsort((keys, self.owner))]


def _fillable(chunks: np.ndarray, classes_per_batch: int) -> int:
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
    taken, last = np.zeros(count, bool), None
    for line, numbers in zip(dealt, lines, strict=True):
        owners = classes[numbers]
        places = rng.permutation(count)
        places = places[np.argsort(taken[places], kind="stable")]
        rng.shuffle(places[np.count_nonzero(owners == last) :])
        line[places] = numbers
        last = owners[-1]
        taken[:] = False
        taken[places[owners == last]] = True
    return dealt


def _noise(seed: int, passes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A random-looking number for each row, from seed, pass and row alone (mixing as in splitmix64)."""
    mixed = np.full(len(rows), seed, np.uint64)
    for part in (passes, rows):
        mixed = (mixed ^ part.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed
