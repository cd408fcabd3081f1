"""What an engine does: it stores entries, durably, and finds the nearest ones, also under filters."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from lookalike.metrics.inputs import unit_length

Filter = Mapping[str, Collection[Any]]
"""For `label` or an attribute, the values that an entry may have; an entry has to meet all of them."""

NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")
"""Names of snapshots."""


@dataclass(frozen=True, eq=False)
class Entry:
    """An enrolled photo.

    Attributes:
        id: unique in its engine.
        vector: float32 [D], of length 1; of length 0 where it was not asked for.
        label: its identity.
        attributes: further values for JSON, such as its path.
    """

    id: str
    vector: np.ndarray
    label: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """An entry that is near to a query, with its cosine similarity."""

    id: str
    label: str
    similarity: float


class Engine(Protocol):
    """Stores entries and searches them. What a call has returned survives a crash of the process."""

    dim: int

    def add(self, entries: Sequence[Entry]) -> None:
        """Add entries, all or none. Raises ValueError if an id is there already."""
        ...

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Add entries, or replace those with the same ids, all or none."""
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """Delete entries; returns how many there were."""
        ...

    def relabel(self, changes: Sequence[tuple[str, str, str]]) -> None:
        """Change labels, given as (id, old label, new label); entries that have another label stay."""
        ...

    def search(self, queries: np.ndarray, k: int, filters: Filter | None = None) -> list[list[Match]]:
        """For each query [D], exactly min(k, number of entries that pass) matches, nearest first."""
        ...

    def count(self, filters: Filter | None = None) -> int:
        """Number of entries that pass a filter."""
        ...

    def filter(self, filters: Filter | None = None) -> list[str]:
        """Ids of the entries that pass a filter, in order of insertion."""
        ...

    def entries(self, filters: Filter | None = None, vectors: bool = True) -> list[Entry]:
        """The entries that pass a filter, in order of insertion, with or without their vectors."""
        ...

    def snapshot(self, name: str) -> None:
        """Keep the present entries under a name. Raises ValueError if it is taken."""
        ...

    def alias(self, name: str, snapshot: str) -> None:
        """Let a name stand for a snapshot from now on, in one step."""
        ...

    def snapshots(self) -> list[str]:
        """Names of the snapshots."""
        ...

    def open_snapshot(self, name: str) -> Self:
        """The entries of a snapshot or alias, to read."""
        ...

    def forget(self, label: str, others: Sequence[str] = ()) -> int:
        """Delete an identity and the ids `others`, in snapshots, too; returns how many entries there were."""
        ...

    def drop(self) -> None:
        """Delete everything: entries, snapshots and aliases."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


def checked_vectors(entries: Sequence[Entry], dim: int) -> np.ndarray:
    """The vectors of entries at length 1, float32 [N, D].

    Raises:
        ValueError: a vector has another dimension, is not finite or zero; says which.
    """
    for entry in entries:
        if np.shape(entry.vector) != (dim,):
            raise ValueError(
                f"entry {entry.id}: a vector {list(np.shape(entry.vector))}, but the index has [{dim}]"
            )
    if not entries:
        return np.empty((0, dim), np.float32)
    return np.ascontiguousarray(unit_length(np.stack([entry.vector for entry in entries])), np.float32)


def checked_queries(queries: np.ndarray, k: int, dim: int) -> np.ndarray:
    """Queries at length 1, float32 [Q, D].

    Raises:
        ValueError: `k` is below 1, or the queries have another dimension, are not finite or zero.
    """
    if k < 1:
        raise ValueError(f"k={k}: must be at least 1")
    matrix = np.atleast_2d(queries)
    if matrix.shape[1] != dim:
        raise ValueError(f"queries {list(matrix.shape)}: the index has vectors of dimension {dim}")
    return np.ascontiguousarray(unit_length(matrix), np.float32)


def rank_entries(queries: np.ndarray, entries: Sequence[Entry], k: int) -> list[list[Match]]:
    """The `k` nearest of some entries for each query [Q, D], by comparing with all of them."""
    if not entries:
        return [[] for _ in queries]
    cosine = queries @ np.stack([entry.vector for entry in entries]).T
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return [
        [Match(entries[row].id, entries[row].label, min(float(scores[row]), 1.0)) for row in rows]
        for rows, scores in zip(nearest, cosine, strict=True)
    ]


def literal_groups(values: Any) -> list[list[Any]]:
    """Values of a filter, one list for each type that an expression has to keep apart; without None."""
    groups: dict[str, list[Any]] = {}
    for value in values:
        if value is not None:
            kind = "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
            groups.setdefault(kind, []).append(value)
    return list(groups.values())
