"""Exact nearest neighbours in blocks: memory grows with the number of vectors, never with its square.

Products in float32 find candidates; their order is that of cosines in float64.
"""

from collections.abc import Iterator

import numpy as np
import torch

from lookalike.metrics.inputs import FINE_GRID
from lookalike.search.dots import Parts, parts_of, products

BLOCK_BYTES = 1 << 26
"""Scores held at once."""

ROWS = 8192
"""Vectors that are converted to float64 at once."""

CLOSE = 1e-12
"""Far more than the error of a cosine in float64."""

FEWEST = 16
"""Queries in a product, at least: with very few of them the same pair may round to another score."""


class Exact:
    """All vectors of a gallery, compared with every query.

    The scores of `search` are cosines as `lookalike.search.dots.products` computes them, exact to 1e-14 and
    the same in any block or order of adding. So equal vectors get equal scores, and a vector of the gallery
    finds itself. Those of `scores` are rough dot products in float32.

    Args:
        vectors: [N, D], in float32 or float64.
        device: where to multiply; the CPU if not given.
        block: queries at once; by default as many as keep the scores below 64 MiB.

    Raises:
        ValueError: not a matrix, or values that are not finite.
    """

    def __init__(
        self, vectors: np.ndarray, device: str | torch.device | None = None, block: int | None = None
    ):
        self._vectors = vectors = _matrix(vectors, "vectors")
        self._lengths = _lengths(vectors)
        rows = max(FEWEST, min(1024, BLOCK_BYTES // (4 * max(1, len(vectors)))))
        self._error = 2.0**-21 + (vectors.shape[1] + 4) * 2.0**-23  # rounding of vectors and lengths, adding
        self.block = max(FEWEST, block or rows // FEWEST * FEWEST)
        self.gallery = torch.from_numpy(np.asarray(vectors, np.float32)).to(device or "cpu")

    def __len__(self) -> int:
        return len(self.gallery)

    def scores(self, queries: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks of dot products with the whole gallery, in float32.

        The array is overwritten by the next block: take what you need from it before going on.

        Args:
            queries: [Q, D].

        Yields:
            The number of the block's first query, and float32 [at most `block`, N].
        """
        queries = np.asarray(self._checked(queries), np.float32)
        held: torch.Tensor | None = None
        for start in range(0, len(queries), self.block):
            part = torch.from_numpy(queries[start : start + self.block]).to(self.gallery.device)
            wanted = len(part)
            if wanted < FEWEST:
                part = torch.cat([part, part.new_zeros(FEWEST - wanted, part.shape[1])])
            if held is None or len(held) != len(part):
                held = part.new_empty(len(part), len(self))
            torch.mm(part, self.gallery.T, out=held)
            yield start, held[:wanted].cpu().numpy()

    def search(
        self,
        queries: np.ndarray,
        k: int,
        exclude: np.ndarray | None = None,
        groups: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The `k` nearest rows of each query, nearest first; of equal scores the lower row first.

        Args:
            queries: [Q, D].
            k: hits a query.
            exclude: a row of the gallery that each query must not find (itself), int [Q]; -1 for none.
            groups: group of each query [Q] and of each gallery row [N]: a query finds none of its group.

        Returns:
            scores float64 [Q, k], cosines, 0 for a vector of zeros; and rows int64 [Q, k]; -inf and -1 where
            nothing is left to find.
        """
        if k < 1:
            raise ValueError(f"k={k}: at least 1 is needed")
        queries = self._checked(queries)
        lengths = _lengths(queries)
        found = np.full((len(queries), k), -np.inf)
        rows = np.full((len(queries), k), -1, np.int64)
        for start, block in self.scores(queries / lengths[:, None]):
            block /= self._lengths.astype(np.float32)
            for query, scores in enumerate(block, start):
                if exclude is not None and exclude[query] >= 0:
                    scores[exclude[query]] = -np.inf
                if groups is not None:
                    scores[groups[1] == groups[0][query]] = -np.inf
                near = self._candidates(scores, k)
                near, exact = self._cosines(queries[query] / lengths[query], near, k)
                order = np.argsort(-exact, kind="stable")[:k]
                found[query, : len(order)], rows[query, : len(order)] = exact[order], near[order]
        return found, rows

    def _candidates(self, scores: np.ndarray, k: int) -> np.ndarray:
        """The rows that may be among the `k` nearest, ascending, given the greatest error of rough scores."""
        nearest = best(scores, k)
        if len(nearest) < k:
            return np.sort(nearest)
        return np.flatnonzero(scores >= scores[nearest[-1]] - 2 * self._error)

    def _cosines(self, query: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Of some rows those that may be among the `k` nearest, ascending, and their cosines with a query."""
        if len(rows) > 2 * k:
            rough = np.einsum("nd,d->n", self._vectors[rows], query, dtype=np.float64) / self._lengths[rows]
            rows = rows[rough >= np.partition(rough, -k)[-k] - CLOSE]
        near = _exact(self._vectors[rows] / self._lengths[rows, None])
        return rows, products(_exact(query[None]), near)[0].numpy()

    def _checked(self, queries: np.ndarray) -> np.ndarray:
        queries = _matrix(queries, "queries")
        if queries.shape[1] != self.gallery.shape[1]:
            sizes = f"{queries.shape[1]} numbers each, the gallery {self.gallery.shape[1]}"
            raise ValueError(f"queries have {sizes}")
        return queries


def _exact(unit: np.ndarray) -> Parts:
    """Vectors of length 1 as exact ones."""
    return parts_of(np.round(unit * FINE_GRID) / FINE_GRID, slice(None), torch.device("cpu"))


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """The length of each vector, float64 [N]; 1 for a vector of zeros, whose cosines are then 0."""
    squares = np.empty(len(vectors))
    for start in range(0, len(vectors), ROWS):
        part = vectors[start : start + ROWS].astype(np.float64)
        squares[start : start + ROWS] = np.einsum("nd,nd->n", part, part)
    return np.where(squares > 0, np.sqrt(squares), 1.0)


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Rows of the `k` highest of scores [N], highest first, of equal ones the lower row first; never -inf."""
    candidates = np.flatnonzero(scores >= _lower_bound(scores, k))
    order = np.argsort(-scores[candidates], kind="stable")[:k]
    nearest = candidates[order]
    return nearest[scores[nearest] > -np.inf]


def _lower_bound(scores: np.ndarray, k: int) -> float:
    """A score that at least `k` rows reach: the k-th highest among the maxima of many groups of rows."""
    groups = 16 * k
    size = len(scores) // groups
    if size < 2:
        return -np.inf
    maxima = scores[: size * groups].reshape(size, groups).max(axis=0)
    return np.partition(maxima, groups - k)[groups - k]


def _matrix(values: np.ndarray, name: str) -> np.ndarray:
    """Float32 or 64, contiguous, finite; memory-mapped arrays are copied: torch wants writable memory."""
    kind = np.float64 if np.asarray(values).dtype == np.float64 else np.float32
    matrix = np.array(values, kind, order="C", copy=None)
    if matrix.ndim != 2:
        raise ValueError(f"{name}: a matrix [N, D] is needed, got {list(matrix.shape)}")
    if not all(np.isfinite(matrix[start : start + 65536]).all() for start in range(0, len(matrix), 65536)):
        bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ValueError(f"{name}: not finite (NaN or infinite) in row {bad[0]}{more}")
    return matrix if matrix.flags.writeable else matrix.copy()
