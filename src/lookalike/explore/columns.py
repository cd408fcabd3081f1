"""Columns of a table as the page shows them: as classes, as numbers, or as text."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from lookalike.data.checking import BOX
from lookalike.data.table import Table
from lookalike.prepare.patch.paths import short_paths as short_paths

MOST_CLASSES = 5000
"""Maximum number of distinct values of a column, other than the label, to colour by."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: its name.
        kind: category, number or text.
        values: classes of a category, or the text of each row.
        codes: class index of each row of a category, uint32; values of a number, float64.
    """

    name: str
    kind: str
    values: list[str]
    codes: np.ndarray | None


def page_columns(table: Table, further: Mapping[str, np.ndarray]) -> list[Column]:
    """The label, then every other column that can be shown, then further numbers or classes of each row."""
    frame = table.frame.drop("path", *BOX, strict=False)
    frame = frame.select("label", pl.exclude("label"))
    columns = [_describe_column(frame[name], is_label=name == "label") for name in frame.columns]
    more = [
        _describe_column(pl.Series(name, values))
        for name, values in further.items()
        if name not in frame.columns
    ]
    return [column for column in columns + more if column is not None]


def _describe_column(series: pl.Series, is_label: bool = False) -> Column | None:
    name, kind = series.name, series.dtype
    if not is_label and kind.is_numeric() and (kind.is_float() or series.n_unique() > 30):
        numbers = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
        return Column(
            name, "number", [], np.ascontiguousarray(np.where(np.isfinite(numbers), numbers, np.nan))
        )
    if kind.is_nested() or kind == pl.Binary:
        return None
    texts = series.cast(pl.String).fill_null("")
    classes = texts.unique().sort()
    if not is_label and (len(classes) > MOST_CLASSES or len(classes) > len(texts) / 2 > 5):
        return Column(name, "text", texts.to_list(), None)
    codes_by_class = dict(zip(classes, range(len(classes)), strict=True))
    codes = texts.replace_strict(codes_by_class, return_dtype=pl.UInt32).to_numpy()
    return Column(name, "category", classes.to_list(), codes)


def boxes_of(table: Table) -> list[list[float] | None] | None:
    """The box of each row; None if no row has one."""
    if "x1" not in table.frame.columns:
        return None
    rows = table.frame.select(BOX).rows()
    return [None if row[0] is None else list(row) for row in rows]
