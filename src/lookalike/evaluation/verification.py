"""Verification metrics over pairs, with their intervals, named as in metrics.json."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from lookalike.metrics.estimate import Estimate, estimate_intervals
from lookalike.metrics.pair_counts import IdentityCounts, thresholds_for
from lookalike.metrics.pair_interval import bootstrap_pairs, pair_influences
from lookalike.metrics.records import limits_of, rate_name, record_of
from lookalike.metrics.verification import Pairs, auc, eer, histogram, pair_statistics, tar_at_far
from lookalike.metrics.verification_at_threshold import decided_at, fnmr_at

Value = dict[str, float]
Function = Callable[..., Any]

BUILT_IN = (eer, fnmr_at, decided_at)
"""Metrics of pairs that `bootstrap_pairs` computes itself."""


def verification_metrics(
    pairs: Pairs, fars: Sequence[float], coarse: bool
) -> tuple[dict[str, Value], dict[str, Any], list[str]]:
    """Metrics over all pairs, the histogram of their similarities, and notes on omitted metrics."""
    similarity_histogram: dict[str, Any] = {
        **histogram(pairs),
        "threshold": None,
        "far": fars[0] if fars else None,
    }
    values: dict[str, float] = {}
    absent: list[str] = []
    try:
        values["auc"] = auc(pairs)
    except ValueError as error:
        absent = [f"no verification: {error}"]
    for far in fars if values else ():
        try:
            point = tar_at_far(pairs, far, coarse)
        except ValueError as error:
            absent.append(f"no true accept rate, threshold and accuracy: {error}")
            continue
        values[f"tar@far={rate_name(far)}"], values[f"threshold@far={rate_name(far)}"] = (
            point.tar,
            point.threshold,
        )
        if similarity_histogram["threshold"] is None:
            values["accuracy"], values["balanced_accuracy"] = point.accuracy, point.balanced_accuracy
            similarity_histogram["threshold"], similarity_histogram["far"] = point.threshold, far
    values.update(pair_statistics(pairs))
    return {name: {"value": value} for name, value in values.items()}, similarity_histogram, absent


def add_intervals(
    values: dict[str, Value],
    pairs: Pairs,
    count: Callable[[np.ndarray], IdentityCounts],
    fars: Sequence[float],
    threshold: float | None,
    functions: Mapping[str, Function],
    seed: int | None,
) -> tuple[dict[str, Estimate], list[str]]:
    """Add intervals to the metrics of pairs, and the rates at a threshold.

    Args:
        values: by name; changed in place.
        pairs: all of them.
        count: counts pairs by identity above given thresholds.
        fars: the rates in `values`.
        threshold: whose `operating_far` and `operating_tar` are added; None for none.
        functions: further metrics of pairs that are in `values`, by name.
        seed: of the bootstrap; None for no intervals.

    Returns:
        The metrics with the influence of each identity, and notes on what is omitted.
    """
    rates = [far for far in fars if f"tar@far={rate_name(far)}" in values]
    if "auc" not in values or (seed is None and threshold is None):
        return {}, []
    extra = [] if threshold is None else [threshold]
    counts = count(thresholds_for(pairs, rates, extra))
    if threshold is not None:
        index = int(np.argmin(np.abs(counts.thresholds - threshold)))
        values["operating_threshold"] = {"value": threshold}
        for name, identity_counts in (("operating_far", counts.negative), ("operating_tar", counts.positive)):
            values[name] = {"value": float(identity_counts[:, index].sum() / identity_counts[:, -1].sum())}
    sampled = _sampling_note(counts, pairs, threshold, seed)
    if seed is None:
        return {}, sampled
    others = {
        name: identity_counts
        for name, identity_counts in functions.items()
        if getattr(identity_counts, "func", identity_counts) not in BUILT_IN
    }
    try:
        intervals = bootstrap_pairs(counts, rates, extra, others, seed=seed)
        moved = pair_influences(counts, rates)
    except ValueError as error:
        return {}, [*sampled, f"no intervals of {error}"]
    for name, (low, high) in intervals.items():
        name = name if "threshold=" not in name else f"operating_{name[:3]}"
        if name in values:
            values[name].update(
                clip_interval(name, values[name]["value"] + low, values[name]["value"] + high)
            )
    return _estimates(values, counts.codes, moved), sampled


def clip_interval(name: str, low: float, high: float) -> Value:
    """The interval, clipped to the limits of the metric."""
    lower, upper = limits_of(name)
    return {"low": float(max(lower, low)), "high": float(min(upper, high))}


def _estimates(
    values: Mapping[str, Value], codes: np.ndarray, moved: Mapping[str, np.ndarray]
) -> dict[str, Estimate]:
    """The metrics that can compare two models; distractors are left out."""
    is_known = codes >= 0
    estimates = {}
    for name, moved_value in moved.items():
        record = record_of(name)
        if name in values and (record is None or record.tested):
            influence = np.full(int(codes.max(initial=-1)) + 1, np.nan)
            influence[codes[is_known]] = moved_value[is_known]
            estimates[name] = Estimate(values[name]["value"], influence)
    return estimates


def _sampling_note(
    counts: IdentityCounts, pairs: Pairs, threshold: float | None, seed: int | None
) -> list[str]:
    """Note if only a sample of the pairs was counted by identity."""
    share = counts.different / pairs.negatives
    if share > 1 - 1e-9:
        return []
    subjects = ["the intervals of verification metrics"] if seed is not None else []
    subjects += ["operating_far and operating_tar"] if threshold is not None else []
    return [f"from a sample of {share:.2%} of the different pairs: {', '.join(subjects)}"]


def add_estimates(
    values: Mapping[str, Value], numbers: Mapping[str, float], seed: int
) -> dict[str, Estimate]:
    """Add intervals to the numbers with influences; returns those that can compare two models.

    Args:
        values: by name; changed in place.
        numbers: the same, as computed.
        seed: of the bootstrap.
    """
    for name, ends in estimate_intervals(numbers, seed=seed).items():
        values[name].update(clip_interval(name, *ends))
    return {
        name: estimate
        for name, estimate in numbers.items()
        if isinstance(estimate, Estimate) and ((record := record_of(name)) is None or record.tested)
    }


def identity_table(names: np.ndarray, estimates: Mapping[str, Estimate]) -> pl.DataFrame:
    """One row per identity: label, and each metric if all identities were like it (pseudo-values)."""
    columns: dict[str, np.ndarray] = {}
    for name, estimate in estimates.items():
        columns[name] = np.full(len(names), np.nan)
        values = estimate.pseudo_values[: len(names)]
        columns[name][: len(values)] = values
    labels = names.astype(str).tolist() if names.dtype == object else names
    return pl.DataFrame({"label": labels, **columns}).with_columns(pl.col(list(columns)).fill_nan(None))
