"""The embedded engine: rows and vectors in SQLite (write-ahead log), searched by faiss or NumPy."""

import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from lookalike.errors import LookalikeError
from lookalike.files import new_folder
from lookalike.search.engines.base import NAME, Entry, Filter, Match, checked_queries, checked_vectors
from lookalike.search.engines.loaded import LoadedEntries, passes_filter

log = logging.getLogger(__name__)
FILE = "index.sqlite"
LARGE = 200_000
"""Above this number of entries, unfiltered searches are approximate (HNSW) where faiss is installed."""
WAIT = 30.0
"""Seconds to wait for another writer."""
UNFINISHED = "unfinished forgetting"
"""Counter that is there from the deletion of an identity until the files are compacted."""
INSERT = "INSERT INTO entries (id, label, attributes, vector) VALUES (?, ?, ?, ?)"
REPLACE = (
    "ON CONFLICT (id) DO UPDATE SET label = excluded.label, attributes = excluded.attributes, "
    "vector = excluded.vector"
)
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
        self._loaded: tuple[Any, LoadedEntries] | None = None

    def add(self, entries: Sequence[Entry]) -> None:
        """See `Engine`."""
        rows = self._rows(entries)
        with self.transaction() as cursor:
            try:
                cursor.executemany(INSERT, rows)
            except sqlite3.IntegrityError as error:
                raise ValueError(
                    f"entry {self._first_taken(entries)}: is there already; upsert replaces it"
                ) from error

    def upsert(self, entries: Sequence[Entry]) -> None:
        """See `Engine`."""
        rows = self._rows(entries)
        with self.transaction() as cursor:
            cursor.executemany(f"{INSERT} {REPLACE}", rows)

    def _rows(self, entries: Sequence[Entry]) -> Iterator[tuple[str, str, str, memoryview]]:
        """What is stored of entries, whose vectors are checked before any is written."""
        vectors = checked_vectors(entries, self.dim)
        return (
            (entry.id, entry.label, json.dumps(dict(entry.attributes), default=str), vector.data)
            for entry, vector in zip(entries, vectors, strict=True)
        )

    def _first_taken(self, entries: Sequence[Entry]) -> str:
        """The first id that is stored already, or that an entry before has."""
        query, ids = "SELECT 1 FROM entries WHERE id = ?", [entry.id for entry in entries]
        with closing(sqlite3.connect(self.folder / FILE, WAIT)) as other:  # does not see this transaction
            known = (
                each
                for row, each in enumerate(ids)
                if each in ids[:row] or other.execute(query, (each,)).fetchone()
            )
            return next(known, ids[0])

    def relabel(self, changes: Sequence[tuple[str, str, str]]) -> None:
        """See `Engine`."""
        with self.transaction() as cursor:
            cursor.executemany(
                "UPDATE entries SET label = ? WHERE id = ? AND label = ?",
                [(new, each, old) for each, old, new in changes],
            )

    def delete(self, ids: Sequence[str]) -> int:
        """See `Engine`."""
        with self.transaction() as cursor:
            cursor.executemany("DELETE FROM entries WHERE id = ?", [(each,) for each in ids])
            return cursor.rowcount

    def search(self, queries: np.ndarray, k: int, filters: Filter | None = None) -> list[list[Match]]:
        """See `Engine`."""
        unit, loaded = checked_queries(queries, k, self.dim), self._load()
        rows = (
            None
            if filters is None
            else np.flatnonzero([passes_filter(entry, filters) for entry in loaded.entries])
        )
        return loaded.search(unit, k, rows, self.large)

    def count(self, filters: Filter | None = None) -> int:
        """See `Engine`."""
        return len(self.entries(filters))

    def filter(self, filters: Filter | None = None) -> list[str]:
        """See `Engine`."""
        return [entry.id for entry in self.entries(filters)]

    def entries(self, filters: Filter | None = None, vectors: bool = True) -> list[Entry]:
        """See `Engine`. The vectors are in memory anyway, and always given."""
        return [entry for entry in self._load().entries if filters is None or passes_filter(entry, filters)]

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

    def drop(self) -> None:
        """See `Engine`. Decisions stay."""
        with self.transaction() as cursor:
            cursor.execute("DELETE FROM entries")
            cursor.execute("DELETE FROM aliases")
        shutil.rmtree(self.folder / "snapshots", ignore_errors=True)

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

    def version(self) -> tuple[int, int]:
        """A value that changes whenever this or another process has changed the entries."""
        (other,) = self.connection.execute("PRAGMA data_version").fetchone()
        return self.connection.total_changes, other

    def _load(self) -> "LoadedEntries":
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
            self._loaded = state, LoadedEntries(entries, self.dim)
        return self._loaded[1]
