"""Numbers that know what each identity adds to them: intervals and paired tests can be had of them."""

from collections.abc import Mapping
from typing import Self

import numpy as np

from lookalike.metrics.interval import resampled


class Estimate(float):
    """A number with the influence of each identity on it.

    The influence is by how much the number would change, to first order, were it counted once more
    (infinitesimal jackknife: Jaeckel 1972; Efron 1982, chapter 6). A ratio of sums, Σaᵢ / Σbᵢ,
    has (aᵢ − value · bᵢ) / Σb.

    Attributes:
        influence: float64 [C], by identity; their sum is 0. NaN for those that have no part in it.
    """

    influence: np.ndarray

    def __new__(cls, value: float, influence: np.ndarray) -> Self:
        """Of a value and influences, which are made to have the sum 0."""
        number = super().__new__(cls, value)
        known = ~np.isnan(influence)
        number.influence = influence - (influence[known].mean() if known.any() else 0.0)
        return number

    def __reduce__(self) -> tuple[type, tuple[float, np.ndarray]]:
        return type(self), (float(self), self.influence)

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
    """A number with how far it lies elsewhere in resamples of identities.

    Attributes:
        deviations: from the number, [B].
    """

    deviations: np.ndarray

    def __new__(cls, value: float, deviations: np.ndarray) -> Self:
        """Of a value and deviations."""
        number = super().__new__(cls, value)
        number.deviations = deviations
        return number

    def __reduce__(self) -> tuple[type, tuple[float, np.ndarray]]:
        return type(self), (float(self), self.deviations)


def of_identities(values: np.ndarray, codes: np.ndarray, size: int = 0) -> np.ndarray:
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
    """Percentile intervals of numbers that know their identities; others have none.

    Of an `Estimate` the part of first order is drawn: in a resample that holds an identity w times it changes
    by Σ (w − 1) · influence (Efron 1979, 1982).

    Args:
        numbers: by name.
        n: resamples.
        seed: the same seed gives the same intervals.
        level: share of resamples inside.
    """
    estimates = {
        name: each for name, each in numbers.items() if isinstance(each, Estimate) and each.identities > 1
    }
    moved = {
        name: each.deviations
        for name, each in numbers.items()
        if isinstance(each, Spread) and len(each.deviations)
    }
    if estimates:
        matrix = np.zeros((max(len(each.influence) for each in estimates.values()), len(estimates)))
        for column, each in zip(matrix.T, estimates.values(), strict=True):
            column[: len(each.influence)] = np.nan_to_num(each.influence)
        blocks = resampled(len(matrix), n, np.random.default_rng(seed))
        drawn = np.concatenate([weights @ matrix for weights in blocks])
        moved.update(zip(estimates, drawn.T, strict=True))
    found = {}
    for name, each in moved.items():
        low, high = np.quantile(each, [(1 - level) / 2, (1 + level) / 2]) + numbers[name]
        found[name] = float(low), float(high)
    return found
