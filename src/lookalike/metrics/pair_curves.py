"""Verification metrics of many resamples at once, from the rates of each at some thresholds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lookalike.metrics.records import rate_name
from lookalike.metrics.verification import Pairs

Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Curves:
    """Rates of each resample at each threshold, [B, T], and its number of pairs of each kind, [B]."""

    thresholds: np.ndarray
    far: np.ndarray
    tar: np.ndarray
    negatives: np.ndarray
    positives: np.ndarray

    @classmethod
    def from_counts(cls, thresholds: np.ndarray, negative: np.ndarray, positive: np.ndarray) -> "Curves":
        """Of the numbers of pairs accepted at each threshold, [B, T]."""
        negative = np.maximum.accumulate(np.maximum(negative, 0), axis=1)
        negatives, positives = (np.maximum(counts[:, -1], 1e-300) for counts in (negative, positive))
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

    def tar_at_far(self, far: float) -> tuple[np.ndarray, np.ndarray]:
        """True accept rate and threshold where each resample's false accept rate is `far`, [B] each."""
        tar, threshold = np.empty(len(self.far)), np.empty(len(self.far))
        for row, (rates, curve) in enumerate(zip(self.far, self.tar, strict=True)):
            last = int(np.searchsorted(rates, far, side="right")) - 1
            if last < 0 or last + 1 == len(rates):
                last = min(max(last, 0), len(rates) - 1)
                tar[row], threshold[row] = curve[last], self.thresholds[last]
                continue
            share = (far - rates[last]) / (rates[last + 1] - rates[last])
            tar[row] = curve[last] + share * (curve[last + 1] - curve[last])
            threshold[row] = self.thresholds[last] + share * (
                self.thresholds[last + 1] - self.thresholds[last]
            )
        return tar, threshold


def curve_metrics(
    curves: Curves,
    fars: Sequence[float],
    thresholds: Sequence[float],
    functions: Mapping[str, Function] | None = None,
) -> dict[str, np.ndarray]:
    """Every metric of each resample, [B]."""
    far, tar = (np.pad(rates, ((0, 0), (1, 0))) for rates in (curves.far, curves.tar))
    values = {
        "auc": area_under_curve(curves),
        "eer": equal_error_rate(far, tar),
        **_pair_statistics(curves),
    }
    for index, rate in enumerate(fars):
        values.update(_at_far(curves, rate, index == 0))
    for threshold in thresholds:
        index = int(np.argmin(np.abs(curves.thresholds - threshold)))
        values[f"far@threshold={threshold:g}"] = curves.far[:, index]
        values[f"tar@threshold={threshold:g}"] = curves.tar[:, index]
    return {**values, **_values_of_functions(curves, functions or {})}


def _at_far(curves: Curves, far: float, first: bool) -> dict[str, np.ndarray]:
    """What is decided at a false accept rate, and at which threshold."""
    tar, threshold = curves.tar_at_far(far)
    return {f"threshold@far={rate_name(far)}": threshold, **metrics_at_threshold(curves, far, tar, first)}


def metrics_at_threshold(curves: Curves, far: float, tar: np.ndarray, first: bool) -> dict[str, np.ndarray]:
    """What is decided where so many positive pairs are accepted, [B]."""
    mark = f"@far={rate_name(far)}"
    right, wrong = tar * curves.positives, far * curves.negatives
    accuracy = (right + curves.negatives - wrong) / (curves.positives + curves.negatives)
    values = {
        f"tar{mark}": tar,
        f"fnmr{mark}": 1 - tar,
        f"pair_accuracy{mark}": accuracy,
        f"pair_precision{mark}": right / np.maximum(right + wrong, 1e-300),
        f"pair_recall{mark}": tar,
        f"pair_f1{mark}": 2 * right / (right + wrong + curves.positives),
    }
    return {**values, "accuracy": accuracy, "balanced_accuracy": (tar + 1 - far) / 2} if first else values


def area_under_curve(curves: Curves) -> np.ndarray:
    """Area under each ROC curve, [B]."""
    far, tar = (np.pad(rates, ((0, 0), (1, 0))) for rates in (curves.far, curves.tar))
    return ((far[:, 1:] - far[:, :-1]) * (tar[:, 1:] + tar[:, :-1]) / 2).sum(axis=1)


def _pair_statistics(curves: Curves) -> dict[str, np.ndarray]:
    """Mean and standard deviation of similarity and Euclidean distance of both kinds of pairs."""
    similarity = curves.centres
    euclidean = np.sqrt(np.maximum(2 - 2 * similarity, 0))
    means: dict[str, np.ndarray] = {}
    for kind, rates in (("positive", curves.tar), ("negative", curves.far)):
        shares = np.diff(rates, axis=1, prepend=0.0)
        for name, values, offset in (("similarity", similarity, 1.0), ("euclidean", euclidean, 0.0)):
            means[f"{kind}_{name}_mean"] = shares @ values
            distances = values - offset  # small where vectors are close, so that little is lost to rounding
            variance = shares @ distances**2 - (shares @ distances) ** 2
            means[f"{kind}_{name}_std"] = np.sqrt(np.maximum(variance, 0))
    return means


def _values_of_functions(curves: Curves, functions: Mapping[str, Function]) -> dict[str, np.ndarray]:
    """Other metrics, resample by resample."""
    values: dict[str, list[float]] = {}
    for row in range(len(curves.far) if functions else 0):
        pairs = curves.pairs(row)
        for name, function in functions.items():
            try:
                result = function(pairs=pairs)
            except ValueError:
                result = float("nan")
            for key, value in (result if isinstance(result, Mapping) else {name: result}).items():
                values.setdefault(key, []).append(float(value))
    return {name: np.array(values) for name, values in values.items()}


def equal_error_rate(far: np.ndarray, tar: np.ndarray) -> np.ndarray:
    """Equal error rate of each curve [B, T], whose first point accepts nothing, [B]."""
    gap = far - (1 - tar)
    after = np.maximum((gap >= 0).argmax(axis=1), 1)
    rows = np.arange(len(far))
    before = after - 1
    rise = gap[rows, after] - gap[rows, before]
    share = np.where(rise > 0, -gap[rows, before] / np.where(rise > 0, rise, 1), 0)
    return far[rows, before] + share * (far[rows, after] - far[rows, before])
