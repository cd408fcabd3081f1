"""Number of pairs of each identity above thresholds, as needed by the bootstrap of pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from lookalike.metrics.verification import Pairs, tar_at_far

AROUND = 16.0
"""Thresholds are dense between `far` / AROUND and `far` × AROUND."""

QUANTILES = 129
NEAR_A_RATE = 33


@dataclass(frozen=True, eq=False)
class IdentityCounts:
    """Pairs accepted at each threshold, by identity.

    Attributes:
        thresholds: descending, [T]; the last one accepts every pair.
        negative: pairs of an identity with any other that are at least as similar, [C, T]; each pair counts
            for both.
        positive: pairs within an identity, [C, T].
        codes: identity of each line, int64 [C]; below 0 for an image that is an identity of its own.
        share: of the identities, those that were counted; the others were left out to save time.
        different: how many pairs of different identities were counted; each may stand for more.
    """

    thresholds: np.ndarray
    negative: np.ndarray
    positive: np.ndarray
    codes: np.ndarray
    share: float = 1.0
    different: int = 0

    @classmethod
    def count_blocks(
        cls,
        blocks: "Iterator[PairBlock] | Sequence[PairBlock]",
        identities: np.ndarray,
        thresholds: np.ndarray,
        share: float = 1.0,
    ) -> Self:
        """Count pairs as they come.

        Args:
            blocks: the pairs; their codes are places in `identities`.
            identities: their codes, [C].
            thresholds: descending; the last one accepts every pair.
            share: of the identities that the blocks hold.
        """
        cells = len(thresholds)
        negative, positive = np.zeros((2, len(identities) * cells))
        ascending, different = thresholds[::-1], 0
        for block in blocks:
            cell = cells - np.searchsorted(
                ascending, block.scores, side="right"
            )  # first threshold it reaches
            same = np.flatnonzero(block.first == block.second)
            different += len(cell) - len(same)
            weights = None if block.weights is None else block.weights[same]
            own_pairs = np.bincount(block.first[same] * cells + cell[same], weights, minlength=len(positive))
            positive += own_pairs
            negative -= 2 * own_pairs
            for codes in (block.first, block.second):
                negative += np.bincount(codes * cells + cell, block.weights, minlength=len(negative))
        shape = (len(identities), cells)
        return cls(
            thresholds,
            np.cumsum(negative.reshape(shape), axis=1),
            np.cumsum(positive.reshape(shape), axis=1),
            identities,
            share,
            different,
        )


@dataclass(frozen=True, eq=False)
class PairBlock:
    """Some pairs: the identities of both images, their similarity, and for how many each stands; all [P]."""

    first: np.ndarray
    second: np.ndarray
    scores: np.ndarray
    weights: np.ndarray | None = None


def thresholds_for(pairs: Pairs, fars: Sequence[float], others: Sequence[float] = ()) -> np.ndarray:
    """Thresholds, descending, that show the whole ROC curve, and finely what lies around some rates.

    Args:
        pairs: all pairs.
        fars: false accept rates of interest.
        others: thresholds of interest.
    """
    quantiles = [np.linspace(0, 1, QUANTILES)]
    quantiles += [np.geomspace(far / AROUND, min(far * AROUND, 1), NEAR_A_RATE) for far in fars if far > 0]
    rates = np.concatenate(quantiles)
    values = pairs.values.astype(np.float64)
    of_negatives = _thresholds_at_shares(values, pairs.negative, rates)
    of_positives = _thresholds_at_shares(values, pairs.positive, np.linspace(0, 1, QUANTILES))
    exact = [tar_at_far(pairs, far, coarse=True).threshold for far in fars]
    everything = np.minimum(values[:1] - 1, -2.0)
    thresholds = np.unique(np.concatenate([of_negatives, of_positives, exact, others, everything]))
    return thresholds[::-1].copy()


def _thresholds_at_shares(values: np.ndarray, counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The thresholds that accept about these shares of the counted pairs."""
    accepted = np.cumsum(counts[::-1])
    cells = np.searchsorted(accepted, shares * accepted[-1])
    return values[::-1][np.minimum(cells, len(values) - 1)]
