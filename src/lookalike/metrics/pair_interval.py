"""Intervals and influences of verification metrics: identities are drawn anew, and pairs weighed."""

from collections.abc import Mapping, Sequence

import numpy as np

from lookalike.metrics.bootstrap import confidence_interval, resample_counts
from lookalike.metrics.pair_counts import IdentityCounts
from lookalike.metrics.pair_curves import (
    Curves,
    Function,
    area_under_curve,
    curve_metrics,
    equal_error_rate,
    metrics_at_threshold,
)

STEP = 1e-3
"""By how much an identity's weight is raised to see what it does."""

GROUPS = 256
"""Of more identities, random groups are counted twice to see how skewed what they do is."""

Interval = tuple[float, float]


def bootstrap_pairs(
    counts: IdentityCounts,
    fars: Sequence[float],
    thresholds: Sequence[float] = (),
    functions: Mapping[str, Function] | None = None,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """How far verification metrics lie from their value in resamples of identities: low and high
    *deviations*.

    An identity drawn w times brings its positive pairs w times, and the pairs of identities drawn v and w
    times count v·w times. Of the product its part of first order, v + w − 1, is used: pairs of each identity
    need to be counted, not pairs of each two identities, and pairs that stand alone are not counted as more
    uncertain than they are (Hoeffding 1948; Bolle et al. 2004). Where only a share of the identities was
    counted, deviations shrink with its square root (Politis and Romano 1994).

    Args:
        counts: of the pairs; its thresholds hold those given here.
        fars: rates for `tar@far=F`, `threshold@far=F`, `fnmr@far=F`, `pair_precision@far=F`, ….
        thresholds: for `far@threshold=T` and `tar@threshold=T`.
        functions: further metrics of pairs, by name; each is called for every resample.
        n: resamples.
        seed: the same seed gives the same interval.
        level: share of resamples inside.

    Returns:
        By name of the metric; also `auc`, `eer` and the distances, and `accuracy` and `balanced_accuracy` at
        the first rate. Metrics that no resample moves, and of which no limits are known, are absent.

    Raises:
        ValueError: fewer than three identities, or pairs of one kind only.
    """
    _check_counts(counts)
    point_estimate = _unweighted_curves(counts)
    rng = np.random.default_rng(seed)
    values = {
        name: float(value[0])
        for name, value in curve_metrics(point_estimate, fars, thresholds, functions).items()
    }
    limits = _limits(point_estimate, fars, thresholds)
    parts = [
        curve_metrics(_weighted_curves(counts, weights), fars, thresholds, functions)
        for weights in resample_counts(len(counts.negative), n, rng)
    ]
    twice = curve_metrics(
        _weighted_curves(counts, 1 + _groups(len(counts.negative), rng)), fars, thresholds, functions
    )
    intervals: dict[str, Interval] = {}
    for name, value in values.items():
        moved = np.concatenate([part[name] for part in parts]) - value
        moved, influence = moved[~np.isnan(moved)], twice[name] - value
        bounds = limits.get(name, (-np.inf, np.inf))
        if not len(moved) or not (moved.any() or np.isfinite(bounds).all()):
            continue
        ends = confidence_interval(
            np.array([value]),
            value + moved[:, None] * counts.share**0.5,
            (influence - np.nanmean(influence))[:, None],
            np.array(bounds)[:, None],
            level,
        )
        low, high = (float(end[0]) - value for end in ends)
        intervals[name] = low, high
    return intervals


def _groups(identities: int, rng: np.random.Generator) -> np.ndarray:
    """Which identities are in each of at most `GROUPS` random groups, 1 or 0, [G, C]."""
    size = min(identities, GROUPS)
    group = rng.permutation(identities) % size
    return (np.arange(size)[:, None] == group).astype(np.float64)


def _limits(
    whole: Curves, fars: Sequence[float], thresholds: Sequence[float]
) -> dict[str, tuple[float, float]]:
    """The least and the most that shares can be; at a rate, with no or all positive pairs accepted."""
    limits = dict.fromkeys(("auc", "eer"), (0.0, 1.0))
    for threshold in thresholds:
        limits.update(
            dict.fromkeys((f"{kind}@threshold={threshold:g}" for kind in ("far", "tar")), (0.0, 1.0))
        )
    for index, far in enumerate(fars):
        none, all_ = (metrics_at_threshold(whole, far, np.array([tar]), index == 0) for tar in (0.0, 1.0))
        for name in none:
            lower, upper = sorted((float(none[name][0]), float(all_[name][0])))
            limits[name] = lower, upper
    return limits


def pair_influences(counts: IdentityCounts, fars: Sequence[float]) -> dict[str, np.ndarray]:
    """The influence of each identity on `auc`, `eer` and what is decided at rates, [C] each (see `Estimate`).

    Pairs are weighed as in `bootstrap_pairs`. More false accepts of an identity move the threshold along the
    ROC curve, whose slope is taken between half and twice the rate. Where only a share of the identities was
    counted, influences shrink with its square root.

    Raises:
        ValueError: fewer than three identities, or pairs of one kind only.
    """
    _check_counts(counts)
    whole = _unweighted_curves(counts)
    (negative,), (positive,) = _pair_totals(counts, np.ones((1, len(counts.negative))))
    raised = Curves.from_counts(
        counts.thresholds, negative + STEP * counts.negative, positive + STEP * counts.positive
    )
    far, tar = (
        (np.pad(raised_rate, ((0, 0), (1, 0))) - np.pad(whole_rate, ((0, 0), (1, 0)))) / STEP
        for raised_rate, whole_rate in ((raised.far, whole.far), (raised.tar, whole.tar))
    )
    rates, tar_steps = np.append(0, whole.far[0]), np.append(0, whole.tar[0])

    def along(rate: float, values: np.ndarray) -> np.ndarray:
        """Values by threshold [C, T + 1] where the false accept rate is this."""
        after = int(np.clip(np.searchsorted(rates, rate), 1, len(rates) - 1))
        width = rates[after] - rates[after - 1]
        share = (rate - rates[after - 1]) / width if width > 0 else 1.0
        return values[:, after - 1] + share * (values[:, after] - values[:, after - 1])

    def slope(rate: float) -> float:
        ends = rate / 2, min(2 * rate, 1.0)
        return float(np.diff(np.interp(ends, rates, tar_steps))[0] / (ends[1] - ends[0]))

    equal = max(float(equal_error_rate(rates[None], tar_steps[None])[0]), rates[rates > 0].min())
    moved = {
        "auc": (area_under_curve(raised) - area_under_curve(whole)) / STEP,
        "eer": (slope(equal) * along(equal, far) - along(equal, tar)) / (1 + slope(equal)),
    }
    for index, rate in enumerate(fars):
        accepted = whole.tar_at_far(rate)[0]
        of_accepted = along(rate, tar) - slope(rate) * along(rate, far) if rate > 0 else along(rate, tar)
        before = metrics_at_threshold(whole, rate, accepted, index == 0)
        after = metrics_at_threshold(raised, rate, accepted + STEP * of_accepted, index == 0)
        moved.update({name: (after[name] - value) / STEP for name, value in before.items()})
    idle = ~(counts.negative[:, -1] + counts.positive[:, -1]).astype(bool)
    return {
        name: np.where(idle, np.nan, raised_rate * counts.share**0.5) for name, raised_rate in moved.items()
    }


def _check_counts(counts: IdentityCounts) -> None:
    identities = len(counts.negative)
    if identities < 3 or not counts.negative[:, -1].any() or not counts.positive[:, -1].any():
        raise ValueError(f"verification: {identities} identities; intervals need 3, and both kinds of pairs")


def _unweighted_curves(counts: IdentityCounts) -> Curves:
    """Each identity once."""
    return _weighted_curves(counts, np.ones((1, len(counts.negative))))


def _weighted_curves(counts: IdentityCounts, weights: np.ndarray) -> Curves:
    """Rates when each identity counts as often as `weights` [B, C] says."""
    return Curves.from_counts(counts.thresholds, *_pair_totals(counts, weights))


def _pair_totals(counts: IdentityCounts, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (weights - 0.5) @ counts.negative, weights @ counts.positive
