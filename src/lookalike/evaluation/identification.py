"""The operating point of identification: how often a stranger is given a name in a gallery of some size."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log1p
from typing import Any, Literal

import numpy as np

from lookalike.evaluation.stranger_scores import StrangerScores, draw_scores
from lookalike.metrics.estimate import estimate_intervals
from lookalike.metrics.inputs import factorise, unit_length

FPIR = 0.01
Decision = Literal["known", "new", "unsure"]
STEPS = 30
"""Halvings of the interval in which a threshold is searched: from 2 to about 2e-9."""
FEWEST = 4
"""Fewest identities whose galleries and strangers tell anything."""
CELLS = 1 << 24
"""Similarities of probes to identities held at once, by all draws together."""
MOST_DRAWS = 8


@dataclass(frozen=True)
class IdentificationPoint:
    """The threshold from which on a photo is given the name of the nearest enrolled identity.

    Attributes:
        fpir: the false positive identification rate that the threshold was chosen for: the share of strangers
            who are given a name.
        fpir_low: lower end of the 95 % interval of the rate at the threshold, by bootstrap over identities.
        fpir_high: upper end.
        requested: the rate that was requested; finer than `fpir` where the validation identities cannot show
            it.
        threshold: cosine similarity to the nearest identity from which on a photo is known.
        threshold_low: lower end of its 95 % interval; below, a photo shows someone new.
        threshold_high: upper end; in between, the answer is unsure.
        gallery: number of enrolled identities.
        photos: their photos, on average.
        probe_photos: photos that are pooled into one answer.
        extrapolated: whether the gallery is larger than the validation identities can imitate; the rate is
            then an upper bound.
        images: number of validation images.
        identities: number of validation identities.
    """

    fpir: float
    fpir_low: float
    fpir_high: float
    requested: float
    threshold: float
    threshold_low: float
    threshold_high: float
    gallery: int
    photos: float
    probe_photos: int
    extrapolated: bool
    images: int
    identities: int

    def answer(self, similarity: float) -> Decision:
        """Whether the nearest identity is the right one; unsure inside the interval of the threshold."""
        if self.threshold_low <= similarity < self.threshold_high:
            return "unsure"
        return "known" if similarity >= self.threshold_high else "new"

    def __str__(self) -> str:
        finer = (
            f" ({self.requested:g} was requested; {self.identities} validation identities cannot show a "
            "finer rate in such a gallery)"
            if self.requested < self.fpir
            else ""
        )
        bound = ", extrapolated as an upper bound" if self.extrapolated else ""
        return (
            f"threshold {self.threshold:.3f} [{self.threshold_low:.3f}, {self.threshold_high:.3f}] for a "
            f"false positive identification rate of {100 * self.fpir:.3g} % "
            f"[{100 * self.fpir_low:.3g}, {100 * self.fpir_high:.3g}]{finer}{bound}, with {self.gallery:,} "
            f"identities of {self.photos:.3g} photos enrolled; by {self.images:,} images of "
            f"{self.identities:,} validation identities"
        )


def choose_identification_point(
    vectors: Any,
    labels: Any,
    photos: Sequence[int] | np.ndarray,
    fpir: float = FPIR,
    probe_photos: int = 1,
    seed: int = 0,
) -> IdentificationPoint:
    """The smallest threshold at which at most `fpir` of strangers are given a name (FPIR).

    Every validation identity is in turn a stranger to galleries of the others, drawn at random with as many
    identities as the real gallery and as many photos of each. The expectation over the draws of identities is
    exact (hypergeometric). A gallery with more identities than that, or with more photos of them, is
    extrapolated: if a stranger is taken for one identity with probability p, then for one of N with
    1 − (1 − p)^N at most, where outcomes are independent or positively dependent.

    Args:
        vectors: embeddings of validation identities, [n, D]; the model must not have been trained on them.
        labels: their identities, [n].
        photos: number of photos of each enrolled identity, [N].
        fpir: allowed share of strangers who are given a name.
        probe_photos: photos of one encounter, whose similarities to an identity are averaged. Where an
            identity has fewer, they are all used.
        seed: of the draws of photos, and of the bootstrap.

    Raises:
        ValueError: fewer than four identities, or an argument out of range.
    """
    photos = np.sort(np.asarray(photos, np.int64))  # the same threshold whatever the order of identities
    rate = measure_rate(vectors, labels, photos, fpir, probe_photos, seed)
    reachable = max(fpir, rate.resolution)
    threshold = rate.threshold(reachable)
    low, high = rate.interval(threshold, seed)
    return IdentificationPoint(
        fpir=reachable,
        fpir_low=low,
        fpir_high=high,
        requested=fpir,
        threshold=threshold,
        threshold_low=min(rate.threshold(max(high, reachable)), threshold),
        threshold_high=max(rate.threshold(min(rate.bound_low(threshold, seed), reachable)), threshold),
        gallery=len(photos),
        photos=float(photos.mean()),
        probe_photos=probe_photos,
        extrapolated=rate.extrapolated,
        images=rate.images,
        identities=rate.scores.identities,
    )


def choose_threshold(vectors: Any, labels: Any, photos: np.ndarray, fpir: float = FPIR) -> float:
    """The threshold of `choose_identification_point`, without intervals, in a fraction of the time."""
    rate = measure_rate(vectors, labels, np.sort(photos), fpir)
    return rate.threshold(max(fpir, rate.resolution))


def measure_rate(
    vectors: Any, labels: Any, photos: np.ndarray, fpir: float, probe_photos: int = 1, seed: int = 0
) -> "FalsePositiveRate":
    """The false positive identification rate of a gallery; see `choose_identification_point`."""
    if not 0 < fpir < 1:
        raise ValueError(f"fpir={fpir:g}: must be more than 0 and less than 1")
    if not len(photos) or photos.min() < 1 or probe_photos < 1:
        raise ValueError("photos: an enrolled identity has at least one photo, and so has a probe")
    unit = unit_length(vectors)
    names, codes = factorise(labels, len(unit))
    if len(names) < FEWEST:
        raise ValueError(
            f"{len(names)} validation identities are too few to tell how often strangers are given a name; "
            f"at least {FEWEST} are needed, and some hundreds for a rate of 1 % in a gallery of a hundred"
        )
    draws = int(np.clip(CELLS // (len(unit) * len(names)), 1, MOST_DRAWS))
    scores = draw_scores(unit, codes, photos, probe_photos, draws, np.random.default_rng(seed))
    missing = _missing_photos(photos, np.bincount(codes))
    return FalsePositiveRate(scores, len(photos), missing, len(unit))


def _missing_photos(photos: np.ndarray, available: np.ndarray) -> float:
    """How many times as many photos enrolled identities have as those that imitate them, at least 1."""
    sizes, enrolled = np.unique(photos, return_counts=True)
    offered, identities = np.unique(available, return_counts=True)
    imitated = enrolled @ np.minimum.outer(sizes, offered) @ identities / (len(photos) * len(available))
    return max(float(photos.mean() / imitated), 1.0)


class FalsePositiveRate:
    """The false positive identification rate of a gallery as a function of the threshold.

    Args:
        scores: of strangers.
        gallery: number of enrolled identities.
        missing: how many times as many photos these have as the identities of `scores`.
        images: number of validation images.

    Attributes:
        measured: number of identities of the galleries that are drawn.
        equivalent: number of validation identities that have as many photos as the gallery.
        extrapolated: whether these are more than can be drawn, or only stand for further photos.
        resolution: the finest rate that can be promised: that of one in all pairs of identities.
    """

    def __init__(self, scores: StrangerScores, gallery: int, missing: float = 1.0, images: int = 0):
        self.scores, self.images = scores, images
        self.equivalent = ceil(gallery * missing - 1e-9)
        self.measured = min(gallery, scores.identities - 2)
        self.extrapolated = self.equivalent > self.measured
        pairs = scores.identities * (scores.identities - 1) / 2
        self.resolution = self._any_of(1 / pairs)

    def __call__(self, threshold: float) -> float:
        """The share of strangers who are given a name from this similarity on."""
        if self.extrapolated:
            return self._any_of(self.scores.pair_rate(threshold))
        return self.scores.gallery_rate(threshold, self.measured)

    def threshold(self, rate: float) -> float:
        """The smallest threshold at which the rate is at most this, to 1e-8."""
        low, high = -1.0, float(self.scores.similarity.max()) + 1e-6
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if self(middle) <= rate else (middle, high)
        return high

    def interval(self, threshold: float, seed: int = 0) -> tuple[float, float]:
        """Both ends of the 95 % interval of the rate, by bootstrap over identities.

        Where the rate is extrapolated, the interval reaches down to that of the largest gallery that was
        drawn: with more identities the true rate is no lower, and independence is the other extreme.
        """
        low, high = self._ends(threshold, seed)
        if not self.extrapolated:
            return low, high
        largest = self.scores.gallery_estimate(threshold, self.measured)
        return min(low, _clip(estimate_intervals({"rate": largest}, seed=seed)["rate"])[0]), high

    def bound_low(self, threshold: float, seed: int = 0) -> float:
        """Lower end of the interval of what `__call__` returns, whether it is a rate or a bound."""
        return self._ends(threshold, seed)[0]

    def _ends(self, threshold: float, seed: int) -> tuple[float, float]:
        if not self.extrapolated:
            estimate = self.scores.gallery_estimate(threshold, self.measured)
            return _clip(estimate_intervals({"rate": estimate}, seed=seed)["rate"])
        low, high = _clip(estimate_intervals({"p": self.scores.pair_estimate(threshold)}, seed=seed)["p"])
        return self._any_of(low), self._any_of(high)

    def _any_of(self, probability: float) -> float:
        """The probability that one in as many independent events happens as the gallery has identities."""
        if probability >= 1:
            return 1.0
        return float(-np.expm1(self.equivalent * log1p(-probability)))


def _clip(ends: tuple[float, float]) -> tuple[float, float]:
    return min(max(ends[0], 0.0), 1.0), min(max(ends[1], 0.0), 1.0)
