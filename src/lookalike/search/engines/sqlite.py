"""The embedded engine: rows and vectors in SQLite (write-ahead log), searched by faiss or NumPy."""

import json
import logging
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from lookalike.errors import LookalikeError
from lookalike.files import new_folder
from lookalike.metrics.inputs import unit_length
from lookalike.search.engines.base import Entry, Filter, Match

log = logging.getLogger(__name__)
FILE = "index.sqlite"
LARGE = 200_000
"""Above this number of entries, unfiltered searches are approximate (HNSW) where faiss is installed."""
WAIT = 30.0
"""Seconds to wait for another writer."""
UNFINISHED = "unfinished forgetting"
"""Counter that is there from the deletion of an identity until the files are compacted."""
NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")
SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, label TEXT NOT NULL,
    attributes TEXT NOT NULL, vector BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS entries_label ON entries (label);
CREATE TABLE IF NOT EXISTS aliases (name TEXT PRIMARY KEY, snapshot TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS decisions (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,
    subject TEXT NOT NULL, object TEXT NOT NULL, changes TEXT NOT NULL, undoes INTEGER,
    author TEXT NOT NULL, time TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS decisions_update BEFORE UPDATE ON decisions
    BEGIN SELECT RAISE(ABORT, 'decisions are only appended'); END;
CREATE TRIGGER IF NOT EXISTS decisions_delete BEFORE DELETE ON decisions
    BEGIN SELECT RAISE(ABORT, 'decisions are only appended'); END;
"""


class SqliteEngine:
    """Entries in a folder: index.sqlite, and snapshots/NAME/index.sqlite.

    Args:
        folder: made if it is missing.
        dim: D of the vectors.
        large: number of entries above which unfiltered searches are approximate.
    """

    def __init__(self, folder: str | Path, dim: int, large: int = LARGE):
        self.folder, self.dim, self.large = Path(folder), dim, large
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.connection = sqlite3.connect(self.folder / FILE, WAIT, isolation_level=None)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                self.connection.execute(f"PRAGMA {pragma}")
            self.connection.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise LookalikeError(f"{self.folder / FILE}: cannot be opened: {error}") from error
        self._loaded: tuple[Any, _Loaded] | None = None

    def add(self, entries: Sequence[Entry]) -> None:
        """See `Engine`."""
        with self.transaction() as cursor:
            for entry in entries:
                if cursor.execute("SELECT 1 FROM entries WHERE id = ?", (entry.id,)).fetchone():
                    raise ValueError(f"entry {entry.id}: is there already; upsert replaces it")
                self._insert(cursor, entry)

    def upsert(self, entries: Sequence[Entry]) -> None:
        """See `Engine`."""
        with self.transaction() as cursor:
            for entry in entries:
                self._insert(cursor, entry)

    def delete(self, ids: Sequence[str]) -> int:
        """See `Engine`."""
        with self.transaction() as cursor:
            cursor.executemany("DELETE FROM entries WHERE id = ?", [(each,) for each in ids])
            return cursor.rowcount

    def search(self, queries: np.ndarray, k: int, filters: Filter | None = None) -> list[list[Match]]:
        """See `Engine`."""
        if k < 1:
            raise ValueError(f"k={k}: must be at least 1")
        loaded = self._load()
        rows = (
            None if filters is None else np.flatnonzero([_passes(entry, filters) for entry in loaded.entries])
        )
        return loaded.search(unit_length(np.atleast_2d(queries)), k, rows, self.large)

    def filter(self, filters: Filter | None = None) -> list[str]:
        """See `Engine`."""
        return [entry.id for entry in self._load().entries if filters is None or _passes(entry, filters)]

    def entries(self) -> list[Entry]:
        """All entries, in order of insertion."""
        return list(self._load().entries)

    def snapshot(self, name: str) -> None:
        """See `Engine`."""
        folder = self.folder / "snapshots" / name
        if not NAME.fullmatch(name) or folder.exists():
            raise ValueError(f"snapshot {name}: exists already, or is not letters, digits, ., _ and -")
        with new_folder(folder) as temporary, closing(sqlite3.connect(temporary / FILE)) as target:
            self.connection.backup(target)

    def alias(self, name: str, snapshot: str) -> None:
        """See `Engine`."""
        if snapshot not in self.snapshots():
            raise ValueError(f"snapshot {snapshot}: there is none; there are {self.snapshots() or 'none'}")
        with self.transaction() as cursor:
            cursor.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?)", (name, snapshot))

    def snapshots(self) -> list[str]:
        """Names of the snapshots."""
        return sorted(path.parent.name for path in self.folder.glob(f"snapshots/[!.]*/{FILE}"))

    def open_snapshot(self, name: str) -> Self:
        """See `Engine`."""
        row = self.connection.execute("SELECT snapshot FROM aliases WHERE name = ?", (name,)).fetchone()
        snapshot = name if row is None else row[0]
        if snapshot not in self.snapshots():
            raise ValueError(f"{name}: no such snapshot or alias; there are {self.snapshots() or 'none'}")
        return type(self)(self.folder / "snapshots" / snapshot, self.dim, self.large)

    def forget(self, label: str | None, others: Sequence[str] = ()) -> int:
        """Delete an identity everywhere: entries, decisions on it, and its rows in all snapshots.

        Deleted pages are overwritten with zeros, the files are compacted, and the log is emptied.

        Args:
            label: the identity; None for only the `others`.
            others: ids of photos of it that have another label in this snapshot.

        Returns:
            How many entries there were, not counting snapshots.

        Raises:
            LookalikeError: another process reads the database, so its log cannot be emptied.
        """
        for left in self.folder.glob("snapshots/.*.partial"):
            shutil.rmtree(left)  # of a killed process
        ids = self._ids_of(label, others)
        for name in self.snapshots():  # first: if this is interrupted, the identity is still found here
            with closing(self.open_snapshot(name)) as snapshot:
                snapshot.forget(label, ids)
        with self.transaction() as cursor:
            ids = self._ids_of(label, ids)
            cursor.execute("DELETE FROM entries WHERE label = ?", (label,))
            cursor.executemany("DELETE FROM entries WHERE id = ?", [(each,) for each in ids])
            cursor.execute("DROP TRIGGER decisions_delete")
            for number, *texts in cursor.execute(
                "SELECT id, subject, object, changes FROM decisions"
            ).fetchall():
                changed = {value for change in json.loads(texts[2]) for value in change}
                if changed.union(texts[:2], texts[0].split(",")).intersection([label, *ids]):
                    cursor.execute("DELETE FROM decisions WHERE id = ?", (number,))
            cursor.execute(SCHEMA[SCHEMA.index("CREATE TRIGGER IF NOT EXISTS decisions_delete") :].strip())
            cursor.execute("INSERT OR REPLACE INTO counters VALUES (?, 1)", (UNFINISHED,))
        self.finish_forgetting()
        return len(ids)

    def _ids_of(self, label: str | None, others: Sequence[str]) -> list[str]:
        rows = self.connection.execute("SELECT id FROM entries WHERE label = ?", (label,))
        return list(dict.fromkeys([*(row[0] for row in rows), *others]))

    def finish_forgetting(self) -> bool:
        """Remove what an interrupted `forget` left in the log and in free pages; False if there is nothing.

        Raises:
            LookalikeError: as in `forget`.
        """
        counter = self.connection.execute("SELECT 1 FROM counters WHERE name = ?", (UNFINISHED,)).fetchone()
        if counter is None:
            return False
        self._compact()
        self.connection.execute("DELETE FROM counters WHERE name = ?", (UNFINISHED,))
        return True

    def _compact(self) -> None:
        try:
            self.connection.execute("VACUUM")
            (is_busy, *_) = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise LookalikeError(f"{self.folder / FILE}: cannot be compacted: {error}") from error
        if is_busy:
            raise LookalikeError(
                f"{self.folder / FILE}: the identity is deleted, but another process reads the database, so "
                "its data remain in the log; end that process and repeat the command"
            )

    def close(self) -> None:
        """See `Engine`."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """All or nothing; on disk when the block ends."""
        cursor = self.connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            cursor.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise LookalikeError(f"{self.folder / FILE}: nothing was changed: {error}") from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self._loaded = None

    def _insert(self, cursor: sqlite3.Cursor, entry: Entry) -> None:
        vector = np.asarray(entry.vector, np.float32)
        if vector.shape != (self.dim,):
            raise ValueError(
                f"entry {entry.id}: a vector {list(vector.shape)}, but the index has [{self.dim}]"
            )
        blob = np.ascontiguousarray(unit_length(vector[None])[0], np.float32).tobytes()
        cursor.execute(
            "INSERT INTO entries (id, label, attributes, vector) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO "
            "UPDATE SET label = excluded.label, attributes = excluded.attributes, vector = excluded.vector",
            (entry.id, entry.label, json.dumps(dict(entry.attributes), default=str), blob),
        )

    def version(self) -> tuple[int, int]:
        """A value that changes whenever this or another process has changed the entries."""
        (other,) = self.connection.execute("PRAGMA data_version").fetchone()
        return self.connection.total_changes, other

    def _load(self) -> "_Loaded":
        """The entries in memory, read again after a change by this or another process."""
        state = self.version()
        if self._loaded is None or self._loaded[0] != state:
            rows = self.connection.execute(
                "SELECT id, label, attributes, vector FROM entries ORDER BY number"
            )
            entries = [
                Entry(name, np.frombuffer(blob, np.float32), label, json.loads(attributes))
                for name, label, attributes, blob in rows
            ]
            self._loaded = state, _Loaded(entries, self.dim)
        return self._loaded[1]


class _Loaded:
    """Entries in memory with their matrix [N, D]."""

    def __init__(self, entries: list[Entry], dim: int):
        self.entries = entries
        self.vectors = np.stack([e.vector for e in entries]) if entries else np.empty((0, dim), np.float32)
        self._graph: Any = None
        self._has_warned = False

    def search(self, unit: np.ndarray, k: int, rows: np.ndarray | None, large: int) -> list[list[Match]]:
        """The nearest of `rows`, or of all."""
        queries = np.ascontiguousarray(unit, np.float32)
        faiss = _import_faiss()
        if faiss is None and len(self.entries) > large and not self._has_warned:
            self._has_warned = True
            log.warning(
                "faiss is not installed, so the search is exact and slow: pip install lookalike[search]"
            )
        if rows is None and len(self.entries) > large and faiss is not None:
            scores, nearest = self._approximate(faiss).search(queries, min(k, len(self.entries)))
            if (nearest >= 0).all():
                return self._matches(scores, nearest)
        rows = np.arange(len(self.entries)) if rows is None else rows
        if not len(rows):
            return [[] for _ in queries]
        if faiss is not None:
            scores, nearest = faiss.knn(
                queries, self.vectors[rows], min(k, len(rows)), metric=faiss.METRIC_INNER_PRODUCT
            )
            return self._matches(scores, rows[nearest])
        cosine = queries @ self.vectors[rows].T
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        return self._matches(np.take_along_axis(cosine, nearest, axis=1), rows[nearest])

    def _approximate(self, faiss: Any) -> Any:
        if self._graph is None:
            graph = faiss.IndexHNSWFlat(self.vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
            graph.hnsw.efConstruction, graph.hnsw.efSearch = 200, 200
            graph.add(self.vectors)
            self._graph = graph
        return self._graph

    def _matches(self, scores: np.ndarray, rows: np.ndarray) -> list[list[Match]]:
        return [
            [
                Match(self.entries[row].id, self.entries[row].label, min(float(score), 1.0))
                for row, score in zip(query_rows, query_scores, strict=True)
            ]
            for query_rows, query_scores in zip(rows, scores, strict=True)
        ]


def _passes(entry: Entry, filters: Filter) -> bool:
    return all(
        (entry.label if key == "label" else entry.attributes.get(key)) in values
        for key, values in filters.items()
    )


def _import_faiss() -> Any:
    """The module faiss, or None where it is not installed; NumPy then searches, just as exactly."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss
