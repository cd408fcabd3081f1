"""The ROC curve of all pairs, with an interval at each false accept rate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lookalike.metrics.pair_counts import IdentityCounts, thresholds_for
from lookalike.metrics.pair_interval import bootstrap_pairs
from lookalike.metrics.records import rate_name
from lookalike.metrics.verification import Pairs, auc, eer

PER_DECADE = 4
"""Rates with an interval, from one power of ten to the next."""


@dataclass(frozen=True, eq=False)
class Roc:
    """What deciding by each threshold gives.

    Attributes:
        far: false accept rate, ascending from 0 to 1, [P].
        tar: true accept rate at it, [P].
        thresholds: "same" begins here, descending, [P]; the first one is infinite.
        positives: pairs of the same identity.
        negatives: pairs of different identities.
        areas: `auc` and `eer`: value, and low and high where there are intervals.
        rates: false accept rates with an interval, ascending, [R]; empty without intervals.
        low: 95 % interval of the true accept rate at `rates`, [R].
        high: its upper end, [R].
    """

    far: np.ndarray
    tar: np.ndarray
    thresholds: np.ndarray
    positives: int
    negatives: int
    areas: dict[str, dict[str, float]]
    rates: np.ndarray = field(default_factory=lambda: np.empty(0))
    low: np.ndarray = field(default_factory=lambda: np.empty(0))
    high: np.ndarray = field(default_factory=lambda: np.empty(0))

    def interpolate_tar(self, far: float | np.ndarray) -> np.ndarray:
        """The highest true accept rate whose false accept rate is at most `far`."""
        return self.tar[np.searchsorted(self.far, far, side="right") - 1]


def roc_with_intervals(
    pairs: Pairs,
    rates: Sequence[float] = (),
    count: Callable[[np.ndarray], IdentityCounts] | None = None,
    seed: int = 0,
) -> Roc:
    """The curve, with intervals where pairs can be counted by identity.

    Args:
        pairs: at least one of each kind. Where they were counted in wide cells, the curve has a point at the
            edge of each cell.
        rates: false accept rates that get an interval, ascending.
        count: counts pairs by identity above thresholds, for the bootstrap; None for no intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: pairs of one kind only.
    """
    areas = {"auc": {"value": auc(pairs)}, "eer": {"value": eer(pairs)}}
    accepted = [np.cumsum(counts[::-1]) for counts in (pairs.negative, pairs.positive)]
    far, tar = (np.append(0.0, counts / counts[-1]) for counts in accepted)
    thresholds = np.append(np.inf, pairs.values[::-1].astype(np.float64))
    curve = Roc(far, tar, thresholds, pairs.positives, pairs.negatives, areas)
    if count is None or not rates:
        return curve
    try:
        intervals = bootstrap_pairs(count(thresholds_for(pairs, rates)), rates, seed=seed)
    except ValueError:
        return curve
    for name, value in areas.items():
        low, high = intervals[name]
        value.update(low=max(0.0, value["value"] + low), high=min(1.0, value["value"] + high))
    moves = np.array([intervals[f"tar@far={rate_name(rate)}"] for rate in rates])
    low, high = np.clip(curve.interpolate_tar(np.array(rates))[:, None] + moves, 0, 1).T
    return replace(curve, rates=np.array(rates), low=low, high=high)


def rate_grid(negatives: int) -> list[float]:
    """False accept rates below 1, evenly on a log axis, from the finest that so many negative pairs show."""
    decades = np.log10(max(negatives, 2))
    exponents = np.linspace(-decades, 0, max(2, round(PER_DECADE * decades)) + 1)
    return [float(f"{rate:.5g}") for rate in (10**exponents)[:-1]]
