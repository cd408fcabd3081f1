"""Identifying columns by their contents, if their names do not tell."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from lookalike.data.box_columns import is_box_name
from lookalike.data.csv_text import IMAGE_NAME
from lookalike.errors import DataError

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
ROLE_NAMES = {
    **dict.fromkeys(("query", "queries", "probe"), "query"),
    **dict.fromkeys(("distractor", "distractors"), "distractor"),
    "gallery": "gallery",
    "both": "both",
}
NO_LABELS = ("width", "height", "hash", "original", "fold", "group", "role", "split", "path", "url")
"""Columns that are never proposed as labels."""
MOST_CODES = 5
"""Maximum number of distinct values in a column of coded splits."""
UNNAMED = re.compile(r"column \d+")
ADDRESS = r"^(https?|s3|gs|az)://"
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


def find_without_header(
    frame: pl.DataFrame, file: Path, required: Collection[str], prefix: str
) -> dict[str, str]:
    """The columns of a CSV without a header, by their contents; empty if the table has a header.

    Args:
        frame: the table; columns without a header are called `column 1`, `column 2`, ….
        file: for messages.
        required: columns of ours without which there is no table.
        prefix: of the keys in messages.

    Raises:
        DataError: the contents are ambiguous; the message gives the command that resolves this.
    """
    names = frame.columns
    if not names or not all(UNNAMED.fullmatch(name) for name in names):
        return {}
    images = [name for name in names if looks_like_images(frame[name])]
    addresses = [name for name in names if looks_like_addresses(frame[name])]
    splits = [name for name in names if says_splits(frame[name])]
    rest = [name for name in names if name not in (*images, *addresses, *splits)]
    sources = addresses if "url" in required else images
    if len(sources) == 1 and len(rest) == 1 and len(splits) <= 1 and len(names) == 2 + len(splits):
        source = "url" if "url" in required else "path"
        return {source: sources[0], "label": rest[0], **({"split": splits[0]} if splits else {})}
    raise DataError(_headless_message(frame, file, (images or addresses), splits, rest, prefix))


def _headless_message(
    frame: pl.DataFrame, file: Path, images: list[str], splits: list[str], rest: list[str], prefix: str
) -> str:
    first = ", ".join(f"{name} ({str(frame[name][0])[:40]})" for name in frame.columns[:12])
    message = f"{file}: has no header, and its columns can be read in several ways: {first}. "
    if not prefix:
        return message + "Add a header line, such as path,label"
    numbers = [name for name in rest if _all_match(frame[name], NUMBER)]
    labels = [name for name in rest if name not in numbers] or [name for name in rest if len(numbers) != 4]
    keys = {"path": images[:1], "label": labels[:1], "split": splits[:1]}
    parts = [f"{ours}: '{names[0]}'" for ours, names in keys.items() if names]
    if len(numbers) == 4 and labels:
        parts.append(f"box: [{', '.join(repr(name) for name in numbers)}]")
    return message + f'Set the columns to use, for instance "{prefix}columns={{{", ".join(parts)}}}"'


def suggest(frame: pl.DataFrame, missing: Iterable[str], used: Mapping[str, str]) -> dict[str, list[str]]:
    """Candidates for the missing columns by their contents, best first."""
    free = [name for name in frame.columns if name not in used.values()]
    tests = {"path": looks_like_images, "url": looks_like_addresses, "label": _may_be_labels}
    return {ours: [name for name in free if ours in tests and tests[ours](frame[name])] for ours in missing}


def _may_be_labels(column: pl.Series) -> bool:
    """Whether a column contains text or integers with at least one duplicate."""
    if column.name.lower() in NO_LABELS or is_box_name(column.name):
        return False
    if not (column.dtype == pl.String or column.dtype.is_integer()):
        return False
    if says_splits(column) or looks_like_images(column) or looks_like_addresses(column):
        return False
    return 1 < column.n_unique() < len(column)


def looks_like_images(column: pl.Series) -> bool:
    """Whether every non-empty cell ends like an image file name."""
    return not looks_like_addresses(column) and _all_match(column, f"(?i)^{IMAGE_NAME.pattern}\\s*$")


def looks_like_addresses(column: pl.Series) -> bool:
    """Whether every non-empty cell is a URL of a file on the web or in an object store."""
    return _all_match(column, ADDRESS)


def _all_match(column: pl.Series, pattern: str) -> bool:
    if column.dtype != pl.String:
        return pattern == NUMBER and column.dtype.is_numeric()
    filled = column.drop_nulls().str.strip_chars()
    filled = filled.filter(filled != "")
    return bool(len(filled)) and bool(filled.str.contains(pattern).all())


def says_splits(column: pl.Series) -> bool:
    """Whether a column contains only names of splits, or query and gallery."""
    words = _distinct_words(column)
    return len(words) > 1 and bool(words.is_in([*SPLIT_NAMES, *ROLE_NAMES]).all())


def _distinct_words(column: pl.Series) -> pl.Series:
    if column.dtype != pl.String:
        return pl.Series([], dtype=pl.String)
    words = column.drop_nulls().str.strip_chars().str.to_lowercase()
    return words.filter(words != "").unique()


def is_flag(column: pl.Series) -> bool:
    """Whether a column contains only yes and no, in words or as 0 and 1."""
    words = column.cast(pl.String).drop_nulls().str.strip_chars().str.to_lowercase()
    return bool(words.is_in(["0", "1", "true", "false", "0.0", "1.0", "yes", "no", ""]).all())


def is_code(column: pl.Series) -> bool:
    """Whether a column contains a few different digits, as splits are coded in CelebA."""
    words = column.cast(pl.String, strict=False).drop_nulls().str.strip_chars()
    return 1 < words.n_unique() <= MOST_CODES and bool(words.str.contains(r"^\d(\.0)?$").all())


def quote_names(names: Sequence[str], most: int = 30) -> str:
    """Names in quotes, the rest as a count."""
    shown = ", ".join(repr(name) for name in names[:most])
    return (shown or "none") + (f" and {len(names) - most:,} more" if len(names) > most else "")
