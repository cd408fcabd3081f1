"""Photos grouped by individual, at the threshold of identification, and how many individuals there are."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from lookalike.evaluation.identification import (
    FPIR,
    IdentificationPoint,
    choose_identification_point,
    choose_threshold,
)
from lookalike.metrics.estimate import split_errors
from lookalike.metrics.inputs import factorise, unit_length
from lookalike.ranking.agglomeration import Constraints, agglomerate, number_groups

log = logging.getLogger(__name__)
ROUNDS = 12
"""Most rounds of grouping and choosing a threshold for the groups."""
SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
"""Photos of each validation identity that are grouped, to learn how many groups an individual becomes."""
MOST_IMAGES = 1000
"""Validation images that are grouped at once."""
SPLITS = 8
FEWEST_IDENTITIES = 8


def group_photos(
    unit: np.ndarray,
    validation: tuple[Any, Any],
    fpir: float = FPIR,
    constraints: Constraints | None = None,
) -> tuple[np.ndarray, IdentificationPoint]:
    """Groups of photos, int64 [N], numbered by their first row, and the operating point of these groups.

    The threshold is that of an index that holds every group with its photos. It depends on the groups, so
    both are found in turn, until they no longer change. If they keep alternating, the highest threshold is
    taken.

    Args:
        unit: vectors of length 1, [N, D].
        validation: vectors and labels of identities that the model was not trained on.
        fpir: allowed share of strangers who are given a name in such an index.
        constraints: pairs that are or are never together.

    Raises:
        ValueError: too few validation identities, or an argument out of range.
    """
    constraints = constraints or Constraints()
    codes = np.arange(len(unit)) if constraints.groups is None else number_groups(constraints.groups)
    rounds: dict[tuple[int, ...], tuple[float, np.ndarray]] = {}
    for _ in range(ROUNDS):
        photos = np.sort(np.bincount(codes))
        key = tuple(photos.tolist())
        if key in rounds:
            break
        threshold = choose_threshold(*validation, photos, fpir)
        codes = agglomerate(unit, threshold, constraints)
        rounds[key] = threshold, codes
        if tuple(np.sort(np.bincount(codes)).tolist()) == key:
            return codes, choose_identification_point(*validation, photos, fpir)
    threshold, codes = max(rounds.values(), key=lambda each: each[0])
    log.info("the threshold alternates while photos are grouped; the highest, %.3f, is used", threshold)
    return codes, choose_identification_point(*validation, np.sort(np.bincount(codes)), fpir)


@dataclass(frozen=True)
class IndividualCount:
    """How many individuals a collection of photos shows.

    Attributes:
        groups: number of groups that were found.
        value: estimated number of individuals.
        low: lower end of its 95 % interval.
        high: upper end.
        groups_per_individual: number of groups that a validation identity with as many photos becomes.
        extrapolated: whether the groups are larger than those of the validation identities.
    """

    groups: int
    value: float
    low: float
    high: float
    groups_per_individual: float
    extrapolated: bool

    def __str__(self) -> str:
        beyond = "; the groups are larger than those of validation identities" if self.extrapolated else ""
        return (
            f"{self.groups:,} groups; estimated number of individuals {self.value:,.0f} "
            f"[{self.low:,.0f}, {self.high:,.0f}]: validation identities become "
            f"{self.groups_per_individual:.2f} groups each{beyond}"
        )


def count_individuals(
    codes: np.ndarray, threshold: float, validation: tuple[Any, Any], seed: int = 0
) -> IndividualCount | None:
    """The number of individuals behind groups; None with fewer than eight validation identities.

    Validation identities are grouped at the same threshold, with so many photos of each that their groups are
    as large as those of the collection; this shows how many groups an individual becomes. The interval covers
    the choice of the validation identities (differences of random halves) and that of the individuals.

    Args:
        codes: group of each photo, [N].
        threshold: at which they were grouped.
        validation: vectors and labels of identities that the model was not trained on.
        seed: of the draws.
    """
    unit, labels = unit_length(validation[0]), factorise(validation[1], len(validation[0]))[1]
    rng = np.random.default_rng(seed)
    kept = np.isin(labels, _draw_some(labels, rng))
    unit, labels = np.asarray(unit[kept], np.float32), np.unique(labels[kept], return_inverse=True)[1]
    identities = int(labels.max(initial=-1)) + 1
    if identities < FEWEST_IDENTITIES:
        return None
    groups = int(codes.max(initial=-1)) + 1
    size = len(codes) / max(groups, 1)
    curve = _SplitCurve(unit, labels, threshold, rng)
    ratio, is_beyond = curve.ratio(size, np.ones(identities, bool))
    error = float(
        split_errors(lambda part: np.array([curve.ratio(size, part)[0]]), identities, SPLITS, rng)[0]
    )
    value = groups / ratio
    spread = np.sqrt((value / ratio * error) ** 2 + value * (curve.deviation / ratio) ** 2)
    reach = float(stdtrit(SPLITS, 0.975) * spread)
    low, high = max(value - reach, 1.0), min(value + reach, float(len(codes)))
    return IndividualCount(groups, value, min(low, value), max(high, value), ratio, is_beyond)


def _draw_some(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Identities with at most `MOST_IMAGES` images in total."""
    counts = np.minimum(np.bincount(labels), SIZES[-1])
    order = rng.permutation(len(counts))
    return order[np.cumsum(counts[order]) <= MOST_IMAGES]


class _SplitCurve:
    """How many groups validation identities become, by the number of their photos.

    Args:
        unit: vectors of length 1, [n, D].
        labels: identities from 0, [n].
        threshold: at which they are grouped.
        rng: draws their photos.

    Attributes:
        deviation: standard deviation of the number of groups over the identities, at the last `ratio` of all.
    """

    def __init__(self, unit: np.ndarray, labels: np.ndarray, threshold: float, rng: np.random.Generator):
        self.unit, self.labels, self.threshold = unit, labels, threshold
        order = np.lexsort((rng.random(len(labels)), labels))
        counts = np.bincount(labels)
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.number = np.empty(len(labels), np.int64)  # of each photo among those of its identity
        self.number[order] = np.arange(len(labels)) - first[labels[order]]
        largest = next((size for size in SIZES if size >= counts.max()), SIZES[-1])
        self.sizes = SIZES[: SIZES.index(largest) + 1]
        self.deviation = 0.0

    def ratio(self, size: float, is_used: np.ndarray) -> tuple[float, bool]:
        """Groups by identity where groups have `size` photos on average, and whether none are as large."""
        points = []
        for photos in self.sizes:
            rows = np.flatnonzero((self.number < photos) & is_used[self.labels])
            codes = agglomerate(self.unit[rows], self.threshold)
            groups = int(codes.max()) + 1
            points.append((len(rows) / groups, groups / is_used.sum()))
            if is_used.all():
                self.deviation = _deviation(codes, self.labels[rows])
            if points[-1][0] >= size:
                break
        sizes, ratios = np.array(points).T
        grows = np.maximum.accumulate(sizes)
        return float(np.interp(size, grows, ratios)), bool(size > grows[-1] + 1e-9)


def _deviation(codes: np.ndarray, labels: np.ndarray) -> float:
    """Standard deviation over identities of their groups; a shared group counts in equal parts."""
    pairs = np.unique(np.stack([codes, labels]), axis=1)
    share = 1 / np.bincount(pairs[0])[pairs[0]]
    return float(np.bincount(pairs[1], share).std())
