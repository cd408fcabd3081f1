"""Filters the rows of a table by lists, image size and class size."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from lookalike.data.checking import BOX
from lookalike.data.table import Table
from lookalike.errors import DataError, list_problems
from lookalike.prepare.lists import find_listed_rows
from lookalike.prepare.naming import count_noun
from lookalike.prepare.splits.assigned import hash_names
from lookalike.prepare.splits.shares import shuffle_by_hash

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Filters:
    """The filters, in the order in which they are applied.

    Attributes:
        keep: list of labels or paths; only these are kept.
        drop: list of labels or paths to remove.
        min_side: minimum shorter side of an image, or of its box, in pixels.
        dedup: maximum number of differing bits in the 64-bit hashes of copies of a photo; of the copies in a
            class the largest is kept.
        min_images: minimum number of images of a class.
        max_images: maximum number of images of a class, chosen at random.
        seed: of that choice.
        workers: processes that read images for `dedup`; 0 for none, None for one per core.
        progress: whether to show a progress bar.
    """

    keep: Path | None = None
    drop: Path | None = None
    min_side: int = 0
    dedup: int | None = None
    min_images: int = 1
    max_images: int | None = None
    seed: int = 0
    workers: int | None = 0
    progress: bool = False


def filter_table(
    table: Table, filters: Filters, of: Sequence[str] | None = None
) -> tuple[Table, pl.DataFrame]:
    """The rows that are kept, and the removed ones as path, label, row and reason.

    Args:
        table: the rows.
        filters: the conditions.
        of: the splits to filter; rows of other splits are kept. None for all.

    Raises:
        DataError: a list cannot be read or matches nothing, image sizes are needed but unknown, or no row is
            left.
    """
    inside = np.arange(len(table)) if of is None else _rows_of(table, of)
    reasons: dict[int, str] = {}
    steps = (_rows_not_listed, _rows_to_drop, _small_images, _copies, _rows_of_rare_classes, _surplus_rows)
    for reasons_of in steps:
        rows = inside[[row not in reasons for row in inside.tolist()]]
        if not len(rows):
            break
        part = table.take(rows)
        part_reasons = reasons_of(part, filters)
        reasons |= {int(rows[index]): reason for index, reason in part_reasons.items()}
        _log_removed(part, part_reasons)
    if len(reasons) == len(table):
        raise DataError(f"{table.folder}: nothing is left of {count_noun(len(table), 'image')}")
    gone = sorted(reasons)
    left_out = (
        table.frame[gone]
        .select("path", "label")
        .with_columns(
            row=pl.Series(gone, dtype=pl.Int64),
            reason=pl.Series([reasons[row] for row in gone], dtype=pl.String),
        )
    )
    remaining = table.take(np.setdiff1d(np.arange(len(table)), gone))
    if remaining.frame["label"].n_unique() == 1:
        log.warning(
            "only one class is left, %r; at least two are needed to train or search",
            remaining.frame["label"][0],
        )
    return remaining, left_out


def _rows_of(table: Table, of: Sequence[str]) -> np.ndarray:
    table.split(*of)
    return np.flatnonzero(table.frame["split"].is_in(list(of)).to_numpy())


def _log_removed(table: Table, reasons: dict[int, str]) -> None:
    if not reasons:
        return
    rest = np.setdiff1d(np.arange(len(table)), list(reasons))
    labels = table.frame["label"]
    classes = labels.n_unique() - labels[rest].n_unique()
    kind = next(iter(reasons.values())).rpartition(": ")[2]
    also = f", including all of {count_noun(classes, 'class', 'classes')}" if classes else ""
    log.info("%s: %s left out%s", kind, count_noun(len(reasons), "image"), also)


def _rows_not_listed(table: Table, filters: Filters) -> dict[int, str]:
    if filters.keep is None:
        return {}
    rows = _listed_rows(table, filters.keep)
    return dict.fromkeys(np.flatnonzero(~rows).tolist(), f"not on the list: keep={filters.keep}")


def _rows_to_drop(table: Table, filters: Filters) -> dict[int, str]:
    if filters.drop is None:
        return {}
    rows = _listed_rows(table, filters.drop)
    return dict.fromkeys(np.flatnonzero(rows).tolist(), f"on the list: drop={filters.drop}")


def _listed_rows(table: Table, file: Path) -> np.ndarray:
    rows, problems = find_listed_rows(table, file)
    if problems:
        subject = count_noun(len(problems), "entry names", "entries name")
        log.warning("%s: %s nothing, or more than one file:%s", file, subject, list_problems(problems))
    return rows


def _small_images(table: Table, filters: Filters) -> dict[int, str]:
    if filters.min_side <= 1:
        return {}
    across, down = _sides(table.frame)
    short = np.minimum(across, down)
    return {
        int(row): f"{across[row]:.0f} × {down[row]:.0f} pixels: min_side={filters.min_side}"
        for row in np.flatnonzero(short < filters.min_side)
    }


def _sides(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of each image, or of its box."""
    if not all(name in frame.columns and _are_numbers(frame[name]) for name in ("width", "height")):
        raise DataError(
            "min_side needs the columns width and height for every image; "
            "`lookalike prepare source=table …` measures them"
        )
    across, down = pl.col("width"), pl.col("height")
    if set(BOX) <= set(frame.columns):
        x1, y1, x2, y2 = map(pl.col, BOX)
        across, down = pl.coalesce(x2 - x1, across), pl.coalesce(y2 - y1, down)
    sizes = frame.select(across=across.cast(pl.Float64), down=down.cast(pl.Float64))
    return sizes["across"].to_numpy(), sizes["down"].to_numpy()


def _are_numbers(sizes: pl.Series) -> bool:
    """Whether all of them are numbers."""
    return sizes.dtype.is_numeric() and not sizes.is_null().any() and bool(sizes.is_finite().all())


def _copies(table: Table, filters: Filters) -> dict[int, str]:
    """The copies of a larger image of the same class."""
    if filters.dedup is None:
        return {}
    from lookalike.prepare.duplicates.copies import copy_groups, find_copies
    from lookalike.prepare.duplicates.signatures import read_signatures

    signatures = read_signatures(table, workers=filters.workers, progress=filters.progress)
    if signatures.problems:
        unread = count_noun(len(signatures.problems), "image")
        log.warning("dedup: %s cannot be read, and stay:%s", unread, list_problems(signatures.problems))
    classes = np.unique(table.labels, return_inverse=True)[1]
    copies = find_copies(table, signatures, filters.dedup, within=classes)
    paths = table.frame["path"]
    return {
        row: f"copy of {paths[largest]}: dedup={filters.dedup}"
        for largest, *others in copy_groups(copies, signatures)
        for row in others
    }


def _rows_of_rare_classes(table: Table, filters: Filters) -> dict[int, str]:
    if filters.min_images <= 1:
        return {}
    sizes = table.frame.select(pl.len().over("label")).to_series().to_numpy()
    return {
        int(row): f"its class has {count_noun(int(sizes[row]), 'image')}: min_images={filters.min_images}"
        for row in np.flatnonzero(sizes < filters.min_images)
    }


def _surplus_rows(table: Table, filters: Filters) -> dict[int, str]:
    if filters.max_images is None:
        return {}
    order = shuffle_by_hash(range(len(table)), hash_names(table), filters.seed)
    position = table.frame[order].select(pl.int_range(pl.len()).over("label")).to_series().to_numpy()
    rows = np.array(order, np.int64)[position >= filters.max_images]
    return dict.fromkeys(rows.tolist(), f"beyond the limit of its class: max_images={filters.max_images}")
