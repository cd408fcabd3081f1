"""A user's table to a dataset table: CSV, Parquet or Feather, with any column names.

Also reads `dataset_info.csv` of easy_metric_learning: file_name, label, bbox (`x1 y1 x2 y2`), is_test.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import polars as pl

from lookalike.data.box_columns import BoxColumns
from lookalike.data.checking import BOX, check_frame, shorten_middle
from lookalike.data.columns import ROLE_NAMES, ROLES, SPLIT_NAMES, Columns, find_columns, flagged_split
from lookalike.data.formats import ENDINGS
from lookalike.data.reading import read_frame
from lookalike.data.table import Table, as_frame
from lookalike.errors import DataError, Problem, one_per_row
from lookalike.prepare.box_reading import BoxRules, Kind, Relative, with_boxes
from lookalike.prepare.boxes import ROW, begins_inside
from lookalike.prepare.download.shards import resolve_files
from lookalike.prepare.labels import (
    drop_unlabelled,
    resolve_similar_labels,
    restore_whole_numbers,
    warn_of_similar_labels,
)
from lookalike.prepare.naming import EMPTY, UNLISTED, count_noun

log = logging.getLogger(__name__)
Column = dict[int, str]
BROKEN = "label contains a line break; a quotation mark may be unbalanced"
KEYS = (*ROLES, "box")


@dataclass(frozen=True)
class Reading:
    """How to read the columns of a table.

    Attributes:
        columns: the user's column for each of ours, None for none.
        boxes: format of the boxes.
        names: what to do with near-identical labels: refuse, merge or keep.
        nothing: what to do with labels like NaN: leave_out or keep.
        unlisted: also list images below the folder that no row refers to.
    """

    columns: Mapping[str, Any] = field(default_factory=dict)
    boxes: BoxRules = field(default_factory=BoxRules)
    names: str = "keep"
    nothing: str = "leave_out"
    unlisted: bool = False


def table(
    file: Path,
    root: Path | None = None,
    path: str | None = None,
    label: str | None = None,
    split: str | None = None,
    columns: dict[str, Any] | None = None,
    box: Kind | None = None,
    relative: Relative | None = None,
    names: Literal["refuse", "merge", "keep"] = "keep",
    nothing: Literal["leave_out", "keep"] = "leave_out",
    unlisted: bool = False,
) -> tuple[Table, list[Problem]]:
    """The usable rows of a table file, and a problem for each other row.

    What each column is used for is logged. A column is recognised by our name for it, in any case and
    punctuation, or by another common name. If several columns qualify, or an unused one looks as if it should
    be used, the table is rejected with the keys that resolve this.

    Args:
        file: .csv, .tsv, .parquet or .feather.
        root: folder that paths are relative to; by default the folder of the table.
        path: column of image files; null for one with a common name.
        label: column of labels; null for one with a common name.
        split: column of splits; null for one that contains train, val and test.
        columns: any of path, label, split, role, group, fold and box, each with the name of its column, or
            null to read none; box has one column or four.
        box: box format: xyxy (left top right bottom), xywh (left top width height) or cxcywh (centre, width
            and height); null to infer it from the column names, or the only format that fits the images.
        relative: false for pixels, true for fractions of the image, 100 for percent, 1000 for thousandths;
            null for fractions if all numbers are from 0 to 1, otherwise pixels.
        names: labels that differ only in case, surrounding spaces or Unicode form: reject the table, merge
            them into one class, or keep them apart.
        nothing: labels like NaN, null and None: leave their rows out, or keep them as names.
        unlisted: also list images below `root` that no row refers to.

    Raises:
        DataError: the file is not a table, a column is missing or ambiguous, or no row is usable.
        ValueError: `columns` has an unknown key.
    """
    file = Path(file).expanduser()
    folder = file.parent if root is None else Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"source.root={folder}: there is no such folder")
    provided = named_columns(columns, path=path, label=label, split=split)
    frame = read_frame(file, texts_of(provided))
    return usable_rows(
        frame, file, folder, Reading(provided, BoxRules(box, relative), names, nothing, unlisted)
    )


def table_in_memory(
    source: object,
    root: Path | None = None,
    path: str | None = None,
    label: str | None = None,
    split: str | None = None,
    columns: dict[str, Any] | None = None,
    box: Kind | None = None,
    relative: Relative | None = None,
    names: Literal["refuse", "merge", "keep"] = "keep",
    nothing: Literal["leave_out", "keep"] = "leave_out",
    unlisted: bool = False,
) -> tuple[Table, list[Problem]]:
    """`table` for a table or frame in memory: a `Table`, a polars or pandas frame, or a dict of columns."""
    rows = source if isinstance(source, Table) else Table(as_frame(source))
    folder = rows.folder if root is None else Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    provided = named_columns(columns, path=path, label=label, split=split)
    reading = Reading(provided, BoxRules(box, relative), names, nothing, unlisted)
    return usable_rows(rows.frame, Path("table"), folder, reading)


def named_columns(columns: Mapping[str, Any] | None, **single: str | None) -> dict[str, Any]:
    """The user's choice of columns, from `columns` and from the keys of single columns.

    Raises:
        ValueError: a name is unknown, or is given twice.
    """
    provided = dict(columns or {})
    strange = [name for name in provided if name not in (*KEYS, *single)]
    if strange:
        raise ValueError(f"columns={{{strange[0]}: …}}: must be one of {', '.join(KEYS)}")
    four = provided.get("box")
    if isinstance(four, list | tuple) and len(four) not in (1, 4):
        raise ValueError(f"columns={{box: {four}}}: must be one column, or four")
    for name, theirs in single.items():
        if theirs is None:
            continue
        if provided.get(name, theirs) != theirs:
            raise ValueError(
                f"columns={{{name}: {provided[name]}}}: but {name}={theirs}; give one of the two"
            )
        provided[name] = theirs
    return provided


def texts_of(provided: Mapping[str, Any]) -> list[str]:
    """Columns that are text, even if they look like numbers."""
    return [str(theirs) for ours, theirs in provided.items() if ours != "box" and theirs is not None]


def usable_rows(
    frame: pl.DataFrame, file: Path, folder: Path, reading: Reading
) -> tuple[Table, list[Problem]]:
    """The usable rows of a table, and the others with the reason. See `table`."""
    if frame.is_empty():
        raise DataError(f"{file}: the table has no rows; its columns are {', '.join(frame.columns)}")
    columns = find_columns(frame, file, reading.columns)
    empty = dict.fromkeys(_empty_labels(frame), EMPTY)
    frame = _rename_columns(frame, file, columns)
    frame = restore_whole_numbers(frame, file)
    frame, wrong = _with_splits(frame, file, columns)
    frame = _with_roles(frame)
    frame = _with_slashes(_without_scheme(_drop_unknown_sizes(frame)), folder)
    frame = _unify_spelling(_with_endings(frame, file, folder), folder)
    boxes, rules = _box_rules(columns, frame, file, reading.boxes)
    frame, bad_boxes = with_boxes(frame, boxes, rules, file, folder)
    if reading.nothing == "leave_out":
        wrong |= drop_unlabelled(frame["label"])
    if file.suffix.lower() in (".csv", ".tsv"):
        wrong |= dict.fromkeys(_broken_labels(frame["label"]), BROKEN)
    frame = resolve_similar_labels(frame, file, reading.names)
    result, problems = usable(frame, folder, file.name, wrong | bad_boxes | empty)
    return result, [*problems, *(_unlisted_images(frame, folder) if reading.unlisted else [])]


def _box_rules(
    columns: Columns, frame: pl.DataFrame, file: Path, rules: BoxRules
) -> tuple[BoxColumns | None, BoxRules]:
    """Box columns and format; easy_metric_learning writes corners in pixels."""
    theirs = file.name == "dataset_info.csv" or {"is_test", "hash"} <= set(frame.columns)
    known = theirs and columns.used["path"] == "file_name"
    if known and columns.boxes is not None and columns.boxes.names == ("bbox",):
        is_given = rules.relative is not None
        return BoxColumns(("bbox",), "xyxy"), rules if is_given else BoxRules(rules.kind, relative=False)
    return columns.boxes, rules


def _empty_labels(frame: pl.DataFrame) -> list[int]:
    """Rows that are empty in all columns, as in exported spreadsheets."""
    words = [name for name, kind in frame.schema.items() if kind == pl.String]
    tidy = frame.with_columns(pl.when(pl.col(words).str.strip_chars() != "").then(pl.col(words)))
    return tidy.select(pl.all_horizontal(pl.all().is_null())).to_series().arg_true().to_list()


def _broken_labels(labels: pl.Series) -> list[int]:
    """Labels with a line break."""
    if labels.dtype != pl.String:
        return []
    return labels.str.contains(r"[\r\n]").fill_null(False).arg_true().to_list()


def _unlisted_images(frame: pl.DataFrame, folder: Path) -> list[Problem]:
    """Images below the folder that no row refers to."""
    from lookalike.prepare.scanning import images_below

    listed_files = {os.path.realpath(folder / path) for path in frame["path"].drop_nulls()}
    paths = [path for path in images_below(folder) if os.path.realpath(folder / path) not in listed_files]
    return [Problem(path, UNLISTED) for path in paths]


def _rename_columns(frame: pl.DataFrame, file: Path, columns: Columns) -> pl.DataFrame:
    """Rename the user's columns to ours, dropping a column that has our name; log what is used."""
    boxes = columns.boxes.names if columns.boxes else ()
    gone = [name for name in columns.kept if name in (*ROLES, *BOX)]
    log.info("%s: %s", file, columns.report([*gone, "width", "height"]))
    hint = columns.camera_hint()
    if hint:
        log.info("%s: to make queries ignore images of their own camera or sequence, add %s", file, hint)
    taken = {*columns.used.values(), *gone}
    rest = [name for name in frame.columns if name not in taken or (name in boxes and name not in gone)]
    clash = [name for name in rest if name in columns.used and name not in columns.used.values()]
    ours = [pl.col(theirs).alias(name) for name, theirs in columns.used.items()]
    return frame.select(*ours, *(name for name in rest if name not in clash))


def _with_splits(frame: pl.DataFrame, file: Path, columns: Columns) -> tuple[pl.DataFrame, Column]:
    """The split as train, val, test, and query and gallery as roles; no split if its column is empty."""
    if columns.flags:
        return _with_flags(frame, columns.flags)
    if "split" not in columns.used:
        return frame, {}
    column = frame["split"].cast(pl.String).str.strip_chars()
    if (column.is_null() | (column == "")).all():
        log.info(
            "%s: its column %s is empty: the classes are split by val= and test=", file, columns.used["split"]
        )
        return frame.drop("split"), {}
    words = column.str.to_lowercase()
    roles = words.replace_strict(ROLE_NAMES, default=None, return_dtype=pl.String)
    if roles.drop_nulls().len():
        if "role" in frame.columns:
            raise DataError(
                f"{file}: its column {columns.used['split']} holds {roles.drop_nulls()[0]}, which is a "
                f"role, and there is "
                "also a column role; write train, val or test into the split, or ignore the roles: "
                "'source.columns={role: null}'"
            )
        log.info("%s: rows of split query and gallery become split test, with that role", file)
        frame = frame.with_columns(role=roles)
        words = words.replace(dict.fromkeys(ROLE_NAMES, "test"))
    splits = words.replace_strict(SPLIT_NAMES, default=None, return_dtype=pl.String).alias("split")
    column_name = columns.used["split"]
    renamed = sorted({word for word in words.drop_nulls() if SPLIT_NAMES.get(word, word) != word})
    if renamed:
        listed = ", ".join(f"{word} is {SPLIT_NAMES[word]}" for word in renamed)
        log.info("%s: column %s: %s", file, column_name, listed)
    wrong = {
        row: f"{column_name} {shorten_middle(str(column[row] or ''))!r}: must be train, val or test"
        for row in splits.is_null().arg_true().to_list()
    }
    if len(wrong) == len(frame):
        raise DataError(
            f"{file}: no row has a valid split; {wrong[0]}. Query and gallery are valid, too; "
            "'source.columns={split: null}' ignores the column"
        )
    return frame.with_columns(splits), wrong


FLAG_VALUES = {
    **dict.fromkeys(("0", "false", "0.0", "no"), False),
    **dict.fromkeys(("1", "true", "1.0", "yes"), True),
}


def _with_flags(frame: pl.DataFrame, flags: list[str]) -> tuple[pl.DataFrame, Column]:
    """The split from columns of 0 and 1, such as is_test.

    A row in train and one other split belongs to the other one. A row with 0 everywhere is in the split
    without a
    column: test if there is a column for train, otherwise train.
    """
    wrong: Column = {}
    ones = dict[str, pl.Series]()
    for name in flags:
        text = frame[name].cast(pl.String).str.strip_chars()
        on = text.str.to_lowercase().replace_strict(FLAG_VALUES, default=None, return_dtype=pl.Boolean)
        for row in on.is_null().arg_true().to_list():
            wrong.setdefault(row, f"{name} {shorten_middle(text[row] or '')!r}: must be 0 or 1")
        ones[flagged_split(name)] = on.fill_null(False)
    rest = None if {"train", "test"} <= set(ones) else "test" if "train" in ones else "train"
    split = pl.Series("split", [rest] * len(frame), dtype=pl.String)
    for name in ("train", "val", "test"):
        if name in ones:
            split = split.zip_with(
                ~ones[name], pl.Series([name], dtype=pl.String).new_from_index(0, len(frame))
            )
    for row in split.is_null().arg_true().to_list():
        wrong.setdefault(row, f"is in no split according to {', '.join(flags)}")
    if {"val", "test"} <= set(ones):
        for row in (ones["val"] & ones["test"]).arg_true().to_list():
            wrong.setdefault(row, f"is in val and in test according to {', '.join(flags)}")
    return frame.with_columns(split), wrong


def _with_roles(frame: pl.DataFrame) -> pl.DataFrame:
    """Roles in lower case, with synonyms replaced."""
    if frame.schema.get("role") != pl.String:
        return frame
    plain = pl.col("role").str.strip_chars().str.to_lowercase()
    return frame.with_columns(
        role=pl.when(plain.is_in(list(ROLE_NAMES))).then(plain.replace(ROLE_NAMES)).otherwise(pl.col("role"))
    )


def _without_scheme(frame: pl.DataFrame) -> pl.DataFrame:
    """Paths written as file:///photos/a%20b.jpg."""
    if frame["path"].dtype != pl.String or not frame["path"].str.starts_with("file://").any():
        return frame
    log.info("paths that start with file:// are read as local paths")
    plain = [
        unquote(path.removeprefix("file://")) if path and path.startswith("file://") else path
        for path in frame["path"]
    ]
    return frame.with_columns(path=pl.Series(plain, dtype=pl.String))


def _drop_unknown_sizes(frame: pl.DataFrame) -> pl.DataFrame:
    """Some tools write −1 for an unknown size."""
    columns = [
        pl.col(name)
        for name in ("width", "height")
        if name in frame.columns and frame[name].dtype.is_numeric()
    ]
    return frame.with_columns(pl.when(column > 0).then(column) for column in columns)


def _with_slashes(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Convert Windows paths."""
    if frame["path"].dtype != pl.String:
        return frame
    rows = frame["path"].str.contains("\\", literal=True).fill_null(False).arg_true()
    if rows.is_empty() or os.path.lexists(folder / frame["path"][rows[0]]):
        return frame
    log.info("backslashes in paths are read as slashes")
    return frame.with_columns(pl.col("path").str.replace_all("\\", "/", literal=True))


def _with_endings(frame: pl.DataFrame, file: Path, folder: Path) -> pl.DataFrame:
    """Complete paths without an extension by that of the only image with this name."""
    if frame["path"].dtype != pl.String:
        return frame
    bare = [path for path in frame["path"].drop_nulls().unique(maintain_order=True) if _lacks_ending(path)]
    stems: dict[str, dict[str, list[str]]] = {}
    full = dict[str, str]()
    for path in bare:
        parent, name = os.path.split(path)
        if parent not in stems:
            stems[parent] = _images_by_stem(folder / parent)
        images = stems[parent].get(name, [])
        if len(images) == 1 and not os.path.lexists(folder / path):
            full[path] = path + images[0]
    if not full:
        return frame
    endings = ", ".join(sorted({full[path].removeprefix(path) for path in full}))
    log.info("%s: the extension is missing in %d paths and is added: %s", file, len(full), endings)
    return frame.with_columns(pl.col("path").replace(full))


def _lacks_ending(path: str) -> bool:
    return bool(path.strip()) and "\0" not in path and Path(path).suffix.lower() not in ENDINGS


def _images_by_stem(folder: Path) -> dict[str, list[str]]:
    """Extensions of the images in a folder, by file stem."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a large folder
    except (OSError, ValueError):
        return {}
    stems: dict[str, list[str]] = {}
    for name in names:
        stem, ending = os.path.splitext(name)  # noqa: PTH122 - a large folder
        if ending.lower() in ENDINGS:
            stems.setdefault(stem, []).append(ending)
    return stems


def _unify_spelling(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """One spelling per file: normalised paths; of several that lead to one file, the first."""
    if frame["path"].dtype != pl.String:
        return frame
    plain = pl.col("path").str.replace_all(r"/(\./)+", "/").str.replace(r"^(\./)+(.)", "${2}")
    frame = frame.with_columns(plain)
    paths = frame.select("path").unique(maintain_order=True)
    paths = paths.filter(~pl.col("path").str.contains("\0", literal=True))
    files, file_index = resolve_files(Table(paths, folder))
    if len(files) == len(paths):
        return frame
    first = paths.with_columns(file=file_index).select("path", first=pl.col("path").first().over("file"))
    return frame.with_columns(pl.col("path").replace(first["path"], first["first"]))


def usable(frame: pl.DataFrame, folder: Path, name: str, wrong: Column) -> tuple[Table, list[Problem]]:
    """The valid rows, and the problems of the others."""
    known = (
        frame.with_columns(split=pl.col("split").fill_null("train"))
        if "split" in frame.columns
        else (frame.with_columns(split=pl.lit("train")))
    )
    problems = check_frame(begins_inside(known), folder, name)
    whole = [problem for problem in problems if problem.row is None]
    if whole:
        raise DataError(f"{name} cannot be used:", whole)
    found_wrong = ((one.row, one.reason) for one in problems if one.row is not None)
    reasons = [*wrong.items(), *((row, why) for row, why in found_wrong if wrong.get(row) != EMPTY)]
    bad = {row for row, _ in reasons}
    paths = frame["path"]
    result = one_per_row(
        Problem(
            shorten_middle(paths[row] or name),
            reason.removeprefix(f"{shorten_middle(paths[row] or '')}: "),
            row,
        )
        for row, reason in sorted(reasons)
    )
    if len(bad) == len(frame):
        raise DataError(
            f"{name}: none of its {count_noun(len(frame), 'row')} can be used; paths are relative to "
            f"{folder}, or "
            "to source.root=:",
            result,
        )
    _warn_of_parts(frame, name)
    good = pl.Series([row not in bad for row in range(len(frame))], dtype=pl.Boolean)
    warn_of_similar_labels(frame.select(pl.when(good).then(pl.col("label")))["label"], name)
    return Table(frame.with_row_index(ROW).filter(good), folder), result


def _warn_of_parts(frame: pl.DataFrame, name: str) -> None:
    """Warn if many rows refer to one image and there are no boxes."""
    again = len(frame) - frame["path"].n_unique()
    if "x1" not in frame.columns and again > 1 and again > len(frame) / 10:
        log.warning(
            "%s: %d rows refer to the same image as another row, and there are no boxes. If each refers to a "
            "region of its "
            "image, add columns x1 y1 x2 y2, or name the existing ones: 'source.columns={box: [left, "
            "top, right, "
            "bottom]}'",
            name,
            again,
        )
