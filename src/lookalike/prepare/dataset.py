"""From the rows of a source to a dataset: unusable pictures left out, boxes fitted, rows split."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from lookalike.data.checking import BOX, SPLITS
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.prepare.files import Seen
from lookalike.prepare.naming import counted
from lookalike.prepare.splits import class_disjoint, within_class

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shares:
    """How rows are split that bring no split."""

    by: Literal["classes", "images"] = "classes"
    val: float = 0.1
    test: float = 0.2
    seed: int = 0


def with_sizes(table: Table, seen: Iterable[Seen]) -> tuple[Table, list[Problem]]:
    """The rows whose picture can be read, with columns width and height, and the others.

    A box that sticks out of its picture is cut off at the border; one that lies outside leaves its row out.

    Args:
        table: rows as the source found them.
        seen: what was found in the file of each row.
    """
    columns = [(one.width, one.height, one.reason or None) for one in seen]
    sizes = pl.DataFrame(
        columns, schema={"width": pl.Int32, "height": pl.Int32, "reason": pl.String}, orient="row"
    )
    frame = table.frame.with_columns(sizes["width"], sizes["height"])
    reasons = sizes["reason"]
    if "x1" in frame.columns:
        outside = (pl.col("x1") >= pl.col("width")) | (pl.col("y1") >= pl.col("height"))
        said = pl.format(
            "box begins at {} {}, outside of the image of {} × {} pixels", "x1", "y1", "width", "height"
        )
        reasons = reasons.fill_null(frame.select(reason=pl.when(outside).then(said))["reason"])
        frame = _fitted(frame.with_columns(reason=reasons)).drop("reason")
    paths, good = frame["path"], reasons.is_null()
    problems = [Problem(paths[row], reasons[row]) for row in (~good).arg_true()]
    return Table(frame.filter(good), table.folder), problems


def _fitted(frame: pl.DataFrame) -> pl.DataFrame:
    """Boxes cut off at the borders of their pictures."""
    over = (pl.col("x2") > pl.col("width")) | (pl.col("y2") > pl.col("height"))
    count = frame.filter(over & pl.col("reason").is_null()).height
    if count:
        log.info("%s cut off at the border of the image", counted(count, "box is", "boxes are"))
    x1, y1, x2, y2 = (pl.col(name) for name in BOX)
    right, bottom = pl.min_horizontal(x2, "width"), pl.min_horizontal(y2, "height")
    return frame.with_columns(
        x1=x1.floor().cast(pl.Int32),
        y1=y1.floor().cast(pl.Int32),
        x2=pl.when(x2.is_not_null()).then(right.ceil()).cast(pl.Int32),
        y2=pl.when(y2.is_not_null()).then(bottom.ceil()).cast(pl.Int32),
    )


def refuse_unusable(table: Table, problems: list[Problem], most: float, where: str) -> None:
    """Refuse a set of which too little is left.

    Raises:
        DataError: more than the share `most` of the images are lost (empty folders, whose names end in a
            slash, do not count), or all classes but one.
    """
    lost = len({(one.path, one.row) for one in problems if not one.path.endswith("/")})
    total = lost + len(table)
    if not len(table) or lost > most * total:
        raise DataError(
            f"{where}: {lost:,} of {counted(total, 'image')} cannot be used, more than "
            f"max_skipped={most:g} allows:",
            problems,
        )
    classes = table.frame["label"].unique()
    if len(classes) < 2:
        raise DataError(
            f"{where}: one class, {str(classes[0])!r} ({counted(len(table), 'image')}), is all that can be "
            "used; at least two are needed",
            problems,
        )


def with_split(table: Table, shares: Shares) -> Table:
    """The table with its own split, or a new one; the column order is path, label, split, and the rest."""
    frame = table.frame
    if "split" in frame.columns:
        log.info("the split that the data brings is kept: val, test and seed have no say")
        _warn_of_shared(frame)
    else:
        frame = frame.with_columns(split=pl.Series(_split(table, shares), dtype=pl.String))
    first = ["path", "label", "split"]
    return Table(frame.select(*first, pl.exclude(first)), table.folder)


def _split(table: Table, shares: Shares) -> np.ndarray:
    labels = table.labels
    if table.frame["label"].is_unique().all():
        raise DataError(
            f"each of the {len(table):,} classes has a single image: nothing can be learnt or found. Are the "
            "labels identities, or file names?"
        )
    if shares.by == "images":
        rows = table.frame.select("path", *(name for name in BOX if name in table.frame.columns)).iter_rows()
        return within_class(labels, map(str, rows), shares.val, shares.test, shares.seed)
    return class_disjoint(labels, shares.val, shares.test, shares.seed)


def _warn_of_shared(frame: pl.DataFrame) -> None:
    train = frame.filter(pl.col("split") == "train")["label"].unique()
    for name in SPLITS[1:]:
        other = frame.filter(pl.col("split") == name)["label"].unique()
        shared = len(other.filter(other.is_in(train.implode())))
        if shared:
            log.warning(
                "%s of %s are in train too: scores on it are not about identities never seen",
                f"{shared:,} of the {len(other):,} identities",
                name,
            )


def moved_pairs(pairs: pl.DataFrame, table: Table, folder: Path) -> pl.DataFrame:
    """Pairs of images with the paths that a table in `folder` has; those that lost an image are left out.

    Args:
        pairs: path_a, path_b (paths of the table as it is), and more.
        table: the rows that are kept.
        folder: where the table will lie.
    """
    moved = dict(zip(table.frame["path"], table.relative_to(folder).frame["path"], strict=True))
    paths = pl.col("path_a", "path_b")
    kept = pairs.filter(pl.all_horizontal(paths.is_in(list(moved))))
    if len(kept) < len(pairs):
        log.warning("%s left out: an image is missing", counted(len(pairs) - len(kept), "pair"))
    return kept.with_columns(paths.replace(moved))


def summary(table: Table) -> str:
    """Images and identities of each split, in words."""
    parts = []
    for name in SPLITS:
        labels = table.frame.filter(pl.col("split") == name)["label"]
        if len(labels):
            identities = counted(labels.n_unique(), "identity", "identities")
            parts.append(f"{name} {counted(len(labels), 'image')} of {identities}")
    return ", ".join(parts)
