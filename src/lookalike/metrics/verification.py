"""Verification: are two images of the same identity? Measured over pairs, counted by similarity."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, Self

import numpy as np
import torch

EXACT_PAIRS = 1 << 22
"""Up to so many pairs all similarities are kept; beyond, they are counted in cells of width `STEP`."""

CELLS = 1 << 20
STEP = 1.0 / CELLS
"""Width of a cell: 9.5e-7, some roundings of a 32-bit product; the usual range of counts fits in a cache."""

MOST_COUNTS = (1 << 31) - 1


@dataclass(frozen=True)
class Pairs:
    """How many positive (same identity) and negative pairs have each similarity.

    Attributes:
        values: similarities, ascending, [V]; with `step`, the lower edge of each cell.
        positive: int64 [V].
        negative: int64 [V].
        step: width of a cell; 0 where `values` are the similarities themselves.
    """

    values: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    step: float = 0.0

    @classmethod
    def of(cls, positive: Any, negative: Any) -> Self:
        """From the similarities of positive and of negative pairs.

        Raises:
            ValueError: a similarity is not finite.
        """
        positive, negative = np.ravel(positive), np.ravel(negative)
        values, codes = np.unique(np.concatenate([positive, negative]), return_inverse=True)
        if not np.isfinite(values).all():
            raise ValueError("pairs: a similarity is NaN or infinite")
        split = len(positive)
        of_positive = np.bincount(codes[:split], minlength=len(values))
        return cls(values, of_positive, np.bincount(codes[split:], minlength=len(values)))

    @property
    def positives(self) -> int:
        """Number of positive pairs."""
        return int(self.positive.sum())

    @property
    def negatives(self) -> int:
        """Number of negative pairs."""
        return int(self.negative.sum())

    @property
    def resolution(self) -> float:
        """The finest false accept rate that the negative pairs can show: 1 / their number."""
        return 1 / self.negatives if self.negatives else float("inf")

    @property
    def centres(self) -> np.ndarray:
        """The similarities, float64; the middle of each cell where they were counted in cells."""
        return np.minimum(self.values.astype(np.float64) + self.step / 2, np.maximum(self.values, 1.0))


@dataclass(frozen=True)
class OperatingPoint:
    """What deciding "same identity" at `similarity >= threshold` gives on the pairs it was chosen on.

    Attributes:
        threshold: cosine similarity.
        far: share of negative pairs accepted.
        tar: share of positive pairs accepted.
        accuracy: share of all pairs decided rightly.
        balanced_accuracy: mean of `tar` and 1 − `far`: the accuracy on as many positive as negative pairs.
    """

    threshold: float
    far: float
    tar: float
    accuracy: float
    balanced_accuracy: float


def tar_at_far(pairs: Pairs, far: float, coarse: bool = False) -> OperatingPoint:
    """True accept rate at the similarity threshold whose false accept rate is at most `far`.

    The threshold is the smallest one that accepts no more than `far` of the negative pairs, ties included, so
    the promise holds on these pairs exactly. Source: Schroff et al. 2015 (arXiv 1503.03832), section 4.

    Args:
        pairs: at least one positive and one negative.
        far: allowed share of negative pairs accepted, in [0, 1).
        coarse: allow a `far` below the resolution; no negative pair is accepted then.

    Raises:
        ValueError: pairs of one kind only; `far` out of range, or below 1 / negatives and not `coarse`.
    """
    _need_both(pairs)
    if not 0 <= far < 1:
        raise ValueError(f"far={far}: a false accept rate is at least 0 and less than 1")
    allowed = int(Fraction(repr(float(far))) * pairs.negatives)
    if allowed < 1 and not coarse:
        raise ValueError(
            f"far={far:g}: {pairs.negatives} negative pairs show no rate below {pairs.resolution:.3g}; "
            "evaluate more images, ask for a higher far, or allow a coarse one (coarse_far)"
        )
    first = int(np.searchsorted(-_accepted(pairs.negative), -allowed))  # the first value that may be accepted
    refused = pairs.values[first - 1]
    threshold = refused + pairs.step if pairs.step else np.nextafter(refused, refused.dtype.type(2))
    accepted_negatives = int(pairs.negative[first:].sum())
    accepted_positives = int(pairs.positive[first:].sum())
    right = accepted_positives + pairs.negatives - accepted_negatives
    tar, found_far = accepted_positives / pairs.positives, accepted_negatives / pairs.negatives
    accuracy = right / (pairs.positives + pairs.negatives)
    return OperatingPoint(float(threshold), found_far, tar, accuracy, (tar + 1 - found_far) / 2)


def auc(pairs: Pairs) -> float:
    """Area under the ROC curve: how often a positive pair beats a negative one; ties count half.

    Source: Hanley and McNeil 1982.
    """
    _need_both(pairs)
    below = np.cumsum(pairs.negative) - pairs.negative
    wins = pairs.positive.astype(np.float64) @ (below + pairs.negative / 2)
    return float(wins / pairs.positives / pairs.negatives)


def distances(pairs: Pairs) -> dict[str, float]:
    """Mean and standard deviation of the cosine distance (1 − s) and the Euclidean distance √(2 − 2s)."""
    cosine = 1 - pairs.centres
    euclidean = np.sqrt(np.maximum(2 * cosine, 0))
    found: dict[str, float] = {}
    for kind, counts in (("positive", pairs.positive), ("negative", pairs.negative)):
        for name, values in (("cosine", cosine), ("euclidean", euclidean)):
            if counts.any():
                mean = np.average(values, weights=counts)
                found[f"{kind}_{name}_mean"] = float(mean)
                found[f"{kind}_{name}_std"] = float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))
    return found


def histogram(pairs: Pairs, bins: int = 100) -> dict[str, list[float] | list[int]]:
    """Counts of positive and negative pairs in `bins` bins from the least to the greatest similarity."""
    centres = pairs.centres
    edges = np.histogram_bin_edges(centres, bins=bins)
    positive, negative = (
        np.histogram(centres, edges, weights=counts)[0].astype(np.int64)
        for counts in (pairs.positive, pairs.negative)
    )
    return {"edges": edges.tolist(), "positive": positive.tolist(), "negative": negative.tolist()}


class PairCounter:
    """Counts pairs as they come, in memory that does not grow with their number.

    Args:
        expected: how many pairs will come; beyond `EXACT_PAIRS` similarities are counted in cells.
    """

    def __init__(self, expected: int):
        self.exact = expected <= EXACT_PAIRS
        self._kept: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        if not self.exact:
            self._all, self._positive = _Cells(), _Cells()

    def add(self, similarities: np.ndarray, positive: np.ndarray) -> None:
        """Count pairs.

        Args:
            similarities: float32 [P], in −1…1.
            positive: which of them are positive pairs, as places in `similarities`.
        """
        if self.exact:
            self._kept[0].append(similarities[positive])
            self._kept[1].append(np.delete(similarities, positive))
            return
        self._all.add(similarities)
        self._positive.add(similarities[positive])

    @staticmethod
    def total(counters: Iterable["PairCounter"]) -> Pairs:
        """The counts of several counters together; they were made for the same `expected`."""
        counters = list(counters)
        if counters[0].exact:
            kinds = zip(*(counter._kept for counter in counters), strict=True)
            return Pairs.of(*(np.concatenate([*chain(*kind)]) for kind in kinds))
        every = np.sum([counter._all.total() for counter in counters], axis=0)
        positive = np.sum([counter._positive.total() for counter in counters], axis=0)
        cells = np.flatnonzero(every)
        return Pairs(cells * STEP - 1, positive[cells], (every - positive)[cells], STEP)


class _Cells:
    """How many similarities fell into each cell: in 32 bits, emptied into 64 before they could overflow."""

    def __init__(self) -> None:
        self._emptied = np.zeros(2 * CELLS + 1, np.int64)
        self._counts = torch.zeros(2 * CELLS + 1, dtype=torch.int32)
        self._one = torch.ones(1, dtype=torch.int32)
        self._since = 0

    def add(self, similarities: np.ndarray) -> None:
        """Count them; the cell of each is rounded down, every step of it exact in float32."""
        if self._since + len(similarities) > MOST_COUNTS:
            self.total()
        self._since += len(similarities)
        scaled = similarities * np.float32(CELLS)
        cells = torch.from_numpy(np.floor(scaled, out=scaled).astype(np.int64)).add_(CELLS)
        self._counts.scatter_add_(0, cells, self._one.expand(len(cells)))

    def total(self) -> np.ndarray:
        """The counts so far."""
        self._emptied += self._counts.numpy()
        self._counts.zero_()
        self._since = 0
        return self._emptied


def _accepted(counts: np.ndarray) -> np.ndarray:
    """How many pairs are accepted when the threshold stands at each value, and above all, [V + 1]."""
    return np.append(np.cumsum(counts[::-1])[::-1], 0)


def _need_both(pairs: Pairs) -> None:
    if not pairs.positives or not pairs.negatives:
        raise ValueError(
            f"pairs: {pairs.positives} positive and {pairs.negatives} negative; verification needs both kinds"
        )
