"""The index of a service: what is enrolled now, the threshold for it, and changes to it."""

import asyncio
import logging
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lookalike.errors import LookalikeError
from lookalike.evaluation.identification import IdentificationPoint
from lookalike.search.identify import Validation, identification_point
from lookalike.search.index import Index
from lookalike.search.photo_files import remove_unused_pictures, save_picture
from lookalike.search.registry import Registry, entry_id
from lookalike.search.stored import entries_table
from lookalike.serve.errors import ApiError

log = logging.getLogger(__name__)
Result = TypeVar("Result")
CHECK = 1.0
"""Seconds after which changes by other processes are looked for."""
UNKNOWN = re.compile(r"new-\d+")


@dataclass(frozen=True)
class Enrolled:
    """What is enrolled at a time; it does not change.

    Attributes:
        index: to search.
        ids: of the entries, in the order of the rows of the index.
        added: when they were enrolled, where known.
        rows: the row of each id.
        photos: rows of each identity.
    """

    index: Index
    ids: Sequence[str]
    added: Sequence[str | None]
    rows: dict[str, int] = field(default_factory=dict)
    photos: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows.update({name: row for row, name in enumerate(self.ids)})
        for row, label in enumerate(self.index.table.frame["label"].to_list()):
            self.photos.setdefault(str(label), []).append(row)


class Gallery:
    """An index that is searched and changed by many requests at a time.

    Changes are made in one thread, one after the other; what is enrolled is read anew after each, and after
    changes by other processes.

    Args:
        folder: the index.
        index: loaded from it, with its model.
        fpir: share of strangers who may be given a name.
        validation: as in `Index.identify`.
    """

    def __init__(self, folder: Path, index: Index, fpir: float, validation: Validation = None):
        self.folder, self.fpir, self.validation = folder, fpir, validation
        self._index, self._checked = index, time.monotonic()
        self._writer = ThreadPoolExecutor(1, "lookalike-index")
        self._chooser = ThreadPoolExecutor(1, "lookalike-threshold")
        self._points: dict[Any, Future[IdentificationPoint]] = {}
        self._registry: Registry | None = None
        self._version: Any = None
        self.current = self._writer.submit(self._open).result()

    @property
    def is_writable(self) -> bool:
        """Whether identities can be enrolled."""
        return self._registry is not None

    async def fresh(self) -> Enrolled:
        """What is enrolled now."""
        if self.is_writable and time.monotonic() - self._checked > CHECK:
            self._checked = time.monotonic()
            await self._in_writer(self._refresh)
        return self.current

    async def point(self, enrolled: Enrolled, probe_photos: int = 1) -> IdentificationPoint:
        """The threshold for what is enrolled; it is chosen once for each gallery.

        Raises:
            ApiError: there are no vectors to choose it on.
        """
        try:
            return await asyncio.wrap_future(self._choose(enrolled, probe_photos))
        except (LookalikeError, ValueError) as error:
            raise ApiError("no_threshold", str(error)) from error

    def require_writable(self) -> Registry:
        """The registry to change; an index that does not change has none.

        Raises:
            ApiError: the index does not change.
        """
        if self._registry is None:
            raise ApiError(
                "not_writable",
                f"the index {self.folder.name} does not change; make one that does with `lookalike index "
                "engine=sqlite …`",
                True,
            )
        return self._registry

    async def change(self, work: Callable[[Registry], Result]) -> Result:
        """Change the index; what is enrolled has been read anew when this returns.

        Raises:
            ApiError: the index does not change, the change is refused, or the disk is full.
        """
        registry = self.require_writable()
        return await self._in_writer(lambda: self._change(registry, work))

    async def read(self, work: Callable[[Registry], Result]) -> Result | None:
        """Read from the registry; None for an index that does not change."""
        registry = self._registry
        return None if registry is None else await self._in_writer(lambda: work(registry))

    def enrol(
        self, registry: Registry, name: str | None, vectors: np.ndarray, pictures: Sequence[bytes]
    ) -> tuple[str, list[str]]:
        """Enrol subjects, pictures first; for `change`.

        Returns:
            The name of the identity, and the ids of the entries.
        """
        identity = registry.next_unknown() if name is None else name
        matrix = np.asarray(vectors, np.float32)
        ids = [entry_id(vector, identity) for vector in matrix]
        files = [
            str(save_picture(self.folder, each, picture)) for each, picture in zip(ids, pictures, strict=True)
        ]
        added = {"added": datetime.now(UTC).isoformat(timespec="seconds")}
        return registry.enrol(matrix, identity, files, added), ids

    def close(self) -> None:
        """Finish changes, and release the files."""
        self._writer.submit(self._close).result()
        self._writer.shutdown()
        self._chooser.shutdown(cancel_futures=True)

    async def _in_writer(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    def _open(self) -> Enrolled:
        try:
            self._registry = Registry(self.folder)
        except LookalikeError as error:
            log.info("the index does not change, so nobody can be enrolled: %s", error)
            return _number_rows(self._index)
        paths = {str(entry.attributes.get("path", "")) for entry in self._registry.all_entries()}
        removed = remove_unused_pictures(self.folder, paths)
        if removed:
            log.info("removed %d pictures that were left by a process that was killed", removed)
        return self._read_entries(self._registry)

    def _close(self) -> None:
        if self._registry is not None:
            self._registry.close()
            self._registry = None

    def _refresh(self) -> None:
        if self._registry is not None and self._registry.engine.version() != self._version:
            self.current = self._read_entries(self._registry)

    def _read_entries(self, registry: Registry) -> Enrolled:
        self._version = registry.engine.version()
        entries, old = registry.engine.entries(), self._index
        vectors, table = entries_table(entries, self.folder, old.vectors.shape[1])
        model, rejections = old.loaded_model, registry.rejections()
        index = Index(vectors, table, old.space, model, old.device, old.name, rejections)
        added = [each.attributes.get("added") for each in entries]
        return Enrolled(index, [each.id for each in entries], added)

    def _change(self, registry: Registry, work: Callable[[Registry], Result]) -> Result:
        try:
            result = work(registry)
        except OSError as error:
            raise ApiError("disk_full", f"the index cannot be written: {error.strerror or error}") from error
        except LookalikeError as error:
            raise _api_error(error) from error
        except ValueError as error:
            raise ApiError("bad_request", str(error)) from error
        finally:
            self._refresh()
        if self.current.photos and all(point.done() for point in list(self._points.values())):
            self._choose(self.current, 1)  # so that the next photo need not wait for it
        return result

    def _choose(self, enrolled: Enrolled, probe_photos: int) -> "Future[IdentificationPoint]":
        sizes = Counter(len(rows) for rows in enrolled.photos.values())
        key = (tuple(sorted(sizes.items())), probe_photos)
        known = self._points.get(key)
        if known is None:
            if len(self._points) > 64:
                self._points.clear()
            known = self._chooser.submit(
                identification_point, enrolled.index, self.fpir, self.validation, probe_photos
            )
            self._points[key] = known
        return known


def _number_rows(index: Index) -> Enrolled:
    """What an index holds that does not change; ids are hashes of path and box."""
    paths = index.table.frame["path"].to_list()
    ids = [
        sha256(f"{row}|{path}|{index.table.box(row)}".encode()).hexdigest()[:16]
        for row, path in enumerate(paths)
    ]
    return Enrolled(index, ids, [None] * len(ids))


def _api_error(error: LookalikeError) -> ApiError:
    """The response to an error of the registry."""
    cause, text = error.__cause__, str(error)
    if isinstance(cause, sqlite3.OperationalError):
        code = "disk_full" if "full" in str(cause) or "I/O" in str(cause) else "busy"
        return ApiError(code, text.partition(": ")[2] or text)
    missing = "no identity" in text or "no photo" in text
    return ApiError("not_found" if missing else "conflict", text.partition(": ")[2] or text)
