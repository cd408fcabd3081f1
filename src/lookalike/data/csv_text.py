"""Normalising CSV files of various origins: one separator, one header, UTF-8."""

import csv
import io
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import DataError, Problem

log = logging.getLogger(__name__)
SEPARATORS = ",;\t|"
LONGEST = (1 << 31) - 1
SAMPLE = 50
"""Number of lines used to detect the separator."""
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
SEP_LINE = re.compile(r"\s*\"?sep=(.)\"?[,;\t| ]*\r?\n?", re.IGNORECASE)
IMAGE_NAME = re.compile(r".*\.(jpe?g|png|webp|bmp|gif|tiff?|ppm|pgm|heic|heif|avif)", re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class CsvText:
    """The text of a CSV.

    Attributes:
        body: all lines below the header.
        separator: between fields.
        header: the names as written, without surrounding spaces.
        padded: whether fields start with a space after the separator, as in `path, label`.
        headless: whether the first line is a row; the header is then `column 1`, `column 2`, ….
    """

    body: str
    separator: str
    header: list[str]
    padded: bool
    headless: bool = False


def decode(data: bytes, file: Path) -> str:
    """Text in UTF-8, or in UTF-16 with a byte order mark, like Excel's "Unicode text".

    Raises:
        DataError: it is in another encoding; lists the lines.
    """
    encoding = MARKS.get(data[:2], "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        other = "a zip or Excel file" if data.startswith(b"PK\3\4") else ""
        lines = [] if other or encoding == "utf-16" else list(_undecodable(data, file.name))
        message = (
            f"it is {other}, not UTF-8 text"
            if other
            else f"it is not {'UTF-16' if encoding == 'utf-16' else 'UTF-8'} text"
        )
        raise DataError(f"{file}: not a readable table: {message}; save it as 'CSV UTF-8'", lines) from None
    if encoding == "utf-16":
        log.info("%s: read as UTF-16", file)
    return text


def _undecodable(data: bytes, name: str) -> Iterator[Problem]:
    for number, line in enumerate(data.split(b"\n")):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            shown = line[max(0, error.start - 20) : error.start + 20].decode("utf-8", "replace").strip()
            yield Problem(name, f"byte {line[error.start]:#04x} in {shown!r}", number - 1 if number else None)


def parse(text: str, file: Path) -> CsvText:
    """Parse a CSV; a first line that contains an image file name is a row, not a header.

    Raises:
        DataError: rows have more or fewer fields than the header; lists all of them.
        ValueError: it is empty, or has unknown line ends.
    """
    if not text.strip():
        raise ValueError("it is empty")
    text, separator = split_sep_line(text, file)
    if "\r" in text.split("\n", 1)[0].rstrip("\r"):
        raise ValueError("it has line ends of old Mac programs; save it as 'CSV UTF-8'")
    separator = separator or separator_of(text)
    padded = _is_padded(text, separator)
    stream = io.StringIO(text, newline="")
    csv.field_size_limit(LONGEST)
    header = next(csv.reader(stream, delimiter=separator, skipinitialspace=padded), [])
    if any(IMAGE_NAME.fullmatch(cell.strip()) for cell in header):
        names = [f"column {number}" for number in range(1, len(header) + 1)]
        log.info("%s: the first line names an image, so it is read as a row: there is no header", file)
        result = CsvText(text, separator, names, padded, headless=True)
    else:
        names = [" ".join(name.split()) for name in header]
        result = CsvText(text[stream.tell() :], separator, names, padded)
    wrong = list(_ragged_rows(result, file.name))
    if wrong:
        raise DataError(_ragged_message(file, result, wrong), wrong)
    return result


def split_sep_line(text: str, file: Path) -> tuple[str, str]:
    """The text without Excel's first line `sep=;`, and its separator; empty if there is none."""
    first = SEP_LINE.match(text)
    if first is None:
        return text, ""
    log.info("%s: the first line, %s, sets the separator", file, first[0].strip())
    return text[first.end() :], first[1]


def separator_of(text: str) -> str:
    """The separator that yields the most fields in the first line, and as many in the lines below.

    Decimal commas, as in `0,5;0,25`, are not separators.
    """
    lines = text.splitlines()[:SAMPLE]
    counts = {one: [len(row) for row in _rows(lines, one)] for one in SEPARATORS}

    def rank(one: str) -> tuple[int, int]:
        first = counts[one][0] if counts[one] else 0
        return first, sum(count == first for count in counts[one])

    best = max(SEPARATORS, key=rank)
    if best == ",":
        for other in ";\t|":
            if (
                counts[other]
                and min(counts[other]) == max(counts[other]) > 1
                and _commas_in_numbers(lines, other)
            ):
                return other
    return best


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(lines, delimiter=separator) if row]
    except csv.Error:
        return []


def _commas_in_numbers(lines: Sequence[str], separator: str) -> bool:
    cells = [cell for row in _rows(lines, separator) for cell in row if "," in cell]
    return bool(cells) and all(DECIMAL_COMMA.fullmatch(cell) for cell in cells)


def _is_padded(text: str, separator: str) -> bool:
    names = text.split("\n", 1)[0].split(separator)[1:]
    return bool(names) and separator != " " and all(name.startswith(" ") for name in names if name.strip())


def as_plain(result: CsvText, names: Sequence[str]) -> bytes:
    """The CSV with these names in its header, with the same separator, in UTF-8."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=result.separator, lineterminator="\n")
    writer.writerow(names)
    if result.padded:
        writer.writerows(
            csv.reader(
                io.StringIO(result.body, newline=""), delimiter=result.separator, skipinitialspace=True
            )
        )
        return out.getvalue().encode()
    return (out.getvalue() + result.body).encode()


def _ragged_rows(result: CsvText, name: str) -> Iterator[Problem]:
    """The rows with another number of fields than the header; trailing empty ones do not count."""
    num_fields = len(result.header)
    least = max((number for number, one in enumerate(result.header, 1) if one), default=0)
    rows = csv.reader(
        io.StringIO(result.body, newline=""),
        delimiter=result.separator,
        strict=True,
        skipinitialspace=result.padded,
    )
    number = -1
    try:
        for number, row in enumerate(rows):
            if row and (len(row) < least or any(cell.strip() for cell in row[num_fields:])):
                message = f"{len(row)} fields where the header has {num_fields}: {','.join(row)[:80]!r}"
                yield Problem(name, message, number)
    except csv.Error as error:  # other errors are left to the reader
        if "end of data" in str(error):
            yield Problem(name, "a quotation mark is opened here and not closed", number + 1)


def _ragged_message(file: Path, result: CsvText, wrong: Sequence[Problem]) -> str:
    message = (
        f"{file}: some rows have another number of fields than the header; quote texts with commas, and "
        "double the quotation marks inside a text. "
    )
    rows = list(csv.reader(io.StringIO(result.body, newline=""), delimiter=result.separator))
    filled = [row for row in rows if row]
    if len(wrong) == len(filled) and all(len(row) == len(result.header) + 1 for row in filled):
        message += (
            "Every row has one field more than the header: if the first is a row number, as R writes it, put "
            f"row{result.separator} before the header. "
        )
    return message + "Rows, counted from 0:"
