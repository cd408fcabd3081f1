"""Between the entries of an engine and the vectors and table of an index."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from lookalike.data.table import Table
from lookalike.errors import LookalikeError
from lookalike.search.engines.base import Entry
from lookalike.search.engines.sqlite import FILE, SqliteEngine
from lookalike.search.registry import Registry, entry_id
from lookalike.search.rejections import Rejections


def write_entries(vectors: np.ndarray, table: Table, target: Path, folder: Path) -> None:
    """Write index.sqlite into `target`, with paths that hold when it is renamed to `folder`.

    Labels become text, since new identities are given names.
    """
    rows = table.relative_to(folder).frame.iter_rows(named=True)
    entries = list[Entry]()
    for number, (vector, row) in enumerate(zip(vectors, rows, strict=True)):
        label = str(row.pop("label"))
        entries.append(Entry(f"{entry_id(vector, label)}-{number}", vector, label, row))
    engine = SqliteEngine(target, vectors.shape[1])
    try:
        engine.add(entries)
    finally:
        engine.close()


def read_rejections(folder: Path) -> Rejections:
    """Suggestions that were rejected and must not return."""
    with Registry(folder) as registry:
        return registry.rejections()


def read_entries(folder: Path, dim: int) -> tuple[np.ndarray, Table]:
    """The vectors and the table of what is enrolled now.

    Raises:
        LookalikeError: the database is missing or damaged.
    """
    if not (folder / FILE).is_file():
        raise LookalikeError(f"{folder}: has no {FILE}, in which its entries are")
    engine = SqliteEngine(folder, dim)
    try:
        entries = engine.entries()
    finally:
        engine.close()
    return entries_table(entries, folder, dim)


def entries_table(entries: Sequence[Entry], folder: Path, dim: int) -> tuple[np.ndarray, Table]:
    """The vectors [N, D] and the table of entries of an index folder, in their order."""
    if not entries:
        empty = pl.DataFrame(schema=dict.fromkeys(("path", "label", "split"), pl.String))
        return np.empty((0, dim), np.float32), Table(empty, folder)
    rows = [{"split": "test", **entry.attributes, "label": entry.label} for entry in entries]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return np.stack([entry.vector for entry in entries]), Table(frame, folder)
