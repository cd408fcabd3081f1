"""Vectors that other tools wrote: .npy, a table with a column of vectors, or a CSV of numbers."""

from pathlib import Path

import numpy as np
import polars as pl

from lookalike.data.checking import too_long
from lookalike.data.reading import READERS, read_frame
from lookalike.errors import DataError

ABOUT = ("path", "label", "split", "role", "group", "fold", "hash", "width", "height", "x1", "y1", "x2", "y2")
"""Columns that are never part of a vector."""


def read_foreign(
    file: Path, labels: Path | None = None, labelled: bool = True
) -> tuple[np.ndarray, pl.DataFrame]:
    """Vectors float32 [N, D], and a table of N rows: path, label, split, and whatever else the files say.

    Args:
        file: `.npy` [N, D]; a table (Parquet, Feather, CSV) with one column of lists; or one with a number in
            each column.
        labels: `.npy` [N], or a table with a column `label`, or with one column; needed where `file` has
        none.
        labelled: whether labels are needed; without any each row is an identity of its own.

    Raises:
        DataError: a file is missing or damaged, or they do not fit together.
    """
    vectors, about = _npy(file) if file.suffix.lower() == ".npy" else _table(file)
    if labels is not None:
        about = _joined(about, _labels(labels, len(vectors)), labels)
    if "label" not in about.columns and not labelled:
        label = pl.Series("label", np.arange(len(vectors)))
        about = about.hstack([label]) if about.width else label.to_frame()
    if "label" not in about.columns:
        raise DataError(f"{file}: does not say which identity each vector is of; give labels=FILE")
    if about.height != len(vectors):
        raise DataError(f"{labels}: {about.height} labels for {len(vectors)} vectors in {file}")
    missing = about["label"].null_count()
    if missing:
        raise DataError(f"{labels or file}: {missing} rows have no label")
    if not about.schema["label"].is_integer():
        about = about.with_columns(pl.col("label").cast(pl.String))
    long = too_long(about["label"]).drop_nulls()
    if len(long):
        raise DataError(f"{labels or file}: {long[0]}, in {len(long)} rows")
    if "path" not in about.columns:
        names = pl.Series([f"{file.name}#{row}" for row in range(len(vectors))], dtype=pl.String)
        about = about.with_columns(path=names)
    if "split" not in about.columns:
        about = about.with_columns(split=pl.lit("test"))
    return vectors, about


def _npy(file: Path) -> tuple[np.ndarray, pl.DataFrame]:
    vectors = _array(file)
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise DataError(f"{file}: holds {vectors.dtype} {list(vectors.shape)}; vectors are numbers [N, D]")
    return np.ascontiguousarray(vectors, np.float32), pl.DataFrame()


def _array(file: Path) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: not a readable .npy file: {error}") from error


def _table(file: Path) -> tuple[np.ndarray, pl.DataFrame]:
    frame = _without_header(file) if _headless(file) else read_frame(file)
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List | pl.Array)]
    named = [name for name in lists if name in ("vector", "embedding", "vectors", "embeddings")]
    if len(lists) == 1 or len(named) == 1:
        (name,) = named or lists
        return _stacked(frame[name], file), frame.drop(name)
    if lists:
        raise DataError(
            f"{file}: columns {', '.join(lists)} hold lists; call the one of the vectors `vector`"
        )
    numbers = [name for name, kind in frame.schema.items() if kind.is_numeric() and name not in ABOUT]
    if not numbers:
        raise DataError(f"{file}: has neither a column of vectors nor columns of numbers")
    holes = frame.select(pl.any_horizontal(pl.col(numbers).is_null())).to_series()
    if holes.any():
        raise DataError(f"{file}: a number is missing in row {holes.arg_true()[0]}, counted from 0")
    return frame.select(numbers).cast(pl.Float32).to_numpy(), frame.drop(numbers)


def _stacked(column: pl.Series, file: Path) -> np.ndarray:
    column = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    lengths = column.list.len()
    if column.null_count() or lengths.n_unique() != 1 or column.explode().null_count():
        raise DataError(f"{file}: the vectors in {column.name} are not all there, or not all of one length")
    try:
        flat = column.explode().cast(pl.Float32).to_numpy()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{file}: the lists in {column.name} are not of numbers") from error
    return flat.reshape(len(column), -1)


def _headless(file: Path) -> bool:
    """Whether the first line of a CSV is numbers already."""
    if file.suffix.lower() not in (".csv", ".tsv") or not file.is_file():
        return False
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        cells = stream.readline().replace("\t", ",").replace(";", ",").split(",")
    return all(_is_number(cell) for cell in cells)


def _without_header(file: Path) -> pl.DataFrame:
    try:
        separator = "\t" if file.suffix.lower() == ".tsv" else ","
        return pl.read_csv(file, has_header=False, separator=separator, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{file}: not readable as numbers: {str(error).splitlines()[0]}") from error


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
                f"{file}: holds {labels.dtype} {list(labels.shape)}; labels are integers or text [N]"
            )
        return pl.DataFrame({"label": labels.astype(str) if labels.dtype.kind == "S" else labels})
    if file.suffix.lower() not in READERS:
        raise DataError(f"{file}: labels are a .npy file or a table ({', '.join(READERS)})")
    frame = read_frame(file)
    if frame.width == 1 and frame.columns != ["label"]:
        name = frame.columns[0]
        values = frame[name].cast(pl.String).to_list()
        return pl.DataFrame({"label": [name, *values] if len(values) == count - 1 else values})
    if "label" not in frame.columns:
        raise DataError(f"{file}: has no column label; its columns are {', '.join(frame.columns)}")
    return frame


def _joined(about: pl.DataFrame, labels: pl.DataFrame, file: Path) -> pl.DataFrame:
    if not about.width:
        return labels
    if about.height != labels.height:
        raise DataError(f"{file}: {labels.height} rows for {about.height} vectors")
    return about.drop(labels.columns, strict=False).hstack(labels)
