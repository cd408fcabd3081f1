"""Verification: are two images of the same identity? Measured over pairs, counted by similarity."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, Self

import numpy as np
from scipy.interpolate import PchipInterpolator

FINE = 2.0**-24
"""Width of a cell in which pairs are counted exactly: 6e-8, the step of a 32-bit number just below 1."""

PARTS = 16
"""A wide cell is cut into so many parts to see how pairs are spread in it."""


@dataclass(frozen=True)
class Pairs:
    """How many positive (same identity) and negative pairs have each similarity.

    Attributes:
        values: similarities, ascending, [V]; with `step`, the lower edge of each cell.
        positive: int64 [V].
        negative: int64 [V].
        step: width of each cell, [V]; 0 where `values` are the similarities themselves. Counts of cells wider
            than `FINE` may include pairs of their neighbours; all sums from a finer cell on are exact.
        stored_scores: similarities of all positive pairs, ascending, where cells are wide and they are known.
    """

    values: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    step: np.ndarray
    stored_scores: np.ndarray | None = None

    @classmethod
    def from_scores(cls, positive: Any, negative: Any) -> Self:
        """From the similarities of positive and of negative pairs.

        Raises:
            ValueError: a similarity is not finite.
        """
        positive = np.ravel(positive)
        every = np.sort(np.concatenate([positive, np.ravel(negative)]))
        if len(every) and not np.isfinite(every[[0, -1]]).all():
            raise ValueError("pairs: a similarity is NaN or infinite")
        first = np.flatnonzero(np.append(True, every[1:] != every[:-1])[: len(every)])
        values, counts = every[first], np.diff(first, append=len(every))
        of_positive = np.bincount(np.searchsorted(values, positive), minlength=len(values))
        return cls(values, of_positive, counts - of_positive, np.zeros(len(values)))

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
    def exact(self) -> bool:
        """Whether all similarities are known as they are."""
        return not self.step.any()

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
    if int(_rate_of(far) * pairs.negatives) < 1 and not coarse:
        raise ValueError(
            f"far={far:g}: {pairs.negatives} negative pairs show no rate below {pairs.resolution:.3g}; "
            "evaluate more images, ask for a higher far, or allow a coarse one (coarse_far)"
        )
    refused = deciding_scores(pairs, far)
    first, value, step = refused + 1, pairs.values[refused], pairs.step[refused]
    if step > FINE:
        raise ValueError(f"far={far:g}: pairs were not counted for this rate; name it when they are compared")
    threshold = value + step if step else np.nextafter(value, value.dtype.type(2))
    accepted_negatives = int(pairs.negative[first:].sum())
    accepted_positives = int(pairs.positive[first:].sum())
    right = accepted_positives + pairs.negatives - accepted_negatives
    tar, found_far = accepted_positives / pairs.positives, accepted_negatives / pairs.negatives
    accuracy = right / (pairs.positives + pairs.negatives)
    return OperatingPoint(float(threshold), found_far, tar, accuracy, (tar + 1 - found_far) / 2)


def deciding_scores(pairs: Pairs, far: float) -> int:
    """Where in `values` the greatest similarity stands that must be refused to keep a false accept rate."""
    allowed = int(_rate_of(far) * pairs.negatives)
    return int(np.searchsorted(-_accepted_counts(pairs.negative), -allowed)) - 1


def auc(pairs: Pairs) -> float:
    """Area under the ROC curve: how often a positive pair beats a negative one; ties count half.

    In wide cells, the similarities of negative pairs are taken to be spread smoothly beside those of positive
    pairs, or both to be spread smoothly where both are in cells. Source: Hanley and McNeil 1982.
    """
    _need_both(pairs)
    if pairs.stored_scores is not None:
        before, after = _false_accepts(pairs, pairs.stored_scores)
        return float(np.mean(1 - (before + after) / 2))
    below = np.cumsum(pairs.negative) - pairs.negative
    wide = pairs.step > FINE
    beaten = np.where(wide, _negatives_beaten(pairs), below + pairs.negative / 2)
    return float(pairs.positive @ beaten / pairs.positives / pairs.negatives)


def _negatives_beaten(pairs: Pairs) -> np.ndarray:
    """How many negative pairs a positive one of each cell beats, both being spread smoothly, [V]."""
    if pairs.exact:
        return np.zeros(len(pairs.values))
    curves = [
        PchipInterpolator(*_cumulative_counts(pairs, counts)) for counts in (pairs.negative, pairs.positive)
    ]
    inside = pairs.values[:, None] + pairs.step[:, None] * np.linspace(0, 1, PARTS + 1)
    below, positives = (curve(inside) for curve in curves)
    share = np.diff(positives, axis=1)
    share = np.where(share.sum(axis=1, keepdims=True) > 0, share, 1.0)
    return ((below[:, 1:] + below[:, :-1]) / 2 * share).sum(axis=1) / share.sum(axis=1)


def eer(pairs: Pairs) -> float:
    """Equal error rate: where the false accept rate equals the false reject rate.

    Between two thresholds both rates are taken to change evenly together, as on a ROC curve drawn with lines.
    """
    accepts, rejects, _ = _rates(pairs)
    last = int(np.argmax(rejects >= accepts))
    if last == 0:
        return float(rejects[0])
    gap, before = rejects[last] - accepts[last], accepts[last - 1] - rejects[last - 1]
    share = before / (before + gap)
    return float(accepts[last - 1] + share * (accepts[last] - accepts[last - 1]))


def eer_threshold(pairs: Pairs) -> float:
    """The similarity below which the equal error rate lies, of those that pairs are counted by."""
    accepts, rejects, thresholds = _rates(pairs)
    return float(thresholds[max(int(np.argmax(rejects >= accepts)) - 1, 0)])


def _rates(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False accept and false reject rates by threshold, ascending."""
    _need_both(pairs)
    if pairs.stored_scores is None:
        accepts = _accepted_counts(pairs.negative) / pairs.negatives
        rejects = 1 - _accepted_counts(pairs.positive) / pairs.positives
        return accepts, rejects, np.append(pairs.values, np.inf).astype(np.float64)
    cell = _cell_of_threshold(pairs, pairs.stored_scores)
    fine = pairs.step[cell] <= FINE
    thresholds, counts = np.unique(
        np.where(fine, pairs.values[cell], pairs.stored_scores), return_counts=True
    )
    accepts = np.stack(_false_accepts(pairs, thresholds), axis=1).ravel()
    ends = np.cumsum(counts)
    rejects = np.stack([ends - counts, ends], axis=1).ravel() / len(pairs.stored_scores)
    accepts, rejects = np.append(1, np.append(accepts, 0)), np.append(0, np.append(rejects, 1))
    return accepts, rejects, np.concatenate([thresholds[:1], np.repeat(thresholds, 2), thresholds[-1:]])


def pair_statistics(pairs: Pairs) -> dict[str, float]:
    """Mean and standard deviation of the cosine similarity s and the Euclidean distance √(2 − 2s)."""
    similarity = pairs.centres
    euclidean = np.sqrt(np.maximum(2 - 2 * similarity, 0))
    statistics: dict[str, float] = {}
    for kind, counts in (("positive", pairs.positive), ("negative", pairs.negative)):
        for name, values in (("similarity", similarity), ("euclidean", euclidean)):
            if counts.any():
                mean = np.average(values, weights=counts)
                statistics[f"{kind}_{name}_mean"] = float(mean)
                statistics[f"{kind}_{name}_std"] = float(
                    np.sqrt(np.average((values - mean) ** 2, weights=counts))
                )
    return statistics


def histogram(pairs: Pairs, bins: int = 100) -> dict[str, list[float] | list[int]]:
    """Counts of positive and negative pairs in `bins` bins from the least to the greatest similarity."""
    edges = np.histogram_bin_edges(pairs.centres, bins=bins)
    positive, negative = (
        _spread_statistics(pairs, counts, edges) for counts in (pairs.positive, pairs.negative)
    )
    return {"edges": edges.tolist(), "positive": positive.tolist(), "negative": negative.tolist()}


def _spread_statistics(pairs: Pairs, counts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts in bins; those of a cell that an edge cuts are shared by its two bins."""
    if pairs.exact or not len(pairs.values):
        return np.histogram(pairs.centres, edges, weights=counts)[0].astype(np.int64)
    ends, before = _cumulative_counts(pairs, counts)
    reached = np.round(np.interp(edges[1:-1], ends, before)).astype(np.int64)
    return np.diff(reached, prepend=0, append=counts.sum())


def _false_accepts(pairs: Pairs, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shares of negative pairs that are at least, and that are more similar than scores.

    They differ by the pairs of a fine cell; in a wide one pairs are spread smoothly.
    """
    ends, before = _cumulative_counts(pairs, pairs.negative)
    cell, upto = _cell_of_threshold(pairs, scores), np.cumsum(pairs.negative)
    smooth = PchipInterpolator(ends, before)(np.clip(scores, ends[0], ends[-1]))
    fine = (pairs.step[cell] <= FINE) & (scores < pairs.values[cell] + FINE) & (scores >= pairs.values[cell])
    below = np.where(fine, (upto - pairs.negative)[cell], smooth), np.where(fine, upto[cell], smooth)
    return 1 - below[0] / pairs.negatives, 1 - below[1] / pairs.negatives


def _cell_of_threshold(pairs: Pairs, scores: np.ndarray) -> np.ndarray:
    """In which cell scores lie, or above which."""
    return np.maximum(np.searchsorted(pairs.values, scores, side="right") - 1, 0)


def _cumulative_counts(pairs: Pairs, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges of cells, ascending, and how many pairs lie below each."""
    upto = np.cumsum(counts)
    ends = np.stack([pairs.values, pairs.values + pairs.step], axis=1).ravel()
    ends, first = np.unique(ends, return_index=True)
    return ends, np.stack([upto - counts, upto], axis=1).ravel()[first]


class PairCounter:
    """Keeps pairs as they come."""

    def __init__(self) -> None:
        self._stored_scores: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def count_block(self, similarities: np.ndarray, positive: np.ndarray) -> None:
        """Keep pairs.

        Args:
            similarities: [P].
            positive: which of them are positive pairs, as places in `similarities`.
        """
        negative = np.ones(len(similarities), bool)
        negative[positive] = False
        self._stored_scores[0].append(similarities[positive])
        self._stored_scores[1].append(similarities[negative])

    @staticmethod
    def total(counters: Iterable["PairCounter"]) -> Pairs:
        """The pairs of several counters together."""
        kinds = zip(*(counter._stored_scores for counter in counters), strict=True)
        return Pairs.from_scores(*(np.concatenate([*chain(*kind), np.empty(0)]) for kind in kinds))


def _rate_of(far: float) -> Fraction:
    """The decimal number that was meant."""
    return Fraction(repr(float(far)))


def _accepted_counts(counts: np.ndarray) -> np.ndarray:
    """How many pairs are accepted when the threshold stands at each value, and above all, [V + 1]."""
    return np.append(np.cumsum(counts[::-1])[::-1], 0)


def _need_both(pairs: Pairs) -> None:
    if not pairs.positives or not pairs.negatives:
        raise ValueError(
            f"pairs: {pairs.positives} positive and {pairs.negatives} negative; verification needs both kinds"
        )
