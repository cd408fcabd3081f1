"""Reading table files (CSV, Parquet and Feather) with consistent types."""

import csv
import io
import logging
import re
from collections.abc import Callable, Collection
from pathlib import Path

import polars as pl

from lookalike.data.columns import is_text
from lookalike.data.csv_text import as_plain, decode, parse
from lookalike.errors import DataError

log = logging.getLogger(__name__)
TEXT = ("path", "label", "split", "role", "group", "hash")
SMALL = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)
UNNAMED = re.compile(r"Unnamed: \d+(_level_\d+)?")
DECIMAL_COMMA = r"^\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*$"
THOUSANDS = r"^\s*[+-]?\d{1,3},\d{3}\s*$"
PLAIN_NUMBER = r"^\s*[+-]?\d+(\.\d+)?([eE][+-]?\d+)?\s*$"


def read_frame(file: Path, text: Collection[str] = ()) -> pl.DataFrame:
    """The table in a file; the format is given by its extension.

    In a CSV, columns that may be a path, label, split and the like, and those in `text`, stay text, so that
    the label 007 is not 7; so do all columns of a CSV without a header. In other formats a label keeps its
    type: text, or integers of up to 64 bits. Empty unnamed columns and pandas index columns are dropped,
    which is logged.

    Raises:
        DataError: there is no such file, or it is not a valid table.
    """
    read = READERS.get(file.suffix.lower())
    if read is None and not file.is_dir():
        ending = f"not {file.suffix!r}" if file.suffix else "and this one has no ending"
        is_json = file.suffix.lower() == ".json"
        coco = f". For COCO annotations: source=coco source.file={file}" if is_json else ""
        raise DataError(f"{file}: a table file ends in {', '.join(READERS)}, {ending}{coco}")
    if read is None or not file.is_file():
        raise DataError(f"{file}: {'this is a folder' if file.is_dir() else 'there is no such file'}")
    try:
        frame = read(file, {*TEXT, *text})
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        OSError,
        ValueError,
        csv.Error,
    ) as error:
        raise DataError(
            f"{file}: not a readable {file.suffix[1:].lower()} table: {_reason(error)}"
        ) from error
    return normalise_types(frame)


def _reason(error: BaseException) -> str:
    if isinstance(error, pl.exceptions.NoDataError):
        return "it is empty"
    text = str(error).strip()
    if "utf-8" in text:
        return "it is not UTF-8 text; save it as 'CSV UTF-8'"
    if "CSV malformed" in text or 'could not parse `"' in text:
        return "a text contains a single quotation mark: quote the text, and double the mark"
    return text.splitlines()[0] if text else type(error).__name__


def _csv(file: Path, text: Collection[str]) -> pl.DataFrame:
    result = parse(decode(file.read_bytes(), file), file)
    names = [name if not UNNAMED.fullmatch(name) else "" for name in result.header]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ValueError(f"the header names {', '.join(map(repr, twice))} twice")
    known = [
        name or (title if title and result.header.count(title) == 1 else f"column {number}")
        for number, (name, title) in enumerate(zip(names, result.header, strict=True), 1)
    ]
    frame = pl.read_csv(
        io.BytesIO(as_plain(result, known)),
        separator=result.separator,
        schema_overrides={
            name: pl.String for name in names if result.headless or name in text or is_text(name)
        },
        infer_schema_length=None,
        truncate_ragged_lines=True,
    )
    unnamed = [one for one, name in zip(known, names, strict=True) if not name]
    frame = _without_unnamed(frame, unnamed, file)
    return frame if result.separator == "," else _with_decimal_points(frame, file)


def _without_unnamed(frame: pl.DataFrame, names: list[str], file: Path) -> pl.DataFrame:
    """Drop unnamed columns that are empty or contain row numbers."""
    empty = [name for name in names if _is_blank(frame[name])]
    numbers = [name for name in names if name not in empty and _counts_rows(frame[name])]
    if empty:
        log.info("%s: empty unnamed columns are ignored: %s", file, ", ".join(empty))
    if numbers:
        log.info("%s: row numbers in an unnamed column are ignored: %s", file, ", ".join(numbers))
    return frame.drop(empty, numbers)


def _is_blank(column: pl.Series) -> bool:
    if column.dtype == pl.String:
        return bool((column.fill_null("").str.strip_chars() == "").all())
    return column.null_count() == len(column)


def _counts_rows(column: pl.Series) -> bool:
    if not column.dtype.is_integer() or not len(column) or column.null_count():
        return False
    return column[0] in (0, 1) and bool((column.diff().drop_nulls() == 1).all())


def _with_decimal_points(frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Convert decimal commas; `1,234` may be a thousand, so a column of such numbers stays text."""
    names = [
        name
        for name, kind in frame.schema.items()
        if kind == pl.String and not is_text(name) and name not in TEXT
    ]
    changed = [name for name in names if _has_decimal_commas(frame[name])]
    if changed:
        log.info("%s: commas are read as decimal points in %s", file, ", ".join(changed))
    point = pl.col(changed).str.strip_chars().str.replace(",", ".", literal=True)
    return frame.with_columns(point.cast(pl.Float64, strict=False)) if changed else frame


def _has_decimal_commas(column: pl.Series) -> bool:
    filled = column.drop_nulls().filter(column.drop_nulls().str.strip_chars() != "")
    commas = filled.str.contains(DECIMAL_COMMA)
    if not commas.any() or not (commas | filled.str.contains(PLAIN_NUMBER)).all():
        return False
    return not filled.filter(commas).str.contains(THOUSANDS).all()


def _parquet(file: Path, _: Collection[str]) -> pl.DataFrame:
    with file.open("rb") as stream:
        return pl.read_parquet(stream)


def _feather(file: Path, _: Collection[str]) -> pl.DataFrame:
    with file.open("rb") as stream:
        return pl.read_ipc(stream)


READERS: dict[str, Callable[[Path, Collection[str]], pl.DataFrame]] = {
    ".parquet": _parquet,
    ".feather": _feather,
    ".arrow": _feather,
    ".csv": _csv,
    ".tsv": _csv,
}


def normalise_types(frame: pl.DataFrame) -> pl.DataFrame:
    """Categorical and empty columns as text, labels as text or 64-bit integers, no pandas index column."""
    frame = frame.select(name for name in frame.columns if not name.startswith("__index_level_"))
    words = [name for name, kind in frame.schema.items() if kind in (pl.Categorical, pl.Enum)]
    small = [name for name, kind in frame.schema.items() if name == "label" and kind in SMALL]
    nothing = [name for name, kind in frame.schema.items() if name in TEXT and kind == pl.Null]
    return frame.with_columns(pl.col(words + nothing).cast(pl.String), pl.col(small).cast(pl.Int64))
