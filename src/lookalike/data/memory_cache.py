"""Small decoded images kept in memory shared by worker processes."""

import mmap
from typing import Any

import numpy as np

ROOM = 256 * 2**20
"""Maximum total size of decoded images in memory."""


class MemoryCache:
    """A slot in memory for each row of a table, for images that fit into it.

    Forked processes share it: an image decoded by one is available to the others and in the next epoch. Only
    used slots take memory. Processes that are not forked start with an empty cache.

    Args:
        rows: of the table.
        room: total size in bytes.
    """

    def __init__(self, rows: int, room: int = ROOM):
        self.bytes_per_row = room // max(1, rows) // 8 * 8
        self._rows: int = rows if self.bytes_per_row else 0
        self._pending: list[tuple[int, tuple[int, ...]]] = []
        if self._rows:
            self._pixels = np.frombuffer(mmap.mmap(-1, rows * self.bytes_per_row), np.uint8).reshape(
                rows, self.bytes_per_row
            )
            self._sizes = np.frombuffer(mmap.mmap(-1, 4 * rows), np.uint16).reshape(rows, 2)

    def __getstate__(self) -> dict[str, Any]:
        return {"bytes_per_row": self.bytes_per_row, "_rows": 0, "_pending": []}

    def fits(self, width: int, height: int) -> bool:
        """Whether an image of this size fits into a slot."""
        return 3 * width * height <= self.bytes_per_row and max(width, height) < 1 << 16

    def get(self, row: int) -> np.ndarray | None:
        """The image of a row, uint8 [h, w, 3]; None if it is not cached."""
        if not self._rows:
            return None
        height, width = self._sizes[row].tolist()
        if not height:
            return None
        return self._pixels[row, : 3 * height * width].reshape(height, width, 3)

    def store(self, row: int, picture: np.ndarray) -> None:
        """Store an image if it fits; it becomes visible after `commit`."""
        if self._rows and self.fits(picture.shape[1], picture.shape[0]):
            self._pixels[row, : picture.size] = picture.reshape(-1)
            self._pending.append((row, picture.shape[:2]))

    def commit(self) -> None:
        """Make stored images visible, after a barrier that ensures that their pixels are written first."""
        for row, size in self._pending:
            self._sizes[row] = size
        self._pending.clear()
