"""Numbers that know what each identity adds to them: their intervals, and a table to compare models by."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from lookalike.metrics.estimate import Estimate, estimate_intervals
from lookalike.metrics.records import record_of
from lookalike.protocols.verified import Value, within


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
        values[name].update(within(name, *ends))
    return {
        name: each
        for name, each in numbers.items()
        if isinstance(each, Estimate) and ((record := record_of(name)) is None or record.tested)
    }


def by_identity(names: np.ndarray, estimates: Mapping[str, Estimate]) -> pl.DataFrame:
    """One line an identity: its label, and what each metric would be if all were like it (pseudo-values)."""
    columns: dict[str, np.ndarray] = {}
    for name, each in estimates.items():
        columns[name] = np.full(len(names), np.nan)
        there = each.pseudo_values[: len(names)]
        columns[name][: len(there)] = there
    labels = names.astype(str).tolist() if names.dtype == object else names
    return pl.DataFrame({"label": labels, **columns}).with_columns(pl.col(list(columns)).fill_nan(None))
