"""Numbers that know what each identity adds to them: their intervals, and a table to compare models by."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from lookalike.evaluation.verification import Value, clip_interval
from lookalike.metrics.estimate import Estimate, estimate_intervals
from lookalike.metrics.records import record_of


def add_estimates(
    values: Mapping[str, Value], numbers: Mapping[str, float], seed: int
) -> dict[str, Estimate]:
    """Give those that know the influence of identities their intervals; returns those to compare by.

    Args:
        values: by name; those that get an interval are changed.
        numbers: the same as they were measured.
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
    """One line an identity: its label, and what each metric would be if all were like it (pseudo-values)."""
    columns: dict[str, np.ndarray] = {}
    for name, estimate in estimates.items():
        columns[name] = np.full(len(names), np.nan)
        values = estimate.pseudo_values[: len(names)]
        columns[name][: len(values)] = values
    labels = names.astype(str).tolist() if names.dtype == object else names
    return pl.DataFrame({"label": labels, **columns}).with_columns(pl.col(list(columns)).fill_nan(None))
