"""Split by time: train on the oldest images, test on the newest."""

import logging
from dataclasses import dataclass

import numpy as np
import polars as pl

from lookalike.data.table import Table
from lookalike.errors import DataError
from lookalike.prepare.naming import count_noun
from lookalike.prepare.splits.assigned import assign_splits
from lookalike.prepare.splits.shares import check_shares

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Time:
    """The newest days are tested on, those before them validate, and all older ones are trained on.

    No day is in two splits. Identities may be: the scores are about known identities at a later time.

    Attributes:
        val: share of the images.
        test: share of the images.
        column: with dates or times, as such or as text in ISO 8601 form (`2024-05-31`, `2024-05-31
            12:30:00`); images without one are trained on.
    """

    val: float = 0.1
    test: float = 0.2
    column: str = "date"

    def __post_init__(self) -> None:
        check_shares(self.val, self.test)

    def __call__(self, table: Table) -> Table:
        """The table with a new split.

        Raises:
            DataError: there is no such column, or it holds no dates, or a single day.
        """
        days = read_days(table, self.column)
        known = days.drop_nulls()
        if known.n_unique() < 2:
            raise DataError(f"split=time: column {self.column!r} holds fewer than two days")
        if len(known) < len(days):
            missing = count_noun(len(days) - len(known), "image has", "images have")
            log.warning("split=time: %s no date in column %r: in train", missing, self.column)
        counts = known.value_counts().sort(known.name)
        newer = counts["count"].reverse().cum_sum().reverse().to_numpy() / len(table)
        splits = np.where(newer <= self.test, "test", np.where(newer <= self.test + self.val, "val", "train"))
        split_of_day = dict(zip(counts[known.name], splits.tolist(), strict=True))
        self._report(split_of_day)
        return assign_splits(table, [split_of_day.get(day, "train") for day in days])

    def _report(self, split_of_day: dict) -> None:
        for name, share in (("val", self.val), ("test", self.test)):
            days = [day for day, split in split_of_day.items() if split == name]
            if days:
                log.info("split=time: %s from %s to %s", name, min(days), max(days))
            elif share:
                log.warning("split=time: %s stays empty: its share is smaller than the newest day", name)


def read_days(table: Table, column: str) -> pl.Series:
    """The day of each row; null where there is none.

    Raises:
        DataError: there is no such column, or a text in it is no date; names rows.
    """
    if column not in table.frame.columns:
        raise DataError(
            f"{table.folder}: no column {column!r}; it has {', '.join(table.frame.columns)}. split.column= "
            "names the one with dates"
        )
    values = table.frame[column]
    if values.dtype in (pl.Date, pl.Datetime):
        return values.cast(pl.Date)
    texts = values.cast(pl.String).str.strip_chars().replace("", None)
    days = texts.str.slice(0, 10).str.replace_all(r"[:/.]", "-").str.to_date("%Y-%m-%d", strict=False)
    bad = (texts.is_not_null() & days.is_null()).arg_true()
    if len(bad):
        raise DataError(
            f"{table.folder}: {len(bad)} values of column {column!r} are not dates such as 2024-05-31, the "
            f"first of them {texts[bad[0]]!r} in row {bad[0]}"
        )
    return days
