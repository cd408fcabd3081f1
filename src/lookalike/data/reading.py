"""Table files, CSV, Parquet and feather, as frames with tidy types."""

import csv
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any

import polars as pl

from lookalike.errors import DataError

TEXT = ("path", "label", "split", "role", "group", "hash")
SEPARATORS = ",;\t|"
SMALL = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)


def read_frame(file: Path, text: Collection[str] = ()) -> pl.DataFrame:
    """The table in a file; its ending says which kind it is.

    In a CSV the columns of `TEXT` and of `text` stay as they are written, so that the label 007 is not 7.
    Elsewhere a label keeps its type: text, or whole numbers of up to 64 bits.

    Raises:
        DataError: there is no such file, or it is not a table of its kind.
    """
    read = READERS.get(file.suffix.lower())
    if read is None:
        raise DataError(
            f"{file}: a table file ends in {', '.join(READERS)}, not {file.suffix or 'nothing'!r}"
        )
    if not file.is_file():
        raise DataError(f"{file}: {'this is a folder' if file.is_dir() else 'there is no such file'}")
    try:
        with file.open("rb") as stream:
            frame = read(stream, {*TEXT, *text})
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise DataError(
            f"{file}: not a readable {file.suffix[1:].lower()} table: {_reason(error)}"
        ) from error
    return _tidy(frame)


def _reason(error: BaseException) -> str:
    match error:
        case UnicodeDecodeError():
            return "it is not UTF-8 text; save it as 'CSV UTF-8'"
        case pl.exceptions.NoDataError():
            return "it is empty"
    text = str(error).strip()
    if "utf-8" in text:
        return "it is not UTF-8 text; save it as 'CSV UTF-8'"
    return text.splitlines()[0] if text else type(error).__name__


def _csv(stream: IO[bytes], text: Collection[str]) -> pl.DataFrame:
    header = stream.readline().decode("utf-8-sig")
    separator = max(SEPARATORS, key=header.count)
    names = next(csv.reader([header], delimiter=separator), [])
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the header names {', '.join(map(repr, twice))} twice")
    stream.seek(0)
    types: Any = {name: pl.String for name in names if name in text}
    return pl.read_csv(stream, separator=separator, schema_overrides=types, infer_schema_length=None)


def _parquet(stream: IO[bytes], _: Collection[str]) -> pl.DataFrame:
    return pl.read_parquet(stream)


def _feather(stream: IO[bytes], _: Collection[str]) -> pl.DataFrame:
    return pl.read_ipc(stream)


READERS: dict[str, Callable[[IO[bytes], Collection[str]], pl.DataFrame]] = {
    ".parquet": _parquet,
    ".feather": _feather,
    ".arrow": _feather,
    ".csv": _csv,
    ".tsv": _csv,
}


def _tidy(frame: pl.DataFrame) -> pl.DataFrame:
    """Categories as text, labels as text or 64-bit integers, no index column that pandas left."""
    frame = frame.select(name for name in frame.columns if not name.startswith("__index_level_"))
    words = [name for name, kind in frame.schema.items() if kind in (pl.Categorical, pl.Enum)]
    small = [name for name, kind in frame.schema.items() if name == "label" and kind in SMALL]
    return frame.with_columns(pl.col(words).cast(pl.String), pl.col(small).cast(pl.Int64))
