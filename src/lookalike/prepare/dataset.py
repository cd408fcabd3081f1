"""From the rows of a source to a dataset: leave out unusable images, clip boxes, split the rows."""

import logging
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from lookalike.data.checking import BOX
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.prepare.boxes import problems_of_differing_boxes, split_locations
from lookalike.prepare.files import FileCheck
from lookalike.prepare.naming import ASIDE, EMPTY, UNLISTED, UNREAD, count_noun
from lookalike.prepare.splits.assigned import Split, order_columns, warn_of_shared

log = logging.getLogger(__name__)


def with_sizes(table: Table, file_checks: Iterable[FileCheck]) -> tuple[Table, list[Problem], list[Problem]]:
    """The rows whose image can be read, with columns width and height; the others; and boxes that were
    clipped.

    A box that extends beyond its image is clipped; a row whose box is outside is left out.

    Args:
        table: rows of the source; location columns, see `split_locations`, are removed.
        file_checks: the result of checking the file of each row.
    """
    columns = [(check.width, check.height, check.reason or None) for check in file_checks]
    sizes = pl.DataFrame(
        columns, schema={"width": pl.Int32, "height": pl.Int32, "reason": pl.String}, orient="row"
    )
    frame, locations = split_locations(table.frame.with_columns(sizes["width"], sizes["height"]))
    paths, reasons = frame["path"], sizes["reason"]
    off = cut = pl.repeat(None, len(frame), dtype=pl.String, eager=True)
    if "x1" in frame.columns:
        outside = (pl.col("x1") >= pl.col("width")) | (pl.col("y1") >= pl.col("height"))
        reason = pl.format(
            "box starts at {} {}, outside the image of {} × {} pixels", "x1", "y1", "width", "height"
        )
        off = frame.select(reason=pl.when(outside).then(reason))["reason"]
        cut = frame.select(_boxes_cut_off())["cut"]
    good = reasons.is_null() & off.is_null()
    problems = [
        locations.problem(row, paths[row], reasons[row])
        if reasons[row]
        else locations.box_problem(row, paths[row], off[row])
        for row in (~good).arg_true()
    ]
    rows, remaining = good.arg_true(), frame.filter(good)
    if "x1" in remaining.columns:
        remaining = _clip_boxes(remaining)
        same = problems_of_differing_boxes(remaining)
        found_problems = zip(rows.filter(same.is_not_null()), same.drop_nulls(), strict=True)
        problems += [locations.box_problem(row, paths[row], reason) for row, reason in found_problems]
        rows, remaining = rows.filter(same.is_null()), remaining.filter(same.is_null())
    shortened = [locations.box_problem(row, paths[row], cut[row]) for row in rows if cut[row] is not None]
    return Table(remaining, table.folder), problems, shortened


def _boxes_cut_off() -> pl.Expr:
    """The remark on a box that extends beyond its image."""
    x1, y1, x2, y2 = (pl.col(name) for name in BOX)
    over = (x1 < 0) | (y1 < 0) | (x2 > pl.col("width")) | (y2 > pl.col("height"))
    box = pl.format("box {} {} {} {} of an image of {} × {} pixels", *BOX, "width", "height")
    return pl.when(over).then(box + pl.lit(": clipped at its border")).alias("cut")


def _clip_boxes(frame: pl.DataFrame) -> pl.DataFrame:
    """Boxes clipped to their images."""
    x1, y1, x2, y2 = (pl.col(name) for name in BOX)
    right, bottom = pl.min_horizontal(x2, "width"), pl.min_horizontal(y2, "height")
    return frame.with_columns(
        x1=x1.clip(lower_bound=0).floor().cast(pl.Int32),
        y1=y1.clip(lower_bound=0).floor().cast(pl.Int32),
        x2=pl.when(x2.is_not_null()).then(right.ceil()).cast(pl.Int32),
        y2=pl.when(y2.is_not_null()).then(bottom.ceil()).cast(pl.Int32),
    )


def refuse_unusable(table: Table, problems: list[Problem], max_share: float, source: str) -> None:
    """Reject a dataset if too few images are usable.

    Raises:
        DataError: more than the share `max_share` of the images are lost, or all classes but one. Empty
            folders, whose names end in a slash, unlisted or unsupported files, and empty rows do not count.
    """
    lost = len({(problem.path, problem.row) for problem in problems if _is_lost(problem)})
    total = lost + len(table)
    if not len(table) or lost > max_share * total:
        raise DataError(
            f"{source}: {lost:,} of {count_noun(total, 'image')} cannot be used, more than "
            f"max_skipped={max_share:g} allows:",
            problems,
        )
    classes = table.frame["label"].unique()
    if len(classes) < 2:
        raise DataError(
            f"{source}: one class, {str(classes[0])!r} ({count_noun(len(table), 'image')}), is the only "
            "usable one; at least two are needed",
            problems,
        )


def _is_lost(problem: Problem) -> bool:
    """Whether a problem loses an image that was expected to be used."""
    reason = problem.reason
    other = reason in (UNLISTED, EMPTY) or reason.startswith(ASIDE) or UNREAD in reason
    return not other and not problem.path.endswith("/")


def to_warn_of(problems: list[Problem]) -> list[Problem]:
    """The problems without files that are obviously not images."""
    return [one for one in problems if not one.reason.startswith(ASIDE)]


def with_split(table: Table, split: Split) -> Table:
    """The table with its own split, or a new one; the column order is path, label, split, and the rest."""
    if "split" in table.frame.columns:
        log.info(
            "the data has a split, which is kept: split=, val=, test= and seed= are ignored; "
            "`lookalike prepare split` makes a new split of a prepared dataset"
        )
        warn_of_shared(table.frame)
        return order_columns(table)
    return order_columns(split(table))


def move_pairs(pairs: pl.DataFrame, table: Table, folder: Path) -> pl.DataFrame:
    """Pairs with paths relative to `folder`, without those that lost an image.

    Args:
        pairs: path_a, path_b (paths of the current table), and more.
        table: the rows that are kept.
        folder: the folder of the new table.
    """
    moved = dict(zip(table.frame["path"], table.relative_to(folder).frame["path"], strict=True))
    paths = pl.col("path_a", "path_b")
    remaining = pairs.filter(pl.all_horizontal(paths.is_in(list(moved))))
    if len(remaining) < len(pairs):
        log.warning("%s left out: an image is missing", count_noun(len(pairs) - len(remaining), "pair"))
    return remaining.with_columns(paths.replace(moved))
