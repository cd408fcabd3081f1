"""Means by the values of a column: by identity, camera, style, or whatever a table says."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from lookalike.metrics.bootstrap import bootstrap_interval


def mean_by_column(
    columns: Mapping[str, np.ndarray], values: pl.Series, codes: np.ndarray, seed: int | None = 0
) -> pl.DataFrame:
    """One line a value of a column: how many queries and identities, and the mean of each metric.

    Args:
        columns: metric to one value a query, [Q]; NaN where there is none.
        values: the column's value of each query, [Q]; queries without one make a line of their own, null.
        codes: identity of each query, [Q].
        seed: of the 95 % intervals (`_low`, `_high`), by bootstrap over identities, absent where there is
        but one
            identity; None for no intervals.
    """
    matrix = np.stack(list(columns.values()), axis=1)
    groups = pl.DataFrame({values.name: values, "place": np.arange(len(values))})
    rows = []
    for (value,), group in groups.group_by(values.name, maintain_order=True):
        row_numbers = group["place"].to_numpy()
        scored_rows = row_numbers[~np.isnan(matrix[row_numbers]).any(axis=1)]
        row = {
            values.name: value,
            "queries": len(scored_rows),
            "identities": len(np.unique(codes[scored_rows])),
        }
        rows.append({**row, **_means(list(columns), matrix[scored_rows], codes[scored_rows], seed)})
    schema = {values.name: values.dtype, "queries": pl.Int64, "identities": pl.Int64}
    names = [
        name
        for name in columns
        for name in ([name] if seed is None else [name, f"{name}_low", f"{name}_high"])
    ]
    frame = pl.DataFrame(rows, schema={**schema, **dict.fromkeys(names, pl.Float64)}, orient="row")
    return frame.sort(values.name, nulls_last=True)


def _means(
    names: list[str], matrix: np.ndarray, codes: np.ndarray, seed: int | None
) -> dict[str, float | None]:
    if not len(matrix):
        return {}
    means: dict[str, float | None] = dict(zip(names, matrix.mean(axis=0).tolist(), strict=True))
    if seed is not None and len(np.unique(codes)) > 1:
        low, high = bootstrap_interval(matrix, codes, seed=seed, shares=True)
        means.update({f"{name}_low": float(end) for name, end in zip(names, low, strict=True)})
        means.update({f"{name}_high": float(end) for name, end in zip(names, high, strict=True)})
    return means
