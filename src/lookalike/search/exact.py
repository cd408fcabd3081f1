"""Exact nearest neighbours in blocks: memory grows with the number of vectors, never with its square."""

from collections.abc import Iterator

import numpy as np
import torch

BLOCK_BYTES = 1 << 26
"""Scores held at once."""

FEWEST = 16
"""Queries in a product, at least: with very few of them the same pair may round to another score."""


class Exact:
    """All vectors of a gallery, compared with every query.

    Scores are dot products: cosine similarities where vectors have length 1. Equal vectors get equal scores.

    Args:
        vectors: float32 [N, D].
        device: where to multiply; the CPU if not given.
        block: queries at once; by default as many as keep the scores below 64 MiB.

    Raises:
        ValueError: not a matrix, or values that are not finite.
    """

    def __init__(
        self, vectors: np.ndarray, device: str | torch.device | None = None, block: int | None = None
    ):
        vectors = _matrix(vectors, "vectors")
        rows = max(FEWEST, min(1024, BLOCK_BYTES // (4 * max(1, len(vectors)))))
        self.block = max(FEWEST, block or rows // FEWEST * FEWEST)
        self.gallery = torch.from_numpy(vectors).to(device or "cpu")

    def __len__(self) -> int:
        return len(self.gallery)

    def scores(self, queries: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks of scores against the whole gallery.

        The array is overwritten by the next block: take what you need from it before going on.

        Args:
            queries: [Q, D].

        Yields:
            The number of the block's first query, and float32 [at most `block`, N].
        """
        queries = _matrix(queries, "queries")
        if queries.shape[1] != self.gallery.shape[1]:
            sizes = f"{queries.shape[1]} numbers each, the gallery {self.gallery.shape[1]}"
            raise ValueError(f"queries have {sizes}")
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
            scores float32 [Q, k] and rows int64 [Q, k]; -inf and -1 where nothing is left to find.
        """
        if k < 1:
            raise ValueError(f"k={k}: at least 1 is needed")
        found = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        for start, block in self.scores(queries):
            for query, scores in enumerate(block, start):
                if exclude is not None and exclude[query] >= 0:
                    scores[exclude[query]] = -np.inf
                if groups is not None:
                    scores[groups[1] == groups[0][query]] = -np.inf
                nearest = best(scores, k)
                found[query, : len(nearest)], rows[query, : len(nearest)] = scores[nearest], nearest
        return found, rows


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Rows of the `k` highest of scores [N], highest first, of equal ones the lower row first; never -inf."""
    candidates = np.flatnonzero(scores >= _lower_bound(scores, k))
    order = np.argsort(-scores[candidates], kind="stable")[:k]
    nearest = candidates[order]
    return nearest[scores[nearest] > -np.inf]


def _lower_bound(scores: np.ndarray, k: int) -> np.float32 | float:
    """A score that at least `k` rows reach: the k-th highest among the maxima of many groups of rows."""
    groups = 16 * k
    size = len(scores) // groups
    if size < 2:
        return -np.inf
    maxima = scores[: size * groups].reshape(size, groups).max(axis=0)
    return np.partition(maxima, groups - k)[groups - k]


def _matrix(values: np.ndarray, name: str) -> np.ndarray:
    """Float32, contiguous, finite; memory-mapped arrays are copied, since torch wants writable memory."""
    matrix = np.array(values, np.float32, order="C", copy=None)
    if matrix.ndim != 2:
        raise ValueError(f"{name}: a matrix [N, D] is needed, got {list(matrix.shape)}")
    if not all(np.isfinite(matrix[start : start + 65536]).all() for start in range(0, len(matrix), 65536)):
        bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ValueError(f"{name}: not finite (NaN or infinite) in row {bad[0]}{more}")
    return matrix if matrix.flags.writeable else matrix.copy()
