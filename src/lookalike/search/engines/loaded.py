"""Entries in memory, searched by faiss or NumPy."""

import logging
from typing import Any

import numpy as np

from lookalike.search.engines.base import Entry, Filter, Match

log = logging.getLogger(__name__)


class LoadedEntries:
    """Entries in memory with their matrix [N, D]."""

    def __init__(self, entries: list[Entry], dim: int):
        self.entries = entries
        self.vectors = np.stack([e.vector for e in entries]) if entries else np.empty((0, dim), np.float32)
        self._graph: Any = None
        self._has_warned = False

    def search(self, unit: np.ndarray, k: int, rows: np.ndarray | None, large: int) -> list[list[Match]]:
        """The nearest of `rows`, or of all."""
        queries = np.ascontiguousarray(unit, np.float32)
        faiss = import_faiss()
        if faiss is None and len(self.entries) > large and not self._has_warned:
            self._has_warned = True
            log.warning(
                "faiss is not installed, so the search is exact and slow: pip install lookalike[search]"
            )
        if rows is None and len(self.entries) > large and faiss is not None:
            scores, nearest = self._approximate(faiss).search(queries, min(k, len(self.entries)))
            if (nearest >= 0).all():
                return self._matches(scores, nearest)
        rows = np.arange(len(self.entries)) if rows is None else rows
        if not len(rows):
            return [[] for _ in queries]
        if faiss is not None:
            scores, nearest = faiss.knn(
                queries, self.vectors[rows], min(k, len(rows)), metric=faiss.METRIC_INNER_PRODUCT
            )
            return self._matches(scores, rows[nearest])
        cosine = queries @ self.vectors[rows].T
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        return self._matches(np.take_along_axis(cosine, nearest, axis=1), rows[nearest])

    def _approximate(self, faiss: Any) -> Any:
        if self._graph is None:
            graph = faiss.IndexHNSWFlat(self.vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
            graph.hnsw.efConstruction, graph.hnsw.efSearch = 200, 200
            graph.add(self.vectors)
            self._graph = graph
        return self._graph

    def _matches(self, scores: np.ndarray, rows: np.ndarray) -> list[list[Match]]:
        return [
            [
                Match(self.entries[row].id, self.entries[row].label, min(float(score), 1.0))
                for row, score in zip(query_rows, query_scores, strict=True)
            ]
            for query_rows, query_scores in zip(rows, scores, strict=True)
        ]


def passes_filter(entry: Entry, filters: Filter) -> bool:
    """Whether an entry has one of the values for every key."""
    return all(
        (entry.label if key == "label" else entry.attributes.get(key)) in values
        for key, values in filters.items()
    )


def import_faiss() -> Any:
    """The module faiss, or None where it is not installed; NumPy then searches, just as exactly."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss
