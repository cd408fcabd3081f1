"""Intervals and influences of verification metrics: identities are drawn anew, and pairs weighed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lookalike.metrics.confidence import confidence
from lookalike.metrics.interval import resampled
from lookalike.metrics.pair_counts import IdentityCounts
from lookalike.metrics.verification import Pairs

STEP = 1e-3
"""By how much an identity's weight is raised to see what it does."""

GROUPS = 256
"""Of more identities, random groups are counted twice to see how skewed what they do is."""

Interval = tuple[float, float]
Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class _Curves:
    """Rates of each resample at each threshold, [B, T], and its number of pairs of each kind, [B]."""

    thresholds: np.ndarray
    far: np.ndarray
    tar: np.ndarray
    negatives: np.ndarray
    positives: np.ndarray

    @classmethod
    def of(cls, thresholds: np.ndarray, negative: np.ndarray, positive: np.ndarray) -> "_Curves":
        """Of the numbers of pairs accepted at each threshold, [B, T]."""
        negative = np.maximum.accumulate(np.maximum(negative, 0), axis=1)
        negatives, positives = (np.maximum(each[:, -1], 1e-300) for each in (negative, positive))
        return cls(
            thresholds, negative / negatives[:, None], positive / positives[:, None], negatives, positives
        )

    @cached_property
    def centres(self) -> np.ndarray:
        """The middle similarity of the pairs between each threshold and the one above, [T]."""
        above = np.append(max(1.0, self.thresholds[0]), self.thresholds[:-1])
        return np.append((self.thresholds + above)[:-1] / 2, above[-1])  # below the last one there is none

    def pairs(self, row: int) -> Pairs:
        """The pairs of a resample, as if each had the similarity in the middle of its cell."""
        positive, negative = (
            np.diff(rates[row] * total[row], prepend=0.0)[::-1]
            for rates, total in ((self.tar, self.positives), (self.far, self.negatives))
        )
        return Pairs(self.centres[::-1], positive, negative, np.zeros(len(self.thresholds)))

    def at_far(self, far: float) -> tuple[np.ndarray, np.ndarray]:
        """True accept rate and threshold where each resample's false accept rate is `far`, [B] each."""
        tar, threshold = np.empty(len(self.far)), np.empty(len(self.far))
        for row, (rates, found) in enumerate(zip(self.far, self.tar, strict=True)):
            last = int(np.searchsorted(rates, far, side="right")) - 1
            if last < 0 or last + 1 == len(rates):
                last = min(max(last, 0), len(rates) - 1)
                tar[row], threshold[row] = found[last], self.thresholds[last]
                continue
            share = (far - rates[last]) / (rates[last + 1] - rates[last])
            tar[row] = found[last] + share * (found[last + 1] - found[last])
            threshold[row] = self.thresholds[last] + share * (
                self.thresholds[last + 1] - self.thresholds[last]
            )
        return tar, threshold


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
    _check(counts)
    seen = _whole(counts)
    rng = np.random.default_rng(seed)
    values = {name: float(value[0]) for name, value in _metrics(seen, fars, thresholds, functions).items()}
    limits = _limits(seen, fars, thresholds)
    parts = [
        _metrics(_weighed(counts, weights), fars, thresholds, functions)
        for weights in resampled(len(counts.negative), n, rng)
    ]
    twice = _metrics(_weighed(counts, 1 + _groups(len(counts.negative), rng)), fars, thresholds, functions)
    found: dict[str, Interval] = {}
    for name, value in values.items():
        moved = np.concatenate([part[name] for part in parts]) - value
        moved, influence = moved[~np.isnan(moved)], twice[name] - value
        known = limits.get(name, (-np.inf, np.inf))
        if not len(moved) or not (moved.any() or np.isfinite(known).all()):
            continue
        ends = confidence(
            np.array([value]),
            value + moved[:, None] * counts.share**0.5,
            (influence - np.nanmean(influence))[:, None],
            np.array(known)[:, None],
            level,
        )
        low, high = (float(end[0]) - value for end in ends)
        found[name] = low, high
    return found


def _groups(identities: int, rng: np.random.Generator) -> np.ndarray:
    """Which identities are in each of at most `GROUPS` random groups, 1 or 0, [G, C]."""
    size = min(identities, GROUPS)
    group = rng.permutation(identities) % size
    return (np.arange(size)[:, None] == group).astype(np.float64)


def _limits(
    whole: _Curves, fars: Sequence[float], thresholds: Sequence[float]
) -> dict[str, tuple[float, float]]:
    """The least and the most that shares can be; at a rate, where no positive pair is accepted, and where all
    are."""
    found = dict.fromkeys(("auc", "eer"), (0.0, 1.0))
    for threshold in thresholds:
        found.update(
            dict.fromkeys((f"{kind}@threshold={threshold:g}" for kind in ("far", "tar")), (0.0, 1.0))
        )
    for place, far in enumerate(fars):
        none, all_ = (_decided(whole, far, np.array([tar]), place == 0) for tar in (0.0, 1.0))
        for name in none:
            least, most = sorted((float(none[name][0]), float(all_[name][0])))
            found[name] = least, most
    return found


def pair_influences(counts: IdentityCounts, fars: Sequence[float]) -> dict[str, np.ndarray]:
    """The influence of each identity on `auc`, `eer` and what is decided at rates, [C] each (see `Estimate`).

    Pairs are weighed as in `bootstrap_pairs`. More false accepts of an identity move the threshold along the
    ROC curve, whose slope is taken between half and twice the rate. Where only a share of the identities was
    counted, influences shrink with its square root.

    Raises:
        ValueError: fewer than three identities, or pairs of one kind only.
    """
    _check(counts)
    whole = _whole(counts)
    (negative,), (positive,) = _totals(counts, np.ones((1, len(counts.negative))))
    raised = _Curves.of(
        counts.thresholds, negative + STEP * counts.negative, positive + STEP * counts.positive
    )
    far, tar = (
        (np.pad(each, ((0, 0), (1, 0))) - np.pad(own, ((0, 0), (1, 0)))) / STEP
        for each, own in ((raised.far, whole.far), (raised.tar, whole.tar))
    )
    rates, found = np.append(0, whole.far[0]), np.append(0, whole.tar[0])

    def along(rate: float, values: np.ndarray) -> np.ndarray:
        """Values by threshold [C, T + 1] where the false accept rate is this."""
        after = int(np.clip(np.searchsorted(rates, rate), 1, len(rates) - 1))
        width = rates[after] - rates[after - 1]
        share = (rate - rates[after - 1]) / width if width > 0 else 1.0
        return values[:, after - 1] + share * (values[:, after] - values[:, after - 1])

    def slope(rate: float) -> float:
        ends = rate / 2, min(2 * rate, 1.0)
        return float(np.diff(np.interp(ends, rates, found))[0] / (ends[1] - ends[0]))

    equal = max(float(_eer(rates[None], found[None])[0]), rates[rates > 0].min())
    moved = {
        "auc": (_auc(raised) - _auc(whole)) / STEP,
        "eer": (slope(equal) * along(equal, far) - along(equal, tar)) / (1 + slope(equal)),
    }
    for place, rate in enumerate(fars):
        accepted = whole.at_far(rate)[0]
        of_accepted = along(rate, tar) - slope(rate) * along(rate, far) if rate > 0 else along(rate, tar)
        before = _decided(whole, rate, accepted, place == 0)
        after = _decided(raised, rate, accepted + STEP * of_accepted, place == 0)
        moved.update({name: (after[name] - value) / STEP for name, value in before.items()})
    idle = ~(counts.negative[:, -1] + counts.positive[:, -1]).astype(bool)
    return {name: np.where(idle, np.nan, each * counts.share**0.5) for name, each in moved.items()}


def _check(counts: IdentityCounts) -> None:
    identities = len(counts.negative)
    if identities < 3 or not counts.negative[:, -1].any() or not counts.positive[:, -1].any():
        raise ValueError(f"verification: {identities} identities; intervals need 3, and both kinds of pairs")


def _whole(counts: IdentityCounts) -> _Curves:
    """Each identity once."""
    return _weighed(counts, np.ones((1, len(counts.negative))))


def _weighed(counts: IdentityCounts, weights: np.ndarray) -> _Curves:
    """Rates when each identity counts as often as `weights` [B, C] says."""
    return _Curves.of(counts.thresholds, *_totals(counts, weights))


def _totals(counts: IdentityCounts, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (weights - 0.5) @ counts.negative, weights @ counts.positive


def _metrics(
    curves: _Curves,
    fars: Sequence[float],
    thresholds: Sequence[float],
    functions: Mapping[str, Function] | None = None,
) -> dict[str, np.ndarray]:
    """Every metric of each resample, [B]."""
    far, tar = (np.pad(each, ((0, 0), (1, 0))) for each in (curves.far, curves.tar))
    found = {
        "auc": _auc(curves),
        "eer": _eer(far, tar),
        **_distances(curves),
    }
    for place, rate in enumerate(fars):
        found.update(_at_far(curves, rate, place == 0))
    for threshold in thresholds:
        place = int(np.argmin(np.abs(curves.thresholds - threshold)))
        found[f"far@threshold={threshold:g}"] = curves.far[:, place]
        found[f"tar@threshold={threshold:g}"] = curves.tar[:, place]
    return {**found, **_of_functions(curves, functions or {})}


def _at_far(curves: _Curves, far: float, first: bool) -> dict[str, np.ndarray]:
    """What is decided at a false accept rate, and at which threshold."""
    tar, threshold = curves.at_far(far)
    return {f"threshold@far={far:g}": threshold, **_decided(curves, far, tar, first)}


def _decided(curves: _Curves, far: float, tar: np.ndarray, first: bool) -> dict[str, np.ndarray]:
    """What is decided where so many positive pairs are accepted, [B]."""
    mark = f"@far={far:g}"
    right, wrong = tar * curves.positives, far * curves.negatives
    accuracy = (right + curves.negatives - wrong) / (curves.positives + curves.negatives)
    found = {
        f"tar{mark}": tar,
        f"fnmr{mark}": 1 - tar,
        f"pair_accuracy{mark}": accuracy,
        f"pair_precision{mark}": right / np.maximum(right + wrong, 1e-300),
        f"pair_recall{mark}": tar,
        f"pair_f1{mark}": 2 * right / (right + wrong + curves.positives),
    }
    return {**found, "accuracy": accuracy, "balanced_accuracy": (tar + 1 - far) / 2} if first else found


def _auc(curves: _Curves) -> np.ndarray:
    far, tar = (np.pad(each, ((0, 0), (1, 0))) for each in (curves.far, curves.tar))
    return ((far[:, 1:] - far[:, :-1]) * (tar[:, 1:] + tar[:, :-1]) / 2).sum(axis=1)


def _distances(curves: _Curves) -> dict[str, np.ndarray]:
    """Mean and standard deviation of the distances of both kinds of pairs."""
    cosine = 1 - curves.centres
    found: dict[str, np.ndarray] = {}
    for kind, rates in (("positive", curves.tar), ("negative", curves.far)):
        shares = np.diff(rates, axis=1, prepend=0.0)
        for name, values in (("cosine", cosine), ("euclidean", np.sqrt(np.maximum(2 * cosine, 0)))):
            mean = shares @ values
            found[f"{kind}_{name}_mean"] = mean
            found[f"{kind}_{name}_std"] = np.sqrt(np.maximum(shares @ values**2 - mean**2, 0))
    return found


def _of_functions(curves: _Curves, functions: Mapping[str, Function]) -> dict[str, np.ndarray]:
    """Other metrics, resample by resample."""
    found: dict[str, list[float]] = {}
    for row in range(len(curves.far) if functions else 0):
        pairs = curves.pairs(row)
        for name, function in functions.items():
            try:
                given = function(pairs=pairs)
            except ValueError:
                given = float("nan")
            for key, value in (given if isinstance(given, Mapping) else {name: given}).items():
                found.setdefault(key, []).append(float(value))
    return {name: np.array(values) for name, values in found.items()}


def _eer(far: np.ndarray, tar: np.ndarray) -> np.ndarray:
    gap = far - (1 - tar)
    after = np.maximum((gap >= 0).argmax(axis=1), 1)
    rows = np.arange(len(far))
    before = after - 1
    rise = gap[rows, after] - gap[rows, before]
    share = np.where(rise > 0, -gap[rows, before] / np.where(rise > 0, rise, 1), 0)
    return far[rows, before] + share * (far[rows, after] - far[rows, before])
