"""Vectors and their table: the files shared by embeddings and index folders."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lookalike.data.table import Table
from lookalike.errors import LookalikeError
from lookalike.files import parse_json


def write_vectors(vectors: np.ndarray, table: Table, target: Path, folder: Path) -> None:
    """Write vectors.npy, and table.parquet with paths valid once `target` is renamed to `folder`."""
    np.save(target / "vectors.npy", np.ascontiguousarray(vectors, np.float32), allow_pickle=False)
    table.relative_to(folder).frame.write_parquet(target / "table.parquet")


def read_vectors(folder: Path) -> tuple[np.ndarray, Table]:
    """Read the files of `write_vectors`; vectors are memory-mapped.

    Raises:
        LookalikeError: a file is missing or damaged, or the numbers of rows differ.
    """
    try:
        vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        table = Table(pl.read_parquet(folder / "table.parquet"), folder)
    except (OSError, EOFError, ValueError, pl.exceptions.PolarsError) as error:
        raise LookalikeError(f"{folder}: cannot be read: {error}") from error
    if vectors.ndim != 2 or len(vectors) != len(table):
        raise LookalikeError(f"{folder}: vectors {list(vectors.shape)} for a table of {len(table)} rows")
    return vectors, table


def read_json(folder: Path, name: str, subject: str) -> dict[str, Any]:
    """Read the JSON object that identifies the type of a folder.

    Raises:
        LookalikeError: it is missing or damaged; the message says that `folder` is not `subject`.
    """
    try:
        content = parse_json((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LookalikeError(f"{folder}: has no {name}, so it is not {subject}") from None
    except (OSError, ValueError) as error:
        raise LookalikeError(f"{folder / name}: cannot be read: {error}") from error
    if not isinstance(content, dict) or "space" not in content:
        raise LookalikeError(f"{folder / name}: has no space, which identifies the model of the vectors")
    return content


def resolve_path(folder: Path, path: str | None) -> Path | None:
    """Resolve a path written by `path_from`."""
    return (folder.resolve() / path).resolve() if path else None


def path_from(folder: Path, target: Path | None) -> str | None:
    """`target` relative to `folder`, so that both can be moved together."""
    if target is None:
        return None
    return Path(os.path.relpath(os.path.realpath(target), os.path.realpath(folder))).as_posix()
