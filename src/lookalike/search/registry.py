"""An index that changes: photos are enrolled, identities forgotten, and decisions on them recorded."""

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from lookalike.data.vectors import path_from, read_json
from lookalike.errors import LookalikeError
from lookalike.search.engines.base import Entry
from lookalike.search.engines.sqlite import FILE, SqliteEngine
from lookalike.search.photo_files import remove_pictures
from lookalike.search.rejections import PREFIX, Rejections, content_id

log = logging.getLogger(__name__)
Kind = Literal["same", "different", "merge", "split", "undo"]


@dataclass(frozen=True)
class Decision:
    """A row of the record of decisions, which is only appended to.

    Attributes:
        id: number, from 1.
        kind: same (a photo shows an identity), different (it does not), merge (an identity is another one),
            split (photos become an identity of their own), or undo.
        subject: ids of photos, comma-separated, or the identity that is merged.
        object: the identity.
        undoes: for undo, the number of the decision.
        author: who decided.
        time: when, in UTC.
    """

    id: int
    kind: str
    subject: str
    object: str
    undoes: int | None
    author: str
    time: str


class Registry:
    """The identities of an index folder with `engine=sqlite`.

    Args:
        folder: the index folder.

    Raises:
        LookalikeError: it is no index, or has another engine.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        facts = read_json(self.folder, "index.json", "an index folder; `lookalike index` makes one")
        if facts.get("engine") != "sqlite" or not (self.folder / FILE).is_file():
            raise LookalikeError(
                f"{self.folder}: is an index that does not change (engine {facts.get('engine')}); make one "
                "that does with lookalike index engine=sqlite …"
            )
        self.engine = SqliteEngine(self.folder, int(facts["dim"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the files."""
        self.engine.close()

    def identities(self) -> dict[str, int]:
        """Number of photos of each identity."""
        counts: dict[str, int] = {}
        for entry in self.engine.entries():
            counts[entry.label] = counts.get(entry.label, 0) + 1
        return counts

    def enrol(
        self,
        vectors: np.ndarray,
        identity: str | None = None,
        paths: Sequence[str] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> str:
        """Enrol photos of one identity; they are on disk when this returns.

        A photo that the identity has already is not enrolled twice.

        Args:
            vectors: of the photos, [n, D].
            identity: its name; if None, it is unknown and gets the next of "new-1", "new-2", …, which are
                never used again.
            paths: files of the photos, from the current folder.
            attributes: further values of each photo, for JSON.

        Returns:
            The name.

        Raises:
            ValueError: a vector has another dimension, or is not finite or zero.
            LookalikeError: the disk is full, or another process writes for long; nothing is enrolled then.
        """
        matrix = np.atleast_2d(np.asarray(vectors, np.float32))
        if paths is not None and len(paths) != len(matrix):
            raise ValueError(f"paths: {len(paths)} of them for {len(matrix)} vectors")
        name = self.next_unknown() if identity is None else identity.strip()
        if not name:
            raise ValueError("identity: is empty")
        files = [f"vectors#{row}" for row in range(len(matrix))]
        if paths is not None:
            files = [path_from(self.folder, Path(path)) for path in paths]
        self.engine.upsert(
            [
                Entry(
                    entry_id(vector, name), vector, name, {"path": str(file), **content, **(attributes or {})}
                )
                for vector, file, content in zip(matrix, files, _contents(paths, len(matrix)), strict=True)
            ]
        )
        return name

    def forget(self, identity: str) -> int:
        """Delete all of an identity: vectors, decisions and pictures, in the log and snapshots, too.

        Pictures are those that the service wrote into the index folder; other files are not touched.

        Returns:
            The number of photos; 0 where only the rest of an interrupted call was left to do.

        Raises:
            LookalikeError: there is no such identity.
        """
        entries = self.all_entries()
        if all(entry.label != identity for entry in entries):
            if self.engine.finish_forgetting():  # the command was interrupted and is repeated
                return 0
            raise LookalikeError(f"{self.folder}: has no identity {identity}; is it written as enrolled?")
        ids = {entry.id for entry in entries if entry.label == identity}
        self._remove_pictures(entries, ids)
        contents = {str(each.attributes.get("content", "")) for each in entries if each.id in ids}
        count = sum(entry.label == identity for entry in self.engine.entries())
        self.engine.forget(identity, sorted(contents - {""}))
        return count

    def forget_photo(self, photo: str) -> None:
        """Delete one photo like `forget` does all of an identity.

        Raises:
            LookalikeError: there is no such photo.
        """
        entries = self.all_entries()
        if all(entry.id != photo for entry in entries):
            raise LookalikeError(f"{self.folder}: has no photo {photo}")
        self._remove_pictures(entries, {photo})
        contents = {str(each.attributes.get("content", "")) for each in entries if each.id == photo}
        self.engine.forget(None, [photo, *sorted(contents - {""})])

    def all_entries(self) -> list[Entry]:
        """The entries of the index and of its snapshots."""
        entries = self.engine.entries()
        for name in self.engine.snapshots():
            with closing(self.engine.open_snapshot(name)) as snapshot:
                entries += snapshot.entries()
        return entries

    def _remove_pictures(self, entries: Sequence[Entry], ids: Collection[str]) -> None:
        """Remove the pictures first: if that is interrupted, the identity is still there to be forgotten."""
        remove_pictures(
            self.folder, {str(each.attributes.get("path", "")) for each in entries if each.id in ids}
        )

    def decide(
        self, kind: Kind, subject: str | Sequence[str], identity: str, author: str | None = None
    ) -> int:
        """Record a decision, and carry it out.

        Args:
            kind: `same`: the photos show the identity; `different`: they do not; `merge`: the identity
                `subject` is `identity`, which may be a new name; `split`: the photos become `identity`.
            subject: ids or files of photos, or the name of the identity that is merged. For `different`, also
                files that are not enrolled, or their `content_id`.
            identity: name of the identity.
            author: who decides; the user of this computer if None.

        Returns:
            Number of the decision, for `undo`.
        """
        if kind not in get_args(Kind) or kind == "undo":
            raise ValueError(f"kind={kind}: must be one of same, different, merge, split")
        entries = self.engine.entries()
        labels = {entry.id: entry.label for entry in entries}
        files = {self._file(entry.attributes.get("path", "")): entry.id for entry in entries}
        ids = [subject] if isinstance(subject, str) else list(subject)
        if kind != "merge":
            ids = [files.get(Path(each).resolve(), each) for each in ids]
        if kind == "different":
            ids = [each if each in labels else _content_or_name(each) for each in ids]
            labels |= {each: "" for each in ids if each.startswith(PREFIX)}
            if identity not in labels.values():
                log.warning("%s: %s is not enrolled; is it written as enrolled?", self.folder, identity)
        members = [each for each, label in labels.items() if label == ids[0]] if kind == "merge" else ids
        unknown = [each for each in members if each not in labels]
        if unknown or not members:
            raise LookalikeError(f"{self.folder}: there is no {', '.join(unknown or ids)} to decide on")
        if kind == "split" and identity in labels.values():
            raise LookalikeError(f"{self.folder}: {identity} is enrolled; a split needs a new name")
        changes = [] if kind == "different" else [(each, labels[each], identity) for each in members]
        return self._record(kind, ",".join(ids), identity, changes, None, author)

    def undo(self, decision: int, author: str | None = None) -> int:
        """Take a decision back; photos that were changed again since then stay as they are."""
        query = "SELECT kind, subject, object, changes FROM decisions WHERE id = ?"
        row = self.engine.connection.execute(query, (decision,)).fetchone()
        done = self.engine.connection.execute(
            "SELECT 1 FROM decisions WHERE undoes = ?", (decision,)
        ).fetchone()
        if row is None or done or row[0] == "undo":
            raise LookalikeError(f"{self.folder}: there is no decision {decision} that can be undone")
        back = [(each, new, old) for each, old, new in json.loads(row[3])]
        return self._record("undo", row[1], row[2], back, decision, author)

    def decisions(self) -> list[Decision]:
        """All decisions, oldest first."""
        query = "SELECT id, kind, subject, object, undoes, author, time FROM decisions ORDER BY id"
        return [Decision(*row) for row in self.engine.connection.execute(query)]

    def rejected_pairs(self) -> set[tuple[str, str]]:
        """Photos and identities that were decided to be different, and not undone.

        A photo is named by its id or, if it is not enrolled, by its `content_id`. An identity that was merged
        since then has the name that it has now.
        """
        every = self.decisions()
        undone = {each.undoes for each in every}
        pairs = set[tuple[str, str]]()
        for each in every:
            if each.id in undone:
                continue
            if each.kind == "merge":
                pairs = {(photo, each.object if name == each.subject else name) for photo, name in pairs}
            if each.kind == "different":
                pairs |= {(photo, each.object) for photo in each.subject.split(",")}
        return pairs

    def rejections(self) -> Rejections:
        """`rejected_pairs` for `Index.search`, which does not suggest them again."""
        files, enrolled = dict[str, set[str]](), dict[str, set[str]]()
        for photo, identity in self.rejected_pairs():
            (files if photo.startswith(PREFIX) else enrolled).setdefault(photo, set()).add(identity)
        entries = [entry for entry in self.engine.entries() if entry.id in enrolled] if enrolled else []
        vectors = [entry.vector for entry in entries] or [np.empty(self.engine.dim, np.float32)]
        return Rejections(files, np.stack(vectors)[: len(entries)], [enrolled[entry.id] for entry in entries])

    def _file(self, path: str) -> Path:
        return (self.folder.resolve() / path).resolve()

    def next_unknown(self) -> str:
        """The next of the names of unknown identities, "new-1", "new-2", …; it is not given again.

        Names that identities already have, as when the index was built with them, are left out.
        """
        with self.engine.transaction() as cursor:
            while True:
                cursor.execute(
                    "INSERT INTO counters VALUES ('unknown', 1) ON CONFLICT (name) DO UPDATE "
                    "SET value = value + 1"
                )
                (number,) = cursor.execute("SELECT value FROM counters WHERE name = 'unknown'").fetchone()
                name = f"new-{number}"
                if not cursor.execute("SELECT 1 FROM entries WHERE label = ? LIMIT 1", (name,)).fetchone():
                    return name

    def _record(
        self,
        kind: str,
        subject: str,
        identity: str,
        changes: list[Any],
        undoes: int | None,
        author: str | None,
    ) -> int:
        values = (kind, subject, identity, json.dumps(changes), undoes, author or getuser())
        with self.engine.transaction() as cursor:
            for each, old, new in changes:
                cursor.execute("UPDATE entries SET label = ? WHERE id = ? AND label = ?", (new, each, old))
            cursor.execute(
                "INSERT INTO decisions (kind, subject, object, changes, undoes, author, time) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*values, datetime.now(UTC).isoformat(timespec="seconds")),
            )
            return int(cursor.lastrowid or 0)


def _content_or_name(photo: str) -> str:
    """The content id of a file; anything else stays as it is."""
    return content_id(photo) if Path(photo).is_file() else photo


def _contents(paths: Sequence[str] | None, count: int) -> list[dict[str, str]]:
    """The attribute `content` of each photo whose file is there."""
    files = [None] * count if paths is None else [Path(path) for path in paths]
    return [{"content": content_id(file)} if file is not None and file.is_file() else {} for file in files]


def entry_id(vector: np.ndarray, label: str) -> str:
    """The id of a photo of an identity: the same photo of the same identity has the same one."""
    data = np.ascontiguousarray(vector, np.float32).tobytes() + label.encode()
    return hashlib.sha256(data).hexdigest()[:16]
