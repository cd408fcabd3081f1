"""What an engine does: it stores entries, durably, and finds the nearest ones, also under filters."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

Filter = Mapping[str, Collection[Any]]
"""For `label` or an attribute, the values that an entry may have; an entry has to meet all of them."""


@dataclass(frozen=True, eq=False)
class Entry:
    """An enrolled photo.

    Attributes:
        id: unique in its engine.
        vector: float32 [D], of length 1.
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

    def add(self, entries: Sequence[Entry]) -> None:
        """Add entries, all or none. Raises ValueError if an id is there already."""
        ...

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Add entries, or replace those with the same ids, all or none."""
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """Delete entries; returns how many there were."""
        ...

    def search(self, queries: np.ndarray, k: int, filters: Filter | None = None) -> list[list[Match]]:
        """For each query [D], exactly min(k, number of entries that pass) matches, nearest first."""
        ...

    def filter(self, filters: Filter | None = None) -> list[str]:
        """Ids of the entries that pass a filter, in order of insertion."""
        ...

    def snapshot(self, name: str) -> None:
        """Keep the present entries under a name. Raises ValueError if it is taken."""
        ...

    def alias(self, name: str, snapshot: str) -> None:
        """Let a name stand for a snapshot from now on, in one step."""
        ...

    def open_snapshot(self, name: str) -> Self:
        """The entries of a snapshot or alias, to read."""
        ...

    def close(self) -> None:
        """Release files."""
        ...
