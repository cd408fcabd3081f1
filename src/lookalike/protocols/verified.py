"""Verification metrics over pairs, with their intervals, named as metrics.json has them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lookalike.metrics.pair_counts import IdentityCounts, thresholds_for
from lookalike.metrics.pair_interval import bootstrap_pairs
from lookalike.metrics.verification import Pairs, auc, distances, histogram, tar_at_far

Value = dict[str, float]


def verified_over(
    pairs: Pairs, fars: Sequence[float], coarse: bool
) -> tuple[dict[str, Value], dict[str, Any], list[str]]:
    """Metrics over all pairs, the histogram of their similarities, and what is absent and why."""
    shown: dict[str, Any] = {**histogram(pairs), "threshold": None, "far": fars[0] if fars else None}
    found: dict[str, float] = {}
    absent: list[str] = []
    try:
        found["auc"] = auc(pairs)
    except ValueError as error:
        absent = [f"no verification: {error}"]
    for far in fars if found else ():
        try:
            point = tar_at_far(pairs, far, coarse)
        except ValueError as error:
            absent.append(f"no true accept rate, threshold and accuracy: {error}")
            continue
        found[f"tar@far={far:g}"], found[f"threshold@far={far:g}"] = point.tar, point.threshold
        if shown["threshold"] is None:
            found["accuracy"], found["balanced_accuracy"] = point.accuracy, point.balanced_accuracy
            shown["threshold"], shown["far"] = point.threshold, far
    found.update(distances(pairs))
    return {name: {"value": value} for name, value in found.items()}, shown, absent


def add_intervals(
    values: dict[str, Value],
    pairs: Pairs,
    count: Callable[[np.ndarray], IdentityCounts],
    fars: Sequence[float],
    threshold: float | None,
    seed: int | None,
) -> list[str]:
    """Give the metrics of pairs their intervals, and the rates at a threshold; returns what is absent and
    why.

    Args:
        values: by name; those that get an interval are changed.
        pairs: all of them.
        count: counts pairs by identity above thresholds.
        fars: the rates in `values`.
        threshold: whose `operating_far` and `operating_tar` are added; None for none.
        seed: of the bootstrap; None for no intervals.
    """
    wanted = [far for far in fars if f"tar@far={far:g}" in values]
    if "auc" not in values or (seed is None and threshold is None):
        return []
    extra = [] if threshold is None else [threshold]
    counts = count(thresholds_for(pairs, wanted, extra))
    if threshold is not None:
        place = int(np.argmin(np.abs(counts.thresholds - threshold)))
        values["operating_threshold"] = {"value": threshold}
        for name, each in (("operating_far", counts.negative), ("operating_tar", counts.positive)):
            values[name] = {"value": float(each[:, place].sum() / each[:, -1].sum())}
    sampled = _sampled(counts, pairs, threshold, seed)
    if seed is None:
        return sampled
    try:
        found = bootstrap_pairs(counts, wanted, extra, seed=seed)
    except ValueError as error:
        return [f"no intervals of {error}"]
    for name, (low, high) in found.items():
        name = name if "threshold=" not in name else f"operating_{name[:3]}"
        if name in values:
            value, least = values[name]["value"], -1.0 if name.startswith("threshold") else 0.0
            values[name].update(low=max(least, value + low), high=min(1.0, value + high))
    return sampled


def _sampled(counts: IdentityCounts, pairs: Pairs, threshold: float | None, seed: int | None) -> list[str]:
    """What is said where not all pairs were counted by identity."""
    share = counts.negative[:, -1].sum() / 2 / pairs.negative.sum()
    if share > 1 - 1e-9:
        return []
    what = ["the intervals of verification metrics"] if seed is not None else []
    what += ["operating_far and operating_tar"] if threshold is not None else []
    return [f"from a sample of {share:.2%} of the different pairs: {', '.join(what)}"]
