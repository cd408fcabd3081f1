"""Intervals of verification metrics: a bootstrap over identities that weighs pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lookalike.metrics.pair_counts import IdentityCounts

CELLS = 1 << 22
"""Weights held at once: resamples × identities."""

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class _Curves:
    """Rates of each resample at each threshold, [B, T], and its number of pairs of each kind, [B]."""

    thresholds: np.ndarray
    far: np.ndarray
    tar: np.ndarray
    negatives: np.ndarray
    positives: np.ndarray

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
        fars: rates for `tar@far=F`, `threshold@far=F`, `fnmr@far=F`.
        thresholds: for `far@threshold=T` and `tar@threshold=T`.
        n: resamples.
        seed: the same seed gives the same interval.
        level: share of resamples inside.

    Returns:
        By name of the metric; also `auc` and `eer`, and `accuracy` and `balanced_accuracy` at the first rate.

    Raises:
        ValueError: fewer than three identities, or pairs of one kind only.
    """
    identities = len(counts.negative)
    if identities < 3 or not counts.negative[:, -1].any() or not counts.positive[:, -1].any():
        raise ValueError(f"verification: {identities} identities; intervals need 3, and both kinds of pairs")
    seen = _metrics(_curves(counts, np.ones((1, identities))), fars, thresholds)
    drawn = _metrics(_resampled(counts, n, np.random.default_rng(seed)), fars, thresholds)
    ends = [(1 - level) / 2, (1 + level) / 2]
    shrunk = counts.share**0.5
    return {
        name: tuple((np.quantile(values - seen[name][0], ends) * shrunk).tolist())  # pyrefly: ignore
        for name, values in drawn.items()
    }


def _resampled(counts: IdentityCounts, n: int, rng: np.random.Generator) -> _Curves:
    size = len(counts.negative)
    step = max(1, CELLS // size)
    parts = []
    for start in range(0, n, step):
        resamples = min(step, n - start)
        drawn = rng.integers(size, size=(resamples, size)) + np.arange(resamples)[:, None] * size
        weights = np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size)
        parts.append(_curves(counts, weights.astype(np.float64)))
    return _Curves(
        counts.thresholds,
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("far", "tar", "negatives", "positives")
        ),
    )


def _curves(counts: IdentityCounts, weights: np.ndarray) -> _Curves:
    """Rates when each identity counts as often as `weights` [B, C] says."""
    negative = np.maximum.accumulate(np.maximum((weights - 0.5) @ counts.negative, 0), axis=1)
    positive = weights @ counts.positive
    negatives, positives = (np.maximum(each[:, -1], 1e-300) for each in (negative, positive))
    return _Curves(
        counts.thresholds, negative / negatives[:, None], positive / positives[:, None], negatives, positives
    )


def _metrics(curves: _Curves, fars: Sequence[float], thresholds: Sequence[float]) -> dict[str, np.ndarray]:
    """Every metric of each resample, [B]."""
    far, tar = (np.pad(each, ((0, 0), (1, 0))) for each in (curves.far, curves.tar))
    found = {
        "auc": ((far[:, 1:] - far[:, :-1]) * (tar[:, 1:] + tar[:, :-1]) / 2).sum(axis=1),
        "eer": _eer(far, tar),
    }
    for place, rate in enumerate(fars):
        accepted, threshold = curves.at_far(rate)
        found[f"tar@far={rate:g}"], found[f"threshold@far={rate:g}"] = accepted, threshold
        found[f"fnmr@far={rate:g}"] = 1 - accepted
        if place == 0:
            pairs = curves.negatives + curves.positives
            found["accuracy"] = (accepted * curves.positives + (1 - rate) * curves.negatives) / pairs
            found["balanced_accuracy"] = (accepted + 1 - rate) / 2
    for threshold in thresholds:
        place = int(np.argmin(np.abs(curves.thresholds - threshold)))
        found[f"far@threshold={threshold:g}"] = curves.far[:, place]
        found[f"tar@threshold={threshold:g}"] = curves.tar[:, place]
    return found


def _eer(far: np.ndarray, tar: np.ndarray) -> np.ndarray:
    gap = far - (1 - tar)
    after = np.maximum((gap >= 0).argmax(axis=1), 1)
    rows = np.arange(len(far))
    before = after - 1
    rise = gap[rows, after] - gap[rows, before]
    share = np.where(rise > 0, -gap[rows, before] / np.where(rise > 0, rise, 1), 0)
    return far[rows, before] + share * (far[rows, after] - far[rows, before])
