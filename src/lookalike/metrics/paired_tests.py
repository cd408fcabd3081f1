"""Is one model better than another? Tests on the same queries, with identities as the units."""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np

from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.inputs import factorise

EXACT = 16
"""Up to so many identities every way of swapping the two models is tried."""

FLIPS = 10_000
"""Beyond, so many drawn ways."""

CELLS = 1 << 22
"""Signs held at once."""

Verdict = Literal["better", "worse", "higher", "lower", "cannot tell"]


@dataclass(frozen=True)
class Difference:
    """How much higher the second model's mean is than the first's.

    Attributes:
        first: column of the first model.
        second: column of the second one.
        mean: over the queries, second − first.
        low: lower end of the interval.
        high: upper end.
        p: how often chance alone gives a difference as large.
        level: of the interval, and 1 − the p that is small enough.
        sign: 1 where higher values of the metric are better, -1 where lower ones are, 0 where neither.
    """

    first: int
    second: int
    mean: float
    low: float
    high: float
    p: float
    level: float = 0.95
    sign: int = 1

    @property
    def verdict(self) -> Verdict:
        """What can be said of the second model; interval and test must agree for a winner to be named.

        Of a metric without a better direction it is only `higher` or `lower`.
        """
        if self.p > 1 - self.level + 1e-12 or self.low <= 0 <= self.high:
            return "cannot tell"
        if not self.sign:
            return "higher" if self.mean > 0 else "lower"
        return "better" if self.mean * self.sign > 0 else "worse"


def paired_differences(
    values: np.ndarray, groups: Any, n: int = 2000, seed: int = 0, level: float = 0.95
) -> list[Difference]:
    """Every two models compared on the queries that have a value in all of them.

    The interval is a bootstrap over identities of the mean difference. The p value is of a sign-flip test:
    were the two models alike, swapping them for any identity would change nothing (Fisher 1935; exact with
    up to 16 identities). Of several comparisons, p values are raised after Holm (1979), so that the chance
    of naming any winner wrongly stays below 1 − `level`.

    Args:
        values: one column a model, [Q, M].
        groups: identity of each query, [Q].
        n: resamples of the interval.
        seed: the same seed gives the same numbers.
        level: how sure a verdict has to be.

    Raises:
        ValueError: fewer than two models, or than two identities with values.
    """
    matrix = np.asarray(values, np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 2:
        raise ValueError(f"a comparison needs at least 2 columns of values, got {list(matrix.shape)}")
    _, codes = factorise(groups, len(matrix))
    is_known = ~np.isnan(matrix).any(axis=1)
    matrix, codes = matrix[is_known], np.unique(codes[is_known], return_inverse=True)[1]
    pairs = list(combinations(range(matrix.shape[1]), 2))
    differences = np.stack([matrix[:, second] - matrix[:, first] for first, second in pairs], axis=1)
    low, high = bootstrap_interval(differences, codes, n, seed, level)
    sums = np.stack([np.bincount(codes, column) for column in differences.T], axis=1)
    chances = holm_correction(flip_test(sums, seed))
    rows = zip(pairs, differences.mean(axis=0), low, high, chances, strict=True)
    return [
        Difference(first, second, float(mean), float(lower), float(upper), float(p), level)
        for (first, second), mean, lower, upper, p in rows
    ]


def flip_test(sums: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two-sided p values of a sign-flip test, [P].

    Args:
        sums: of each unit (identity) the sum of its differences, [C, P].
        seed: of the flips that are drawn with more than `EXACT` units.
    """
    units = len(sums)
    observed = np.abs(sums.sum(axis=0)) * (1 - 1e-9) - 1e-12
    exact = units <= EXACT
    flips = 1 << units if exact else FLIPS
    rng = np.random.default_rng(seed)
    step = max(1, CELLS // max(units, 1))
    as_large = np.zeros(sums.shape[1])
    for start in range(0, flips, step):
        count = min(step, flips - start)
        if exact:
            bits = (np.arange(start, start + count)[:, None] >> np.arange(units)) & 1
        else:
            bits = rng.integers(2, size=(count, units))
        as_large += (np.abs((2.0 * bits - 1) @ sums) >= observed).sum(axis=0)
    return as_large / flips if exact else (as_large + 1) / (flips + 1)


def holm_correction(chances: np.ndarray) -> np.ndarray:
    """The p values raised for their number, so that each may be held against the same bound (Holm 1979)."""
    order = np.argsort(chances, kind="stable")
    raised = np.maximum.accumulate(chances[order] * np.arange(len(chances), 0, -1))
    adjusted = np.empty(len(chances))
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


def swap_models(difference: Difference) -> Difference:
    """The same, seen from the other model."""
    return replace(
        difference,
        first=difference.second,
        second=difference.first,
        mean=-difference.mean,
        low=-difference.high,
        high=-difference.low,
    )
