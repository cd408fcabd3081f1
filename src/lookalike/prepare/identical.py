"""Identical images of a dataset under different labels, and in several splits."""

import logging
from pathlib import Path

import polars as pl

from lookalike.data.checking import BOX
from lookalike.data.table import Table
from lookalike.prepare.contents import same_files
from lookalike.prepare.naming import count_noun

log = logging.getLogger(__name__)
SHOWN = 3


def warn_of_identical(table: Table, out: Path) -> None:
    """Report how many images are byte-identical to another one, and whether labels or splits differ.

    This reveals identities that were entered twice, and test images that are also in training. Images with
    different boxes are different images.

    Args:
        table: with a split.
        out: the dataset folder, for the command that lists all copies.
    """
    groups = identical(table)
    if not groups:
        return
    labels, splits = (table.frame[name].to_list() for name in ("label", "split"))
    several = [rows for rows in groups if len({labels[row] for row in rows}) > 1]
    across = [rows for rows in groups if len({splits[row] for row in rows}) > 1]
    extra = sum(len(rows) - 1 for rows in groups)
    copies = f"{count_noun(extra, 'image is a copy', 'images are copies')} of another image, byte for byte"
    more = f"`lookalike prepare stats dataset={out} duplicates=true` lists all of them"
    if not several and not across:
        log.info("%s, in the same class and split; %s", copies, more)
        return
    parts = []
    if several:
        parts.append(f"{count_noun(len(several), 'image occurs', 'images occur')} under different labels")
    if across:
        parts.append(f"{count_noun(len(across), 'image occurs', 'images occur')} in several splits")
    shown = [_row_text(table, rows) for rows in dict.fromkeys(map(tuple, several + across))]
    lines = shown[:SHOWN] + ([f"and {len(shown) - SHOWN:,} more"] if len(shown) > SHOWN else [])
    log.warning(
        "%s: %s. An identity may have been entered twice, or training may contain test images:\n  %s\n%s; "
        "with a "
        "trained model, `lookalike plot plot=confusable` shows classes that look alike",
        *(copies, " and ".join(parts), "\n  ".join(lines), more),
    )


def identical(table: Table) -> list[list[int]]:
    """Rows of different files with the same bytes and box, in groups of two or more."""
    boxes = [name for name in BOX if name in table.frame.columns]
    paths = table.frame["path"].to_list()
    unique = list(dict.fromkeys(paths))
    try:
        groups = same_files([table.folder / path for path in unique])
    except OSError as error:
        log.warning("the search for identical images was skipped: %s", error)
        return []
    content = {unique[index]: number for number, positions in enumerate(groups) for index in positions}
    key = pl.Series("content", [content.get(path) for path in paths], dtype=pl.Int64)
    rows = table.frame.select(*boxes, key).with_row_index("row").filter(pl.col("content").is_not_null())
    result = rows.group_by("content", *boxes, maintain_order=True).agg("row")["row"].to_list()
    return [group for group in result if len({paths[row] for row in group}) > 1]


def _row_text(table: Table, rows: tuple[int, ...]) -> str:
    paths, labels, splits = (table.frame[name] for name in ("path", "label", "split"))
    names = [f"{paths[row]} ({labels[row]}, {splits[row]})" for row in rows[:SHOWN]]
    return " = ".join(names) + (f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else "")
