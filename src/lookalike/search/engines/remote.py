"""What engines at an address have in common: checks, the exact fallback, snapshots and messages."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Self

import numpy as np

from lookalike.errors import LookalikeError
from lookalike.search.engines.base import NAME, Entry, Filter, Match, checked_queries, checked_vectors

log = logging.getLogger(__name__)
LARGE = 10_000
"""Up to this many entries that pass a filter, all of them are compared with the query."""
TIMEOUT = 10.0
"""Seconds to wait for an answer."""


class RemoteEngine:
    """Entries in a server.

    Args:
        uri: address of the server.
        name: of the entries there.
        dim: D of the vectors.
        space: hash of the model that the vectors are of; "" if it does not matter.
        timeout: seconds to wait for an answer.
        large: number of matching entries up to which a filtered search compares with all of them.
        create: make it; it must not exist. Otherwise it must exist.

    Raises:
        LookalikeError: the server does not answer, or it holds vectors of another model or dimension.
    """

    max_k = 1 << 31
    """Matches that the server returns at most for a query."""

    def __init__(
        self,
        uri: str,
        name: str,
        dim: int,
        space: str = "",
        *,
        timeout: float = TIMEOUT,
        large: int = LARGE,
        create: bool = False,
    ):
        self.uri, self.name, self.dim, self.space = uri, name, dim, space
        self.timeout, self.large = timeout, large
        self._last_number = 0
        with self._calls():
            self._connect()
            facts = self._facts()
            if create and facts is not None:
                raise LookalikeError(
                    f"{self}: exists already; name= chooses another name, or delete it in the engine"
                )
            if create:
                self._create()
        if not create:
            self._check(facts)

    def _check(self, facts: tuple[int, str] | None) -> None:
        if facts is None:
            raise LookalikeError(
                f"{self}: is not there. It was deleted or renamed, or uri= names another server"
            )
        if facts[0] != self.dim:
            raise LookalikeError(
                f"{self}: holds vectors of dimension {facts[0]}, not {self.dim}; name= chooses other entries"
            )
        if self.space and facts[1] and facts[1] != self.space:
            raise LookalikeError(
                f"{self}: holds vectors of the model {facts[1]}, not of {self.space}: they cannot be "
                "compared; name= chooses other entries"
            )

    def __str__(self) -> str:
        return f"{self.uri}, {self.name}"

    # What each engine does in its own way

    def _connect(self) -> None:
        raise NotImplementedError

    def _facts(self) -> tuple[int, str] | None:
        """Dimension and space of what is there; None if nothing is."""
        raise NotImplementedError

    def _create(self) -> None:
        raise NotImplementedError

    def _write(self, entries: Sequence[Entry], vectors: np.ndarray, replacing: bool) -> None:
        """Store entries with different ids."""
        raise NotImplementedError

    def _existing(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that are there."""
        raise NotImplementedError

    def _remove(self, ids: Sequence[str]) -> None:
        raise NotImplementedError

    def _count(self, filters: Filter | None, limit: int | None = None) -> int:
        """Number of entries that pass; counting may stop at `limit`."""
        raise NotImplementedError

    def _entries(
        self, filters: Filter | None, vectors: bool, ids: Sequence[str] | None = None
    ) -> list[Entry]:
        """Entries in order of insertion, those of `ids` if given."""
        raise NotImplementedError

    def _search(self, queries: np.ndarray, k: int, filters: Filter | None, exact: bool) -> list[list[Match]]:
        raise NotImplementedError

    def _copy(self, snapshot: str) -> None:
        raise NotImplementedError

    def _set_alias(self, name: str, snapshot: str) -> None:
        raise NotImplementedError

    def _resolve(self, name: str) -> str:
        """The snapshot that an alias stands for, or the name."""
        raise NotImplementedError

    def _snapshots(self) -> list[str]:
        raise NotImplementedError

    def _open(self, snapshot: str) -> Self:
        raise NotImplementedError

    def _drop(self) -> None:
        raise NotImplementedError

    def _purge(self) -> str | None:
        """Have the server rewrite its files without deleted entries; returns when it will, if not at once."""
        raise NotImplementedError

    def _explain(self, error: Exception) -> str | None:
        """What an error of the client means; None if it is not one."""
        raise NotImplementedError

    # The protocol

    def add(self, entries: Sequence[Entry]) -> None:
        """See `Engine`."""
        vectors = checked_vectors(entries, self.dim)
        ids = [entry.id for entry in entries]
        with self._calls():
            taken = self._existing(ids) if ids else []
        taken = taken or [
            each for each, other in zip(sorted(ids), sorted(ids)[1:], strict=False) if each == other
        ]
        if taken:
            raise ValueError(f"entry {taken[0]}: is there already; upsert replaces it")
        try:
            with self._calls():
                self._write(entries, vectors, replacing=False)
        except LookalikeError:
            with suppress(LookalikeError), self._calls():
                self._remove(ids)
            raise

    def upsert(self, entries: Sequence[Entry]) -> None:
        """See `Engine`."""
        entries = list({entry.id: entry for entry in entries}.values())
        vectors = checked_vectors(entries, self.dim)
        with self._calls():
            self._write(entries, vectors, replacing=True)

    def delete(self, ids: Sequence[str]) -> int:
        """See `Engine`."""
        with self._calls():
            present = self._existing(list(dict.fromkeys(ids)))
            if present:
                self._remove(present)
        return len(present)

    def relabel(self, changes: Sequence[tuple[str, str, str]]) -> None:
        """See `Engine`."""
        labels = {each: (old, new) for each, old, new in changes}
        with self._calls():
            present = self._entries(None, True, list(labels))
        moved = [
            replace(each, label=labels[each.id][1]) for each in present if each.label == labels[each.id][0]
        ]
        self.upsert(moved)

    def search(self, queries: np.ndarray, k: int, filters: Filter | None = None) -> list[list[Match]]:
        """See `Engine`. Compares with all that pass where these are few, or the server finds too few."""
        unit = checked_queries(queries, k, self.dim)
        with self._calls():
            few = filters is not None and self._count(filters, self.large + 1) <= self.large
            if not few and k <= self.max_k:
                results = self._search(unit, k, filters, exact=False)
                if all(len(each) == k for each in results):
                    return results
                available = self._count(filters, k)
                if all(len(each) >= min(k, available) for each in results):
                    return results
            return self._search(unit, k, filters, exact=True)

    def count(self, filters: Filter | None = None) -> int:
        """See `Engine`."""
        with self._calls():
            return self._count(filters)

    def filter(self, filters: Filter | None = None) -> list[str]:
        """See `Engine`."""
        return [entry.id for entry in self.entries(filters, vectors=False)]

    def entries(self, filters: Filter | None = None, vectors: bool = True) -> list[Entry]:
        """See `Engine`."""
        with self._calls():
            return self._entries(filters, vectors)

    def snapshot(self, name: str) -> None:
        """See `Engine`."""
        with self._calls():
            if not NAME.fullmatch(name) or name in self._snapshots():
                raise ValueError(f"snapshot {name}: exists already, or is not letters, digits, ., _ and -")
            self._copy(name)

    def alias(self, name: str, snapshot: str) -> None:
        """See `Engine`."""
        with self._calls():
            if snapshot not in (names := self._snapshots()):
                raise ValueError(f"snapshot {snapshot}: there is none; there are {names or 'none'}")
            self._set_alias(name, snapshot)

    def snapshots(self) -> list[str]:
        """See `Engine`."""
        with self._calls():
            return self._snapshots()

    def open_snapshot(self, name: str) -> Self:
        """See `Engine`."""
        with self._calls():
            snapshot, names = self._resolve(name), self._snapshots()
            if snapshot not in names:
                raise ValueError(f"{name}: no such snapshot or alias; there are {names or 'none'}")
            return self._open(snapshot)

    def forget(self, label: str, others: Sequence[str] = ()) -> int:
        """See `Engine`. Logs when the server removes the data from its files, if that is not at once."""
        with self._calls():
            labelled = [entry.id for entry in self._entries({"label": [label]}, False)]
            ids = list(dict.fromkeys([*labelled, *others]))
            self._remove(ids)
            for name in self._snapshots():
                snapshot = self._open(name)
                snapshot.forget(label, ids)
                snapshot.close()
            later = self._purge()
        if later is not None:
            log.warning("%s: the entries of %s are deleted; %s", self, label, later)
        return len(ids)

    def drop(self) -> None:
        """See `Engine`."""
        with self._calls():
            self._drop()

    def close(self) -> None:
        """See `Engine`."""
        raise NotImplementedError

    def _next_numbers(self, count: int) -> range:
        """Numbers that order entries by insertion: they follow the clock."""
        first = max(self._last_number + 1, time.time_ns())
        self._last_number = first + count - 1
        return range(first, first + count)

    @contextmanager
    def _calls(self) -> Iterator[None]:
        """Turns errors of the client into one line with the address and the keys that change it."""
        try:
            yield
        except Exception as error:
            reason = self._explain(error)
            if reason is None:
                raise
            raise LookalikeError(
                f"{self.uri}: {' '.join(reason.split())} The address is uri=, the time to wait "
                f"timeout= ({self.timeout:g} s)"
            ) from error
