"""Batches of triplets whose negatives are looked for among all training images."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lookalike.data.class_sizes import starts
from lookalike.data.samplers import Batches
from lookalike.errors import LookalikeError
from lookalike.ranking.exact import ExactSearch

log = logging.getLogger(__name__)
BLOCK = 1 << 22
"""Numbers of candidate vectors that are held at once."""

Embed = Callable[[np.ndarray], Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]]
"""Rows [M] -> pieces of (rows asked for, whether each could be read, vectors of those that could)."""


class HardNegatives(Batches):
    """Batches of triplets: an image, another one of its class, and one of another class that looks like it.

    Negatives are random at first, and hard once training is on its way: then the negative is the nearest to
    the anchor among a few random images of other classes, or among all of them, by a bank that holds the
    model's embedding of every image. The bank is filled when hard negatives begin. After each epoch the
    images that the epoch showed are embedded again, and every few epochs all are (offline mining, Schroff et
    al., 2015, section 3.2, arXiv:1503.03832; candidates and refreshing as conv-facenet does it).

    Each image of a class with two images or more is an anchor once in a pass, in random order, and passes
    follow each other without regard to epochs. What an epoch shows follows from seed, epoch and bank. An
    image that the bank has no vector of, because it cannot be read, is in no triplet.

    A batch lies as anchor, positive, negative, anchor, … and may hold an image twice.

    Args:
        labels: class id of each row, [N]; rows below 0 have no known class and are left out.
        triplets_per_batch: a batch has three times as many images.
        triplets_per_epoch: in whole batches; None for each possible anchor once.
        candidates: random images of other classes to choose a negative from; None for all there are.
        hard_below: hard negatives begin when training loss and validation loss are at most this share of
            what they were after the first epoch; None for never.
        hard_from: they begin with this epoch at the latest, counted from 1; None for whenever losses say.
        refresh_every: epochs until all embeddings are renewed.
        seed: of anchors, positives, and candidates.

    Raises:
        ValueError: there is no pair or no negative, or a number cannot be.
    """

    def __init__(
        self,
        labels: np.ndarray,
        triplets_per_batch: int = 32,
        triplets_per_epoch: int | None = None,
        candidates: int | None = 100,
        hard_below: float | None = 0.5,
        hard_from: int | None = None,
        refresh_every: int = 5,
        seed: int = 0,
    ):
        super().__init__(seed)
        _refuse_below_one(triplets_per_batch, triplets_per_epoch, candidates, refresh_every)
        if hard_below is None and hard_from is None:
            raise ValueError(
                "hard_below=null and hard_from=null: negatives would never be hard; give one of them"
            )
        self.labels = np.asarray(labels, np.int64)
        self.candidates, self.refresh_every = candidates, refresh_every
        self.hard_below, self.hard_from = hard_below, hard_from
        self.readable = self.labels >= 0
        self.bank: Tensor | None = None
        self.device = torch.device("cpu")
        self._first: dict[str, float] = {}
        self._made_batches: tuple[int, list[np.ndarray]] | None = None
        anchors = len(TripletPool(self.labels, self.readable).anchors)
        num_triplets = triplets_per_epoch or anchors
        self.triplets_per_batch = min(triplets_per_batch, num_triplets)
        self._count = num_triplets // self.triplets_per_batch

    @property
    def uses_hard_negatives(self) -> bool:
        """Whether negatives are hard by now."""
        return self.bank is not None

    def batches(self, epoch: int) -> list[np.ndarray]:
        """See `Batches.batches`."""
        if self._made_batches is None or self._made_batches[0] != epoch:
            self._made_batches = (epoch, list(self._build_triplets(epoch).reshape(len(self), -1)))
        return self._made_batches[1]

    def end_epoch(self, epoch: int, losses: Mapping[str, float], embed: Embed) -> bool:
        """Decide whether the next epoch's negatives are hard, and embed again what is due for it.

        Args:
            epoch: the one that ended; the one before the first, to begin.
            losses: `loss`, and `val_loss` if there is one; none before the first epoch, when a bank that is
                already there stays.
            embed: what the model makes of images now.

        Returns:
            Whether hard negatives begin.

        Raises:
            LookalikeError: too few images can be read.
        """
        begins = not self.uses_hard_negatives and self._hard_negatives_begin(epoch, losses)
        if begins or (self.uses_hard_negatives and losses and epoch % self.refresh_every == 0):
            self._refresh(np.flatnonzero(self.labels >= 0), embed)
        elif self.uses_hard_negatives and losses:
            self._refresh(np.unique(np.concatenate(self.batches(epoch))), embed)
        self._made_batches = None
        return begins

    def bank_state(self) -> dict[str, Any]:
        """What earlier epochs left, as tensors and plain values."""
        return {"bank": self.bank, "readable": torch.from_numpy(self.readable), "first": self._first}

    def load_bank_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.bank, self.readable = state["bank"], state["readable"].numpy().copy()
        self._first, self._made_batches = dict(state["first"]), None

    def _hard_negatives_begin(self, epoch: int, losses: Mapping[str, float]) -> bool:
        if self.hard_from is not None and epoch + 1 >= self.hard_from:
            return True
        if self.hard_below is None or not losses:
            return False
        recorded = {name: losses[name] for name in ("loss", "val_loss") if name in losses}
        if not self._first:
            self._first = recorded
            if "val_loss" not in recorded:
                log.info("no validation loss: the training loss alone says when negatives become hard")
        return all(
            recorded.get(name, np.inf) <= self.hard_below * value for name, value in self._first.items()
        )

    def _refresh(self, rows: np.ndarray, embed: Embed) -> None:
        """Put what `embed` makes of these rows into the bank."""
        for part_rows, read, vectors in embed(rows):
            if self.bank is None:
                self.bank = torch.zeros(len(self.labels), vectors.shape[1])
            self.readable[part_rows] = read
            self.bank[torch.from_numpy(part_rows[read])] = torch.from_numpy(vectors)
        try:
            TripletPool(self.labels, self.readable)
        except ValueError as error:
            raise LookalikeError(f"hard negatives, of the images that could be read: {error}") from error

    def _build_triplets(self, epoch: int) -> np.ndarray:
        """Anchor, positive and negative of an epoch, [T, 3]."""
        pool = TripletPool(self.labels, self.readable)
        count = len(self) * self.triplets_per_batch
        anchors = self._choose_anchors(pool, epoch * count, count)
        rng = np.random.default_rng([self.seed, epoch, 0])
        columns = [anchors, pool.sample_positives(anchors, rng)]
        if self.bank is None:
            columns.append(pool.sample_negatives(anchors, 1, rng)[:, 0])
        elif self.candidates is None:
            columns.append(self._nearest_of_all(self.bank, pool, anchors))
        else:
            columns.append(self._nearest_of_sample(self.bank, pool, anchors, self.candidates, rng))
        return pool.rows[np.stack(columns, axis=1)]

    def _choose_anchors(self, pool: "TripletPool", first: int, count: int) -> np.ndarray:
        """Places of anchors `first` to `first + count` in the endless shuffled passes."""
        passes, position = np.divmod(np.arange(first, first + count), len(pool.anchors))
        anchors = np.empty(count, np.int64)
        for number in np.unique(passes).tolist():
            order = np.random.default_rng([self.seed, number, 1]).permutation(pool.anchors)
            anchors[passes == number] = order[position[passes == number]]
        return anchors

    def _nearest_of_sample(
        self,
        bank: Tensor,
        pool: "TripletPool",
        anchors: np.ndarray,
        candidates: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """For each anchor the nearest of so many random images of other classes, as places."""
        bank, nearest = bank.to(self.device), []
        size = max(1, BLOCK // (candidates * bank.shape[1]))
        for start in range(0, len(anchors), size):
            block = anchors[start : start + size]
            others = pool.sample_negatives(block, candidates, rng)
            queries = bank[torch.from_numpy(pool.rows[block]).to(self.device)]
            vectors = bank[torch.from_numpy(pool.rows[others]).to(self.device)]
            sim = torch.einsum("td,tcd->tc", queries, vectors)
            nearest.append(others[np.arange(len(block)), sim.argmax(dim=1).cpu().numpy()])
        return np.concatenate(nearest)

    def _nearest_of_all(self, bank: Tensor, pool: "TripletPool", anchors: np.ndarray) -> np.ndarray:
        """For each anchor the nearest image of another class, as places."""
        vectors = bank.numpy()
        row_position = np.full(len(self.labels), -1)
        row_position[pool.rows] = np.arange(len(pool.rows))
        nearest = np.empty(len(anchors), np.int64)
        for start, sim in ExactSearch(vectors, self.device).scores(vectors[pool.rows[anchors]]):
            own_labels = self.labels[pool.rows[anchors[start : start + len(sim)]]]
            sim[own_labels[:, None] == self.labels] = -np.inf
            sim[:, row_position < 0] = -np.inf
            nearest[start : start + len(sim)] = row_position[sim.argmax(axis=1)]
        return nearest


class TripletPool:
    """The images that triplets are made of, class by class; a place is a number in this order.

    Args:
        labels: class of each row, [N].
        readable: which rows may be taken, [N].

    Attributes:
        rows: the row at each place.
        anchors: places with another image of their class.

    Raises:
        ValueError: no class has two such rows, or there is a single class.
    """

    def __init__(self, labels: np.ndarray, readable: np.ndarray):
        rows = np.flatnonzero(readable)
        _, owner, sizes = np.unique(labels[rows], return_inverse=True, return_counts=True)
        self.rows = rows[np.argsort(owner, kind="stable")]
        self.size = np.repeat(sizes, sizes)
        self.begin = np.repeat(starts(sizes), sizes)
        self.anchors = np.flatnonzero(self.size > 1)
        if not len(self.anchors):
            raise ValueError("no class has two images, so there is no pair to make a triplet of")
        if len(sizes) < 2:
            raise ValueError("there is a single class, so nothing can be a negative")

    def sample_positives(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random other image of each anchor's class, [T]."""
        begin, size = self.begin[anchors], self.size[anchors]
        return begin + (anchors - begin + rng.integers(1, size)) % size

    def sample_negatives(self, anchors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Random images of other classes, [T, count], an image perhaps more than once."""
        begin, size = self.begin[anchors][:, None], self.size[anchors][:, None]
        sampled = rng.integers(0, len(self.rows) - size, (len(anchors), count))
        return np.where(sampled >= begin, sampled + size, sampled)


def _refuse_below_one(*numbers: int | None) -> None:
    names = ("triplets_per_batch", "triplets_per_epoch", "candidates", "refresh_every")
    for name, number in zip(names, numbers, strict=True):
        if number is not None and number < 1:
            raise ValueError(f"{name}={number}: at least 1")
