"""Subjects of recent photos, kept for a while so that they can be enrolled without a second upload."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lookalike.serve.errors import ApiError

AGE = 30 * 60.0
MOST = 500
MOST_BYTES = 100_000_000


@dataclass(frozen=True, eq=False)
class KeptSubject:
    """The vector of a subject, and its picture as a JPEG file."""

    vector: np.ndarray
    picture: bytes
    time: float


class Uploads:
    """Kept subjects, the oldest of which are dropped.

    Args:
        age: seconds after which a subject is dropped.
        most: number of subjects.
        most_bytes: of their pictures.
        clock: seconds.
    """

    def __init__(
        self,
        age: float = AGE,
        most: int = MOST,
        most_bytes: int = MOST_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.age, self.most, self.most_bytes, self.clock = age, most, most_bytes, clock
        self._kept: OrderedDict[str, KeptSubject] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, vector: np.ndarray, picture: bytes) -> str:
        """Keep a subject, and return its unguessable id."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[name] = KeptSubject(vector, picture, self.clock())
            self._bytes += len(picture)
            self._drop_old()
        return name

    def get(self, name: str) -> KeptSubject:
        """A subject that was kept.

        Raises:
            ApiError: it is not there, or no longer.
        """
        with self._lock:
            self._drop_old()
            if name not in self._kept:
                raise ApiError("expired", "this upload is not kept any longer; send the photo again")
            return self._kept[name]

    def clear(self) -> None:
        """Drop all."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _drop_old(self) -> None:
        oldest = self.clock() - self.age
        while self._kept:
            first = next(iter(self._kept.values()))
            if first.time > oldest and len(self._kept) <= self.most and self._bytes <= self.most_bytes:
                return
            self._kept.popitem(last=False)
            self._bytes -= len(first.picture)
