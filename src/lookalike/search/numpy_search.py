"""Exact nearest neighbours with NumPy alone, where PyTorch is not installed."""

import numpy as np

BLOCK = 8192
"""Gallery rows that are converted to float64 at once."""


class NumpySearch:
    """Ranks a gallery by cosines in float64, as `ExactSearch` does, but for one block of queries at a time.

    Args:
        vectors: the gallery, float32 [N, D].
    """

    def __init__(self, vectors: np.ndarray):
        self.vectors = vectors

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The `k` nearest rows of each query, nearest first; of equal scores the lower row first.

        Returns:
            scores float64 [Q, k] and rows int64 [Q, k]; -inf and -1 where the gallery has no more rows.

        Raises:
            ValueError: `k` is below 1, or the queries have another dimension.
        """
        if k < 1:
            raise ValueError(f"k={k}: at least 1 is needed")
        if queries.ndim != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"queries {list(queries.shape)}: the index has vectors of dimension {self.vectors.shape[1]}"
            )
        unit = _unit(queries)
        scores, rows = np.full((len(queries), k), -np.inf), np.full((len(queries), k), -1, np.int64)
        for start in range(0, len(self.vectors), BLOCK):
            block = unit @ _unit(self.vectors[start : start + BLOCK]).T
            numbers = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
            scores, rows = _merge(scores, rows, block, numbers, k)
        return scores, rows


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float64; a row of zeros stays."""
    wide = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(lengths > 0, lengths, 1)


def _merge(
    scores: np.ndarray, rows: np.ndarray, block: np.ndarray, numbers: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best `k` of what was found and of a block; earlier rows come first among equals."""
    joined, joined_rows = np.concatenate([scores, block], axis=1), np.concatenate([rows, numbers], axis=1)
    order = np.argsort(-joined, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(joined, order, axis=1), np.take_along_axis(joined_rows, order, axis=1)
