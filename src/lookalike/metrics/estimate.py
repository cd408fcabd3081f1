"""Numbers that know how far chance moves them: intervals and paired tests can be had of them."""

from collections.abc import Callable, Mapping
from typing import Self

import numpy as np
from scipy.special import stdtrit

from lookalike.metrics.bootstrap import confidence_interval, resample_counts, wilson

SHARE = np.array([[0.0], [1.0]])
ANY = np.array([[-np.inf], [np.inf]])


class Estimate(float):
    """A number with the influence of each identity on it.

    The influence is by how much the number would change, to first order, were it counted once more
    (infinitesimal jackknife: Jaeckel 1972; Efron 1982, chapter 6). A ratio of sums, Σaᵢ / Σbᵢ,
    has (aᵢ − value · bᵢ) / Σb.

    Attributes:
        influence: float64 [C], by identity; their sum is 0. NaN for those that have no part in it.
        share: whether it can only be from 0 to 1.
    """

    influence: np.ndarray
    share: bool

    def __new__(cls, value: float, influence: np.ndarray, share: bool = False) -> Self:
        """Of a value and influences, which are made to have the sum 0."""
        number = super().__new__(cls, value)
        is_known = ~np.isnan(influence)
        number.influence = influence - (influence[is_known].mean() if is_known.any() else 0.0)
        number.share = share
        return number

    def __reduce__(self) -> tuple[type, tuple[float, np.ndarray, bool]]:
        return type(self), (float(self), self.influence, self.share)

    @property
    def identities(self) -> int:
        """How many have a part in it."""
        return int((~np.isnan(self.influence)).sum())

    @property
    def pseudo_values(self) -> np.ndarray:
        """What the number would be if all identities were like this one, [C]; the mean is the number itself.

        Source: Tukey 1958 (pseudo-values of the jackknife).
        """
        return float(self) + self.identities * self.influence


class Spread(float):
    """A number with its standard error.

    Attributes:
        error: standard error.
        freedom: degrees of freedom of the error.
        identities: how many the number is of.
        share: whether it can only be from 0 to 1.
    """

    error: float
    freedom: int
    identities: int
    share: bool

    def __new__(cls, value: float, error: float, freedom: int, identities: int, share: bool = False) -> Self:
        """Of a value and what is known of its error."""
        number = super().__new__(cls, value)
        number.error, number.freedom, number.identities, number.share = error, freedom, identities, share
        return number

    def __reduce__(self) -> tuple[type, tuple[float, float, int, int, bool]]:
        return type(self), (float(self), self.error, self.freedom, self.identities, self.share)

    def interval(self, level: float) -> tuple[float, float]:
        """Student's interval; that of a share covers Wilson's, too (see `confidence_interval`)."""
        t = float(stdtrit(self.freedom, (1 + level) / 2))
        low, high = float(self) - t * self.error, float(self) + t * self.error
        lower, upper = wilson(
            np.array([float(self)]),
            np.array([self.error**2]),
            np.array([t]),
            np.array([self.identities]),
            SHARE if self.share else ANY,
        )
        return float(np.fmin(low, lower[0])), float(np.fmax(high, upper[0]))


def split_errors(
    function: Callable[[np.ndarray], np.ndarray], identities: int, splits: int, rng: np.random.Generator
) -> np.ndarray:
    """Standard errors of numbers that have no influences, such as what a search for clusters gives, [M].

    The identities are split in halves at random; half the difference of two independent halves varies as much
    as the number of all of them, be it by identities or by luck (balanced half-samples: McCarthy 1969;
    Politis and Romano 1994). They have as many degrees of freedom as there are splits, or identities but one.

    Args:
        function: numbers [M] of some identities, which are given as bool [C].
        identities: C.
        splits: how many.
        rng: draws the halves.
    """
    differences = []
    for _ in range(splits):
        half = rng.permutation(identities) < identities // 2
        differences.append((function(half) - function(~half)) / 2)
    return np.sqrt(np.mean(np.square(differences), axis=0))


def identity_estimates(values: np.ndarray, codes: np.ndarray, size: int = 0) -> np.ndarray:
    """The sum of values [N] of each identity, [C]; NaN for those without any.

    Args:
        values: [N].
        codes: identity of each, int64 [N], at least 0.
        size: C is at least this.
    """
    sums = np.bincount(codes, values, minlength=size)
    return np.where(np.bincount(codes, minlength=size) > 0, sums, np.nan)


def estimate_intervals(
    numbers: Mapping[str, float], n: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Intervals of numbers that know how far chance moves them; others have none.

    Of an `Estimate` the part of first order is drawn: in a resample that holds an identity w times it changes
    by Σ (w − 1) · influence (Efron 1979, 1982); see `confidence_interval`.

    Args:
        numbers: by name.
        n: resamples.
        seed: the same seed gives the same intervals.
        level: share of such intervals that hold the truth.
    """
    intervals = {
        name: estimate.interval(level) for name, estimate in numbers.items() if isinstance(estimate, Spread)
    }
    estimates = {
        name: estimate
        for name, estimate in numbers.items()
        if isinstance(estimate, Estimate) and estimate.identities > 1
    }
    if not estimates:
        return intervals
    matrix = np.full(
        (max(len(estimate.influence) for estimate in estimates.values()), len(estimates)), np.nan
    )
    for column, estimate in zip(matrix.T, estimates.values(), strict=True):
        column[: len(estimate.influence)] = estimate.influence
    value = np.array([float(estimate) for estimate in estimates.values()])
    blocks = resample_counts(len(matrix), n, np.random.default_rng(seed))
    resampled_values = value + np.concatenate([weights @ np.nan_to_num(matrix) for weights in blocks])
    limits = np.hstack([SHARE if estimate.share else ANY for estimate in estimates.values()])
    low, high = confidence_interval(value, resampled_values, matrix, limits, level)
    ends = zip(low.tolist(), high.tolist(), strict=True)
    return {**intervals, **dict(zip(estimates, ends, strict=True))}
