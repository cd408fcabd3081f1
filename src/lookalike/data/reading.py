"""Table files, CSV, Parquet and feather, as frames with tidy types."""

import csv
import io
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any

import polars as pl

from lookalike.errors import DataError, Problem

TEXT = ("path", "label", "split", "role", "group", "hash")
SEPARATORS = ",;\t|"
LONGEST = (1 << 31) - 1
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
            if read is _csv:
                _refuse_bad_lines(stream, file)
            frame = read(stream, {*TEXT, *text})
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, csv.Error) as error:
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
    if "CSV malformed" in text or 'could not parse `"' in text:
        return "a quote mark stands alone in a text: put quotes around that text, and write the mark twice"
    return text.splitlines()[0] if text else type(error).__name__


def _csv(stream: IO[bytes], text: Collection[str]) -> pl.DataFrame:
    header = stream.readline().decode("utf-8-sig")
    if "\r" in header.rstrip("\r\n"):
        raise ValueError("its lines end as those of old Mac programs do; save it as 'CSV UTF-8'")
    separator = max(SEPARATORS, key=header.count)
    names = next(csv.reader([header], delimiter=separator), [])
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the header names {', '.join(map(repr, twice))} twice")
    stream.seek(0)
    types: Any = {name: pl.String for name in names if name in text}
    return pl.read_csv(stream, separator=separator, schema_overrides=types, infer_schema_length=None)


def _refuse_bad_lines(stream: IO[bytes], file: Path) -> None:
    """Refuse a CSV with rows that have more or fewer fields than its header, or are in another encoding.

    Raises:
        DataError: lists all of them.
    """
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    try:
        wrong = list(_ragged(text, file.name))
    except UnicodeDecodeError:
        data = file.read_bytes()
        kind = _other_kind(data)
        lines = [] if kind else list(_undecodable(data, file.name))
        said = f"it is {kind}, not UTF-8 text" if kind else "it is not UTF-8 text"
        raise DataError(f"{file}: not a readable table: {said}; save it as 'CSV UTF-8'", lines) from None
    finally:
        text.detach()
        stream.seek(0)
    if wrong:
        raise DataError(
            f"{file}: not every row has the fields of the header; put quotes around texts with commas, and "
            "two quote marks where a text has one. Rows, counted from 0:",
            wrong,
        )


def _ragged(text: IO[str], name: str) -> Iterator[Problem]:
    """The rows with other fields than the header."""
    header = text.readline()
    text.seek(0)
    csv.field_size_limit(LONGEST)
    rows = csv.reader(text, delimiter=max(SEPARATORS, key=header.count), strict=True)
    number = -1
    try:
        wanted = len(next(rows, []))
        for number, row in enumerate(rows):
            if row and len(row) != wanted:
                said = f"{len(row)} fields where the header has {wanted}: {','.join(row)[:80]!r}"
                yield Problem(name, said, number)
    except csv.Error as error:  # of others, let the one who reads it say whether it can
        if "end of data" in str(error):
            yield Problem(name, "a quote mark is opened here and not closed", number + 1)


def _other_kind(data: bytes) -> str:
    """What a file that is no UTF-8 is, where its beginning says so."""
    known = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"PK\3\4": "a zip or Excel file"}
    return next((name for start, name in known.items() if data.startswith(start)), "")


def _undecodable(data: bytes, name: str) -> Iterator[Problem]:
    for number, line in enumerate(data.split(b"\n")):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            shown = line[max(0, error.start - 20) : error.start + 20].decode("utf-8", "replace").strip()
            yield Problem(name, f"byte {line[error.start]:#04x} in {shown!r}", number - 1 if number else None)


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
    """Categories and empty columns as text, labels as text or 64-bit integers, no index column of pandas."""
    frame = frame.select(name for name in frame.columns if not name.startswith("__index_level_"))
    words = [name for name, kind in frame.schema.items() if kind in (pl.Categorical, pl.Enum)]
    small = [name for name, kind in frame.schema.items() if name == "label" and kind in SMALL]
    nothing = [name for name, kind in frame.schema.items() if name in TEXT and kind == pl.Null]
    return frame.with_columns(pl.col(words + nothing).cast(pl.String), pl.col(small).cast(pl.Int64))
