"""Importing vectors of other tools: .npy, a table with a column of vectors, or a CSV of numbers."""

import logging
import re
from pathlib import Path

import numpy as np
import polars as pl

from lookalike.data.box_columns import normalise_name, words
from lookalike.data.checking import is_missing_text, too_long_reason
from lookalike.data.columns import find_columns
from lookalike.data.csv_text import DECIMAL_COMMA, decode, separator_of, split_sep_line
from lookalike.data.reading import READERS, read_frame
from lookalike.errors import DataError

METADATA_COLUMNS = (
    "path",
    "label",
    "split",
    "role",
    "group",
    "fold",
    "hash",
    "width",
    "height",
    "x1",
    "y1",
    "x2",
    "y2",
)
"""Columns that are never part of a vector."""
VECTORS = ("vector", "embedding", "vectors", "embeddings", "feature", "features", "feat", "emb")
DIMENSIONS = (
    "",
    *words("f v d e x feat feature features dim dimension emb embed embedding vec vector component pc"),
)
"""Names of dimensions, without their indices."""
NUMBERED = re.compile(r"(.*?)[ _.\-\[]*(\d+)\]?")
log = logging.getLogger(__name__)


NAMELESS = (".npy", *READERS)


def import_vectors(
    file: Path, labels: Path | None = None, labelled: bool = True
) -> tuple[np.ndarray, pl.DataFrame]:
    """Vectors float32 [N, D], and a table of N rows: path, label, split, and other columns of the files.

    Args:
        file: `.npy` [N, D]; a table (Parquet, Feather, CSV) with one column of lists; or one with a number
            per column.
        labels: `.npy` [N], or a table with a column `label`, or with one column; required if `file` has
            none.
        labelled: whether labels are required; without any, each row is a separate identity.

    Raises:
        DataError: a file is missing or damaged, or the files do not match.
    """
    vectors, metadata = _npy(file) if file.suffix.lower() == ".npy" else _table(file)
    if metadata.width:
        metadata = _with_our_names(metadata, file, ())
    if labels is not None:
        metadata = _join_metadata(metadata, _labels(labels, len(vectors)), labels)
    if "label" not in metadata.columns and not labelled:
        label = pl.Series("label", np.arange(len(vectors)))
        metadata = metadata.hstack([label]) if metadata.width else label.to_frame()
    if "label" not in metadata.columns:
        raise DataError(f"{file}: has no labels; give labels=FILE")
    if metadata.height != len(vectors):
        raise DataError(f"{labels}: {metadata.height} labels for {len(vectors)} vectors in {file}")
    metadata = metadata.with_columns(label=_labels_of(metadata["label"], labels or file))
    if "path" not in metadata.columns:
        names = pl.Series([f"{file.name}#{row}" for row in range(len(vectors))], dtype=pl.String)
        metadata = metadata.with_columns(path=names)
    if "split" not in metadata.columns:
        metadata = metadata.with_columns(split=pl.lit("test"))
    return vectors, metadata


def _labels_of(labels: pl.Series, file: Path) -> pl.Series:
    """Labels as integers or text.

    Raises:
        DataError: one is missing, a decimal number, or too long.
    """
    kind = labels.dtype
    missing = labels.fill_nan(None).null_count() if kind.is_float() else labels.null_count()
    if missing:
        raise DataError(f"{file}: {missing} rows have no label")
    if kind.is_float() and (labels % 1 != 0).any():
        raise DataError(f"{file}: labels are decimal numbers; use text or integers")
    _warn_of_nothing(labels, file)
    whole = labels.cast(pl.Int64) if kind.is_float() else labels
    labels = whole if whole.dtype.is_integer() else whole.cast(pl.String)
    long = too_long_reason(labels).drop_nulls()
    if len(long):
        raise DataError(f"{file}: {long[0]}, in {len(long)} rows")
    return labels


def _warn_of_nothing(labels: pl.Series, file: Path) -> None:
    rows = is_missing_text(labels).arg_true()
    if len(rows):
        log.warning(
            "%s: %d rows have a label that usually means a missing one, the first of them %r in row %d; "
            "they are "
            "read as class names",
            *(file, len(rows), labels[rows[0]], rows[0]),
        )


def image_name(path: str) -> str:
    """The name of an image without its folder; for a file of vectors without paths, the row number only,
    since tools write the vectors of the same images into files with different names.
    """
    name = path.rpartition("/")[2]
    file, _, row = name.rpartition("#")
    return f"#{row}" if row.isdigit() and Path(file).suffix.lower() in NAMELESS else name


def _npy(file: Path) -> tuple[np.ndarray, pl.DataFrame]:
    vectors = _array(file)
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise DataError(
            f"{file}: contains {vectors.dtype} {list(vectors.shape)}; vectors must be numbers [N, D]"
        )
    return np.ascontiguousarray(vectors, np.float32), pl.DataFrame()


def _array(file: Path) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: not a readable .npy file: {error}") from error


def _table(file: Path) -> tuple[np.ndarray, pl.DataFrame]:
    """Vectors of a table: a column of lists, or numbered columns of numbers."""
    frame = _has_no_header(file) if _read_headless(file) else _with_lists(read_frame(file), file)
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List | pl.Array)]
    named = [name for name in lists if normalise_name(name) in VECTORS]
    if len(lists) == 1 or len(named) == 1:
        (name,) = named or lists
        log.info("%s: vectors are read from its column %s", file, name)
        return _stack_vectors(frame[name], file), frame.drop(name)
    if lists:
        raise DataError(
            f"{file}: columns {', '.join(lists)} contain lists; name the one with the vectors `vector`"
        )
    numbers = _dimensions(frame, file)
    holes = frame.select(pl.any_horizontal(pl.col(numbers).is_null())).to_series()
    if holes.any():
        raise DataError(f"{file}: a number is missing in row {holes.arg_true()[0]}, counted from 0")
    rest = frame.drop(numbers)
    kept = f"; not part of the vectors: {', '.join(rest.columns)}" if rest.width else ""
    log.info(
        "%s: vectors of dimension %d, from %s to %s%s", file, len(numbers), numbers[0], numbers[-1], kept
    )
    return frame.select(numbers).cast(pl.Float32).to_numpy(), rest


def _dimensions(frame: pl.DataFrame, file: Path) -> list[str]:
    """The columns that are dimensions of a vector: numeric columns numbered from 0 or 1.

    Raises:
        DataError: there are none, several such series, or one with gaps.
    """
    numeric = [
        name for name, kind in frame.schema.items() if kind.is_numeric() and name not in METADATA_COLUMNS
    ]
    if not numeric:
        raise DataError(f"{file}: has neither a column of vectors nor numeric columns")
    series: dict[str, list[tuple[int, str]]] = {}
    for name in numeric:
        match = NUMBERED.fullmatch(name.strip())
        if match:
            series.setdefault(match[1].lower(), []).append((int(match[2]), name))
    usual = {prefix: them for prefix, them in series.items() if normalise_name(prefix) in DIMENSIONS}
    chosen = usual or {prefix: them for prefix, them in series.items() if len(them) > 1}
    advice = "Name the dimensions f0, f1, f2, …, or put each vector into a list column `vector`"
    if len(chosen) != 1:
        shown = ", ".join(numeric[:12]) + (" …" if len(numeric) > 12 else "")
        raise DataError(
            f"{file}: its numeric columns do not show which ones are the dimensions of the vectors: "
            f"{shown}. {advice}"
        )
    (them,) = chosen.values()
    positions = sorted(them)
    start = positions[0][0]
    if [index for index, _ in positions] != list(range(start, start + len(positions))) or start > 1:
        shown = ", ".join(name for _, name in positions[:12])
        raise DataError(f"{file}: the dimensions {shown} are not numbered from 0 or 1 without gaps. {advice}")
    return [name for _, name in positions]


def _with_lists(frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Parse vectors that are text, as pandas writes lists to a CSV.

    Raises:
        DataError: a cell of such a column is not a list of numbers.
    """
    names = [
        name for name, kind in frame.schema.items() if kind == pl.String and normalise_name(name) in VECTORS
    ]
    for name in names:
        rows = []
        for row, text in enumerate(frame[name].to_list()):
            words = re.split(r"[\s,;]+", (text or "").strip().strip("[]()").strip())
            if not all(map(_is_number, words)):
                message = (
                    ": it was abbreviated by the program that wrote it" if text and "..." in text else ""
                )
                raise DataError(
                    f"{file}: {name} in row {row}, counted from 0, is not a list of numbers{message}"
                )
            rows.append([float(word) for word in words])
        frame = frame.with_columns(pl.Series(name, rows, dtype=pl.List(pl.Float64)))
    return frame


def _stack_vectors(column: pl.Series, file: Path) -> np.ndarray:
    column = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    lengths = column.list.len()
    if column.null_count() or lengths.n_unique() != 1 or column.explode().null_count():
        raise DataError(f"{file}: the vectors in {column.name} are incomplete or have different lengths")
    try:
        flat = column.explode().cast(pl.Float32).to_numpy()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{file}: the lists in {column.name} do not contain numbers") from error
    return flat.reshape(len(column), -1)


def _read_headless(file: Path) -> bool:
    """Whether the first line of a CSV contains data, and not column indices as pandas writes them."""
    if file.suffix.lower() not in (".csv", ".tsv") or not file.is_file():
        return False
    cells = _cells(_text(file).split("\n", 1)[0], _separator(file))
    numbers = [cell for cell in cells if _is_number(cell)]
    if not cells or len(numbers) < len(cells):
        return False
    counted = [str(index) for index in range(len(cells) + 1)]
    return len(cells) < 2 or cells not in (counted[:-1], counted[1:])


def _text(file: Path) -> str:
    return split_sep_line(decode(file.read_bytes(), file), file)[0]


def _separator(file: Path) -> str:
    """The separator of a file without header; runs of spaces, as NumPy writes them, are one."""
    text, provided = split_sep_line(decode(file.read_bytes(), file), file)
    result = provided or separator_of(text)
    words = text.split("\n", 1)[0].split()
    spaced = len(words) > 1 and all(re.fullmatch(DECIMAL_COMMA, word) for word in words)
    return result if result in text.split("\n", 1)[0] and not spaced else " "


def _cells(line: str, separator: str) -> list[str]:
    cells = line.split() if separator == " " else line.strip().removesuffix(separator).split(separator)
    cells = [cell.strip().strip('"') for cell in cells]
    return cells if separator == "," else [cell.replace(",", ".") for cell in cells]


def _has_no_header(file: Path) -> pl.DataFrame:
    """Numbers of a file without a header; its columns are called f0, f1, ….

    Raises:
        DataError: rows have different lengths or other content, or a column does not look like a dimension.
    """
    separator = _separator(file)
    rows = [_cells(line, separator) for line in _text(file).splitlines() if line.strip()]
    for row, cells in enumerate(rows):
        bad = next((cell for cell in cells if not _is_number(cell)), None)
        if bad is not None or len(cells) != len(rows[0]):
            message = (
                f"{bad!r} is not a number"
                if bad is not None
                else f"{len(cells)} numbers instead of {len(rows[0])}"
            )
            raise DataError(f"{file}: not readable as numbers: row {row}, counted from 0: {message}")
    values = np.array(rows, np.float64)
    whole = (values == np.floor(values)).all(axis=0)
    if values.shape[1] > 2 and len(values) > 1 and whole.sum() == 1:
        position = int(np.flatnonzero(whole)[0]) + 1
        raise DataError(
            f"{file}: without a header, column {position} contains integers and the others do not, so it "
            f"may be "
            f"labels or "
            "row numbers. Add a header (label, f0, f1, …), or remove the column"
        )
    log.info("%s: no header; vectors of dimension %d", file, values.shape[1])
    return pl.DataFrame({f"f{index}": column for index, column in enumerate(values.T)})


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels(file: Path, count: int) -> pl.DataFrame:
    if file.suffix.lower() == ".npy":
        labels = _array(file)
        if labels.ndim != 1 or labels.dtype.kind not in "iuUS":
            raise DataError(
                f"{file}: contains {labels.dtype} {list(labels.shape)}; labels must be integers or text [N]"
            )
        return pl.DataFrame({"label": labels.astype(str) if labels.dtype.kind == "S" else labels})
    if file.suffix.lower() not in READERS:
        raise DataError(f"{file}: labels must be a .npy file or a table ({', '.join(READERS)})")
    frame = read_frame(file)
    if frame.width == 1 and frame.columns != ["label"]:
        name = frame.columns[0]
        values = frame[name].cast(pl.String).to_list()
        return pl.DataFrame({"label": [name, *values] if len(values) == count - 1 else values})
    return _with_our_names(frame, file)


def _with_our_names(frame: pl.DataFrame, file: Path, required: tuple[str, ...] = ("label",)) -> pl.DataFrame:
    """The metadata columns of vectors, renamed to ours; logs their use."""
    columns = find_columns(frame, file, {"box": None}, required, prefix="")
    others = {theirs: ours for ours, theirs in columns.used.items() if ours != theirs}
    log.info("%s: %s", file, columns.report())
    return frame.drop([name for name in others.values() if name in frame.columns]).rename(others)


def _join_metadata(metadata: pl.DataFrame, labels: pl.DataFrame, file: Path) -> pl.DataFrame:
    if not metadata.width:
        return labels
    if metadata.height != labels.height:
        raise DataError(f"{file}: {labels.height} rows for {metadata.height} vectors")
    return metadata.drop(labels.columns, strict=False).hstack(labels)
