"""How many scores fell into each of very many cells."""

import numpy as np

MOST_WAITING = 1 << 20
"""Scores that are kept before they are counted."""

NONE = np.empty(0, np.int64)


class CellCounts:
    """How many scores fell into each fine cell: only cells that were met."""

    def __init__(self) -> None:
        self._cells = self._counts = NONE
        self._waiting: list[np.ndarray] = []
        self._held = 0

    def add(self, cells: np.ndarray) -> None:
        """Count them."""
        self._waiting.append(cells)
        self._held += len(cells)
        if self._held > MOST_WAITING:
            self.total()

    def total(self) -> tuple[np.ndarray, np.ndarray]:
        """The cells, ascending, and their counts."""
        cells, counts = distinct(np.concatenate([NONE, *self._waiting]))
        every, _ = distinct(np.concatenate([self._cells, cells]))
        total = np.zeros(len(every), np.int64)
        total[np.searchsorted(every, self._cells)] += self._counts
        total[np.searchsorted(every, cells)] += counts
        self._cells, self._counts, self._waiting, self._held = every, total, [], 0
        return every, total


def distinct(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different cells, ascending, and how often each is there."""
    ordered = np.sort(cells)
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    return ordered[first], np.diff(first, append=len(ordered))
