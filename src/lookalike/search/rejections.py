"""Suggestions that someone rejected, which are not made again for the same photo."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from lookalike.metrics.inputs import unit_length
from lookalike.search.nearest import Engine, Nearest, find_nearest

log = logging.getLogger(__name__)
PREFIX = "file-"
EQUAL = 1e-6
"""How far from 1 the cosine similarity of two vectors of one photo may be."""


def content_id(file: str | Path) -> str:
    """The id of a photo that is not enrolled, by its content: copies and renamed files have the same one.

    Raises:
        OSError: the file cannot be read.
    """
    return PREFIX + hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Rejections:
    """Identities that photos were decided not to show.

    Attributes:
        files: identities by the `content_id` of a photo.
        vectors: of enrolled photos, [R, D].
        identities: for each of them, [R].
    """

    files: Mapping[str, set[str]] = field(default_factory=dict)
    vectors: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    identities: Sequence[set[str]] = ()

    def __bool__(self) -> bool:
        return bool(self.files or self.identities)

    def of_photos(self, names: Sequence[str | None], vectors: np.ndarray) -> list[set[str]]:
        """The rejected identities of each query: of its file, where its name is one, and of equal vectors.

        Args:
            names: files, or None.
            vectors: of the queries, [Q, D], of any length.
        """
        refused = [set(self.files.get(self._file_id(name), ())) for name in names]
        if len(self.identities) and len(vectors):
            known = unit_length(np.asarray(self.vectors)[:, : vectors.shape[1]])
            cosine = unit_length(vectors) @ known.T
            for query, row in np.argwhere(cosine >= 1 - EQUAL).tolist():
                refused[query] |= self.identities[row]
        return refused

    def _file_id(self, name: str | None) -> str:
        if not self.files or name is None:
            return ""
        try:
            return content_id(Path(name).expanduser())
        except OSError:
            return ""


def find_allowed(
    engine: Engine,
    vectors: np.ndarray,
    k: int,
    labels: pl.Series,
    by_label: bool,
    refused: Sequence[set[str]],
) -> Nearest:
    """The nearest rows or labels of each query, without the identities that are refused for it.

    Args:
        engine: holds the gallery.
        vectors: queries, [Q, D].
        k: results per query.
        labels: of the gallery, [N].
        by_label: whether the nearest row of each label is returned.
        refused: labels by query, [Q].
    """
    columns = labels if by_label else None
    scores, rows = find_nearest(engine, vectors, k, columns)
    texts: np.ndarray | None = None
    for query in (query for query, names in enumerate(refused) if names):
        texts = np.array([str(label) for label in labels.to_list()], object) if texts is None else texts
        is_refused = np.isin(texts, list(refused[query]))
        extra = len(refused[query]) if by_label else int(is_refused.sum())
        more = find_nearest(engine, vectors[query : query + 1], min(k + extra, len(texts)), columns)
        kept = [(s, r) for s, r in zip(more[0][0], more[1][0], strict=True) if r >= 0 and not is_refused[r]]
        scores[query], rows[query] = [s for s, _ in kept[:k]], [r for _, r in kept[:k]]
    return scores, rows
