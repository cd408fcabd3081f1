"""Similarities of strangers to the identities of galleries, and how many of them reach a threshold."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln

from lookalike.metrics.estimate import Estimate

Chance = Callable[[np.ndarray, int], np.ndarray]
"""The probability that a probe is given a name, if so many of so many identities reach the threshold."""


@dataclass(frozen=True, eq=False)
class StrangerScores:
    """How similar probes are to other identities.

    Attributes:
        similarity: float32 [P, V], of each probe to the most similar photo of each identity; -inf to its own.
        identity: int64 [P], of the probe, from 0 to V − 1; each occurs.
    """

    similarity: np.ndarray
    identity: np.ndarray

    @property
    def identities(self) -> int:
        """V."""
        return self.similarity.shape[1]

    @cached_property
    def weights(self) -> np.ndarray:
        """Of each probe, [P]; identities count alike, whatever the number of their probes."""
        return 1 / (np.bincount(self.identity)[self.identity] * self.identities)

    def gallery_rate(self, threshold: float, gallery: int) -> float:
        """Share of strangers who are given a name, over all galleries of so many of the other identities."""
        hits = np.count_nonzero(self.similarity >= threshold, axis=1)
        return float(self.weights @ any_drawn(hits, self.identities - 1, gallery))

    def pair_rate(self, threshold: float) -> float:
        """Share of pairs of a stranger and another identity that reach the threshold."""
        hits = np.count_nonzero(self.similarity >= threshold, axis=1)
        return float(self.weights @ hits) / (self.identities - 1)

    def gallery_estimate(self, threshold: float, gallery: int) -> Estimate:
        """`gallery_rate` with the influence of each identity on it."""
        return self._estimate(threshold, lambda hits, others: any_drawn(hits, others, gallery))

    def pair_estimate(self, threshold: float) -> Estimate:
        """`pair_rate` with the influence of each identity on it."""
        return self._estimate(threshold, lambda hits, others: hits / others)

    def _estimate(self, threshold: float, chance: Chance) -> Estimate:
        """The mean of a chance, and by how much it changes without each identity, stranger and enrolled."""
        reaches, others = self.similarity >= threshold, self.identities - 1
        hits = np.count_nonzero(reaches, axis=1)
        value = float(self.weights @ chance(hits, others))
        kept = self.weights * chance(hits, others - 1)
        change = self.weights * chance(np.maximum(hits - 1, 0), others - 1) - kept
        some = np.flatnonzero(hits)
        totals = kept.sum() - np.bincount(self.identity, kept, self.identities)
        without = (totals + change[some] @ reaches[some]) / (1 - 1 / self.identities)
        return Estimate(value, value - without, share=True)


def any_drawn(hits: np.ndarray, others: int, gallery: int) -> np.ndarray:
    """The probability that `gallery` of `others`, drawn without replacement, contain one of `hits`."""
    rest = others - hits
    possible = rest >= gallery
    rest = np.where(possible, rest, gallery)
    ways = gammaln(rest + 1) - gammaln(rest - gallery + 1)
    none = np.exp(ways - gammaln(others + 1) + gammaln(others - gallery + 1))
    return np.where(hits == 0, 0.0, np.where(possible, -np.expm1(np.log(np.minimum(none, 1.0))), 1.0))


def draw_scores(
    unit: np.ndarray,
    codes: np.ndarray,
    photos: np.ndarray,
    probe_photos: int,
    draws: int,
    rng: np.random.Generator,
) -> StrangerScores:
    """Probes against identities that have as many photos as those of a gallery, as far as they have them.

    Args:
        unit: vectors of length 1, [n, D].
        codes: identities, from 0 to V − 1, [n].
        photos: number of photos of each identity of the gallery, of which one is drawn for each identity.
        probe_photos: photos that are pooled.
        draws: how often photos are drawn.
        rng: draws them.
    """
    order = np.argsort(codes, kind="stable")
    codes, unit = codes[order], np.asarray(unit, np.float32)[order]
    cosine = unit @ unit.T
    similarity, identity = list[np.ndarray](), list[np.ndarray]()
    for _ in range(draws):
        nearest = _nearest_of_drawn(cosine, codes, photos, rng)
        nearest[np.arange(len(codes)), codes] = -np.inf
        groups = _encounters(codes, probe_photos, rng)
        similarity.append(_means(nearest, groups))
        identity.append(codes[groups[:, 0]])
    return StrangerScores(np.concatenate(similarity), np.concatenate(identity))


def _nearest_of_drawn(
    cosine: np.ndarray, codes: np.ndarray, photos: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The greatest similarity of each row to the photos of each identity that are drawn, [n, V]."""
    counts = np.bincount(codes)
    sizes = np.minimum(rng.choice(photos, len(counts)), counts)
    rows = np.lexsort((rng.random(len(codes)), codes))  # shuffled within each identity
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rows = rows[np.arange(len(codes)) - first[codes] < sizes[codes]]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return np.maximum.reduceat(cosine[:, rows], starts, axis=1)


def _encounters(codes: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of each probe, [G, size]; padded with -1 where an identity has fewer."""
    if size == 1:
        return np.arange(len(codes))[:, None]
    groups = list[np.ndarray]()
    for code in range(codes[-1] + 1):
        rows = rng.permutation(np.flatnonzero(codes == code))
        for start in range(0, max(len(rows) - size, 0) + 1, size):
            part = rows[start : start + size]
            groups.append(np.pad(part, (0, size - len(part)), constant_values=-1))
    return np.stack(groups)


def _means(nearest: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean of the rows of each group, [G, V]."""
    if groups.shape[1] == 1:
        return nearest
    sums = sum(np.where((rows >= 0)[:, None], nearest[rows], 0.0) for rows in groups.T)
    return (sums / (groups >= 0).sum(axis=1)[:, None]).astype(np.float32)
