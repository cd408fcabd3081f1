"""The validation rules of a dataset table, applied to every row."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from lookalike.data.box_columns import BOX as BOX
from lookalike.data.shards import misplaced_reason, parse_member
from lookalike.errors import Problem

REQUIRED = ("path", "label", "split")
SPLITS = ("train", "val", "test")
ROLES = ("query", "gallery", "both", "distractor")
LABELS = (pl.String, pl.Int64, pl.UInt64)
LONGEST = 1000
"""Maximum length of a label."""

NOTHING = ("nan", "null", "none", "na", "n/a", "#n/a", "<na>", "nil")

Findings = Iterator[tuple[int, str]]


def check_frame(frame: pl.DataFrame, folder: Path, source_name: str, *, files: bool = True) -> list[Problem]:
    """All problems of a table, in the order of its rows; rows count from 0.

    Args:
        frame: the rows.
        folder: folder that paths are relative to.
        source_name: file name in the problems.
        files: also check that each file exists.
    """
    wrong = _columns(frame)
    if wrong:
        return [Problem(source_name, reason) for reason in wrong]
    rules = [*RULES, *([_find_missing_files(folder)] if files else [])]
    findings = [(row, reason) for rule in rules for row, reason in rule(frame)]
    return [
        Problem(source_name, reason, row) for row, reason in sorted(findings, key=lambda finding: finding[0])
    ]


def is_missing_text(labels: pl.Series) -> pl.Series:
    """Which labels are placeholders for missing values, such as NaN, null and None, [N] bool."""
    if labels.dtype != pl.String:
        return pl.repeat(False, len(labels), eager=True)
    return labels.str.strip_chars().str.to_lowercase().is_in(NOTHING).fill_null(False)


def shorten_middle(text: str, limit: int = 120) -> str:
    """The text, with its middle replaced by … if it is long."""
    return text if len(text) <= limit else f"{text[: limit - 40]}…{text[-39:]}"


def _columns(frame: pl.DataFrame) -> list[str]:
    """Problems of the table as a whole; rows are only checked if there are none."""
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        return [
            f"has no column {name}; its columns are {', '.join(frame.columns) or 'none'}" for name in missing
        ]
    wrong = [f"{name} must be text, not {kind}" for name, kind in _not_text(frame)]
    if frame.schema["label"] not in LABELS:
        kind = frame.schema["label"]
        wrong.append(f"label must be text or integers of up to 64 bits, not {kind}")
    boxes = [name for name in BOX if name in frame.columns]
    if boxes and len(boxes) < len(BOX):
        wrong.append(f"has {', '.join(boxes)} of the box columns {', '.join(BOX)}; all four or none")
    wrong += [
        f"{name} must be a number, not {frame.schema[name]}" for name in boxes if not _numeric(frame, name)
    ]
    return wrong or ([] if len(frame) else ["has no rows"])


def _not_text(frame: pl.DataFrame) -> list[tuple[str, pl.DataType]]:
    names = [name for name in ("path", "split", "role") if name in frame.columns]
    return [(name, frame.schema[name]) for name in names if frame.schema[name] != pl.String]


def _numeric(frame: pl.DataFrame, name: str) -> bool:
    return frame.schema[name].is_numeric() or frame.schema[name] == pl.Null


def _rows_with_reason(frame: pl.DataFrame, reason: pl.Expr) -> Findings:
    """The rows for which the expression returns a reason."""
    reasons = frame.select(reason.alias("reason")).with_row_index("row").drop_nulls("reason")
    yield from reasons.iter_rows()


def _find_empty(frame: pl.DataFrame) -> Findings:
    for name in REQUIRED:
        column = pl.col(name)
        blank = column.is_null()
        if frame.schema[name] == pl.String:
            blank = blank | (column.str.strip_chars() == "")
        yield from _rows_with_reason(frame, pl.when(blank).then(pl.lit(f"{name} is empty")))


def _find_zeros(frame: pl.DataFrame) -> Findings:
    """A NUL byte ends a file name, and is lost in NumPy text arrays."""
    for name in REQUIRED:
        if frame.schema[name] == pl.String:
            zero = pl.col(name).str.contains("\0", literal=True)
            yield from _rows_with_reason(frame, pl.when(zero).then(pl.lit(f"{name} contains a NUL byte")))


def too_long_reason(labels: pl.Series) -> pl.Series:
    """The reason for labels that are too long, [N]; null for all others."""
    if labels.dtype != pl.String:
        return pl.repeat(None, len(labels), dtype=pl.String, eager=True)
    length = labels.str.len_chars()
    reason = pl.format("label of {} characters; the maximum is {}", length, pl.lit(LONGEST))
    return pl.select(pl.when(length > LONGEST).then(reason)).to_series()


def _find_long_labels(frame: pl.DataFrame) -> Findings:
    yield from _rows_with_reason(frame, pl.lit(too_long_reason(frame["label"])))


def _find_unknown_names(frame: pl.DataFrame) -> Findings:
    for name, allowed in (("split", SPLITS), ("role", ROLES)):
        if name in frame.columns:
            column = pl.col(name)
            strange = column.is_not_null() & (column.str.strip_chars() != "") & ~column.is_in(allowed)
            reason = pl.format("{} '{}': must be {}", pl.lit(name), column, pl.lit(" | ".join(allowed)))
            yield from _rows_with_reason(frame, pl.when(strange).then(reason))


def check_boxes(frame: pl.DataFrame) -> Findings:
    """Invalid boxes of a table: incomplete, non-numeric, inverted, or outside the image."""
    if "x1" not in frame.columns:
        return
    numbers = frame.select(pl.col(BOX).cast(pl.Float64))
    x1, y1, x2, y2 = map(pl.col, BOX)
    nulls = pl.sum_horizontal(pl.col(BOX).is_null())
    reason = pl.format("box {} {} {} {}", *(pl.col(name).round(2) for name in BOX))
    yield from _rows_with_reason(
        numbers,
        pl.when((nulls > 0) & (nulls < 4))
        .then(pl.lit("incomplete box: give x1, y1, x2 and y2, or none of them"))
        .when(pl.any_horizontal(~pl.col(BOX).is_finite()))
        .then(pl.lit("a box needs finite numbers"))
        .when((x1 < x2) & (y1 < y2) & ((x2 <= 0) | (y2 <= 0)))
        .then(pl.concat_str(reason, pl.lit(": is left of or above the image")))
        .when((x1 < 0) | (y1 < 0))
        .then(pl.concat_str(reason, pl.lit(": starts left of or above the image")))
        .when((x2 <= x1) | (y2 <= y1))
        .then(pl.concat_str(reason, pl.lit(": must be x1 y1 x2 y2 with x1 < x2 and y1 < y2"))),
    )


def _find_duplicates(frame: pl.DataFrame) -> Findings:
    """Duplicate boxes of a file: the later rows, or all of them if their labels differ."""
    key = ["path", *(name for name in BOX if name in frame.columns)]
    rows = frame.select(*key, "label").with_row_index("row").drop_nulls(["path", "label"])
    rows = rows.filter(pl.len().over(key) > 1).with_columns(
        first=pl.col("row").min().over(key), labels=pl.col("label").n_unique().over(key)
    )
    for row, path, label, first, labels in rows.select("row", "path", "label", "first", "labels").iter_rows():
        if labels > 1:
            label_text = shorten_middle(str(label))
            yield row, f"{shorten_middle(path)} is listed under {labels} labels, here {label_text!r}"
        elif row != first:
            yield row, f"{shorten_middle(path)} is listed before, in row {first}"


RULES: list[Callable[[pl.DataFrame], Findings]] = [
    _find_empty,
    _find_zeros,
    _find_long_labels,
    _find_unknown_names,
    check_boxes,
    _find_duplicates,
]


def _find_missing_files(folder: Path) -> Callable[[pl.DataFrame], Findings]:
    def rule(frame: pl.DataFrame) -> Findings:
        reasons: dict[str, str | None] = {}
        for row, path in enumerate(frame["path"]):
            if path is None or not path.strip() or "\0" in path:
                continue
            if path not in reasons:
                reasons[path] = _missing_file_reason(folder / path)
            if reasons[path]:
                yield row, f"{shorten_middle(path)}: {reasons[path]}"

    return rule


def _missing_file_reason(file: Path) -> str | None:
    """Why a file cannot be read."""
    shard_member = parse_member(file)
    try:
        file_status = os.stat(file if shard_member is None else shard_member.shard)  # noqa: PTH116 - a third of Path.stat's time
    except FileNotFoundError:
        return f"there is no such {'file' if shard_member is None else 'shard'}"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if stat.S_ISDIR(file_status.st_mode):
        return "this is a folder"
    if not stat.S_ISREG(file_status.st_mode):
        return "this is not a regular file"
    return None if shard_member is None else misplaced_reason(shard_member, file_status.st_size)
