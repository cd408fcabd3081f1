"""Shared by all splits: setting the columns, keeping the rows of other splits, reporting counts."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from lookalike.data.checking import BOX, SPLITS
from lookalike.data.table import Table
from lookalike.errors import DataError
from lookalike.prepare.download.shards import member_names, resolve_files
from lookalike.prepare.naming import count_noun

log = logging.getLogger(__name__)
Split = Callable[[Table], Table]
FIRST = ("path", "label", "split")


def assign_splits(table: Table, splits: Sequence[str] | np.ndarray) -> Table:
    """The table with the split of each row, [N]."""
    column = pl.Series("split", np.asarray(splits).tolist(), dtype=pl.String)
    return Table(table.frame.with_columns(column), table.folder)


def hash_names(table: Table) -> list[str]:
    """A unique name of each row, [N]: the file name as in a shard, and the box if there are boxes.

    Random choices by name therefore do not depend on the location of table and images, or on shards.
    """
    files, rows = resolve_files(table)
    names = pl.Series("path", member_names(files), dtype=pl.String).gather(rows)
    boxes = [pl.col(name).cast(pl.Float64) for name in BOX if name in table.frame.columns]
    return [str(row) for row in table.frame.with_columns(names).select("path", *boxes).iter_rows()]


def refuse_single_images(table: Table) -> None:
    """Reject a table in which no query could have a match.

    Raises:
        DataError: every class has a single image.
    """
    if table.frame["label"].is_unique().all():
        raise DataError(
            f"each of the {len(table):,} classes has a single image: nothing can be learned or retrieved. "
            f"Check "
            "that the labels are identities and not file names"
        )


def split_again(table: Table, split: Split, of: Sequence[str] | None = None) -> Table:
    """Split the rows of these splits again, keeping the order of rows and all other rows.

    Args:
        table: with a split.
        split: the new split.
        of: the splits to split again; None for all rows.

    Raises:
        DataError: there are no such rows.
    """
    if of is None:
        return order_columns(split(table))
    row = "row of the whole table"
    frame = table.frame.with_row_index(row)
    inside = Table(frame, table.folder).split(*of)
    rest = frame.filter(~pl.col("split").is_in(list(of)))
    both = pl.concat([split(inside).frame, rest], how="diagonal_relaxed")
    return order_columns(Table(both.sort(row).drop(row), table.folder))


def order_columns(table: Table) -> Table:
    """The columns path, label, split, and the rest."""
    return Table(table.frame.select(*FIRST, pl.exclude(FIRST)), table.folder)


def count_images(table: Table) -> pl.DataFrame:
    """Numbers of images and classes of each split, fold and role."""
    names = [name for name in ("split", "fold", "role") if name in table.frame.columns]
    counts = table.frame.group_by(names).agg(images=pl.len(), classes=pl.col("label").n_unique())
    split_order = pl.col("split").replace_strict(
        {name: split_order for split_order, name in enumerate(SPLITS)}, default=9
    )
    return counts.sort(split_order, *names[1:], nulls_last=True)


def summarise_counts(table: Table) -> str:
    """Numbers of images and identities of each split, in words."""
    parts = []
    for name in SPLITS:
        labels = table.frame.filter(pl.col("split") == name)["label"]
        if len(labels):
            identities = count_noun(labels.n_unique(), "identity", "identities")
            parts.append(f"{name} {count_noun(len(labels), 'image')} of {identities}")
    return ", ".join(parts)


def warn_of_shared(frame: pl.DataFrame) -> None:
    """Warn about identities and files that are in train and also in another split."""
    train = frame.filter(pl.col("split") == "train")
    for name in SPLITS[1:]:
        other = frame.filter(pl.col("split") == name)
        labels, files = other["label"].unique(), other["path"].unique()
        shared = int(labels.is_in(train["label"].unique().implode()).sum())
        if shared:
            log.warning(
                "%s of %s are also in train: scores on it are not for unseen identities",
                f"{shared:,} of the {len(labels):,} identities",
                name,
            )
        both = int(files.is_in(train["path"].unique().implode()).sum())
        if both:
            log.warning(
                "%s of %s %s also in train, with other boxes",
                *(count_noun(both, "file"), name, "is" if both == 1 else "are"),
            )
