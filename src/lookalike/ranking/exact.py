"""Exact nearest neighbours in blocks: memory grows with the number of vectors, never with its square.

Products in float32 find candidates; their order is that of cosines in float64.
"""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from lookalike.metrics.inputs import FINE_GRID, GRID
from lookalike.metrics.retrieval import Ranking, relevant_positions
from lookalike.metrics.verification import PairCounter
from lookalike.ranking.task import RankedQueries, RetrievalTask

COLUMNS = 2048
"""Gallery rows that are converted to float64 at once."""

PAIRS = 1 << 15
"""Pairs that are gathered at once where there is no product of chosen pairs."""


class Parts(NamedTuple):
    """Vectors as the sum of two matrices, float64 [N, D] each.

    Attributes:
        high: multiples of 1 / GRID.
        low: the rest; None where there is none, as of vectors from `unit_vectors`.
    """

    high: torch.Tensor
    low: torch.Tensor | None


def parts_of(vectors: np.ndarray, rows: np.ndarray | slice, device: torch.device) -> Parts:
    """Some vectors, from `exact_vectors` or `unit_vectors`."""
    every = torch.from_numpy(vectors[rows]).to(device)
    if every.dtype is torch.float32:
        return Parts(every.double(), None)
    return split(every, torch.empty_like(every), torch.empty_like(every))


def split(vectors: torch.Tensor, high: torch.Tensor, low: torch.Tensor) -> Parts:
    """Exact vectors as a sum, written into `high` and `low`.

    Adding and taking away 1.5 · GRID, of which the last bit is 1 / GRID, rounds to a multiple of that.
    """
    torch.add(vectors, 1.5 * GRID, out=high).sub_(1.5 * GRID)
    return Parts(high, torch.sub(vectors, high, out=low))


def all_scores(queries: np.ndarray, gallery: np.ndarray, device: torch.device) -> np.ndarray:
    """The scores of all pairs, float64 [Q, N]; see `products`."""
    left = parts_of(queries, slice(None), device)
    scores = torch.empty(len(queries), len(gallery), dtype=torch.float64, device=device)
    for start in range(0, len(gallery), COLUMNS):
        part = parts_of(gallery, slice(start, start + COLUMNS), device)
        scores[:, start : start + len(part.high)] = products(left, part)
    return scores.cpu().numpy()


def products(left: Parts, right: Parts) -> torch.Tensor:
    """The scores of all pairs, float64 [R, C]: exact up to one rounding to a multiple of 2⁻⁵²."""
    scores = torch.mm(left.high, right.high.T)
    rests = [(left.high, right.low), (left.low, right.high)]
    some = [(one, other) for one, other in rests if one is not None and other is not None]
    return _add_rests(scores, [torch.mm(one, other.T) for one, other in some])


def chosen_products(left: Parts, right: Parts, positions: np.ndarray) -> np.ndarray:
    """The same of some pairs [P], whose places in the flattened matrix ascend."""
    rests = [(left.high, right.low), (left.low, right.high)]
    some = [(one, other) for one, other in rests if one is not None and other is not None]
    scores = torch.from_numpy(pair_scores(left.high, right.high, positions))
    rest = [torch.from_numpy(pair_scores(one, other, positions)) for one, other in some]
    return _add_rests(scores, rest).numpy()


def _add_rests(scores: torch.Tensor, rests: Sequence[torch.Tensor]) -> torch.Tensor:
    """With the products of the rests, as multiples of 2⁻⁵²; a cosine is at most 1.

    Without rests the lengths are not exact, and products may exceed 1. Adding and taking away 1.5, of
    which the last bit is 2⁻⁵², rounds a small number to such a multiple.
    """
    if not rests:
        return scores
    rest = rests[0] if len(rests) == 1 else rests[0].add_(rests[1])
    return scores.add_(rest.add_(1.5).sub_(1.5)).clamp_(-1, 1)


def pair_scores(left: torch.Tensor, right: torch.Tensor, cells: np.ndarray) -> np.ndarray:
    """The products of some pairs [P], in the type of the vectors.

    Args:
        left: [R, D].
        right: [C, D].
        cells: of the pairs in the flattened matrix of all scores [R, C], ascending.
    """
    width = len(right)
    if left.device.type != "cpu":
        return _gather_scores(left, right, *np.divmod(cells, width))
    ends = np.searchsorted(cells, np.arange(len(left) + 1) * width)
    columns = cells & (width - 1) if width & (width - 1) == 0 else cells % width
    sparse_scores = torch.sparse_csr_tensor(
        torch.from_numpy(ends),
        torch.from_numpy(columns),
        torch.zeros(len(columns), dtype=left.dtype),
        (len(left), width),
        check_invariants=False,
    )
    return torch.sparse.sampled_addmm(sparse_scores, left, right.T, beta=0).values().numpy()


def quiet_sparse() -> None:
    """Have torch say now, unheard, that its sparse matrices are new; it says so once in a process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 1], [0], [1.0], (1, 1))


def _gather_scores(
    left: torch.Tensor, right: torch.Tensor, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    scores = np.empty(len(rows), np.float64 if left.dtype is torch.float64 else np.float32)
    for start in range(0, len(rows), PAIRS):
        part = slice(start, start + PAIRS)
        left_rows = left[torch.from_numpy(rows[part]).to(left.device)]
        other = right[torch.from_numpy(columns[part]).to(left.device)]
        scores[part] = (left_rows * other).sum(dim=1).cpu().numpy()
    return scores


BLOCK_BYTES = 1 << 26
"""Scores held at once."""

ROWS = 8192
"""Vectors that are converted to float64 at once."""

CLOSE = 1e-12
"""Far more than the error of a cosine in float64."""

FEWEST = 16
"""Queries in a product, at least: with very few of them the same pair may round to another score."""


class ExactSearch:
    """All vectors of a gallery, compared with every query.

    The scores of `search` are cosines as `lookalike.ranking.exact.products` computes them, exact to 1e-14 and
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
        queries = np.asarray(self._check_queries(queries), np.float32)
        output_buffer: torch.Tensor | None = None
        for start in range(0, len(queries), self.block):
            part = torch.from_numpy(queries[start : start + self.block]).to(self.gallery.device)
            num_rows = len(part)
            if num_rows < FEWEST:
                part = torch.cat([part, part.new_zeros(FEWEST - num_rows, part.shape[1])])
            if output_buffer is None or len(output_buffer) != len(part):
                output_buffer = part.new_empty(len(part), len(self))
            torch.mm(part, self.gallery.T, out=output_buffer)
            yield start, output_buffer[:num_rows].cpu().numpy()

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
        queries = self._check_queries(queries)
        lengths = _lengths(queries)
        best_scores = np.full((len(queries), k), -np.inf)
        rows = np.full((len(queries), k), -1, np.int64)
        for start, block in self.scores(queries / lengths[:, None]):
            block /= self._lengths.astype(np.float32)
            for query, scores in enumerate(block, start):
                if exclude is not None and exclude[query] >= 0:
                    scores[exclude[query]] = -np.inf
                if groups is not None:
                    scores[groups[1] == groups[0][query]] = -np.inf
                nearest = self._candidates(scores, k)
                nearest, exact = self._cosines(queries[query] / lengths[query], nearest, k)
                order = np.argsort(-exact, kind="stable")[:k]
                best_scores[query, : len(order)], rows[query, : len(order)] = exact[order], nearest[order]
        return best_scores, rows

    def _candidates(self, scores: np.ndarray, k: int) -> np.ndarray:
        """The rows that may be among the `k` nearest, ascending, given the greatest error of rough scores."""
        nearest = top_scores(scores, k)
        if len(nearest) < k:
            return np.sort(nearest)
        return np.flatnonzero(scores >= scores[nearest[-1]] - 2 * self._error)

    def _cosines(self, query: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Of some rows those that may be among the `k` nearest, ascending, and their cosines with a query."""
        if len(rows) > 2 * k:
            rough = np.einsum("nd,d->n", self._vectors[rows], query, dtype=np.float64) / self._lengths[rows]
            rows = rows[rough >= np.partition(rough, -k)[-k] - CLOSE]
        nearest = _exact(self._vectors[rows] / self._lengths[rows, None])
        return rows, products(_exact(query[None]), nearest)[0].numpy()

    def _check_queries(self, queries: np.ndarray) -> np.ndarray:
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


def top_scores(scores: np.ndarray, k: int) -> np.ndarray:
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


MOST_ROWS = 1024

PART = 64
"""Queries that are given at once, since one identity may be as large as the gallery."""

NONE = np.empty(0, np.int64)


class FullRanking:
    """Ranks whole rows of scores.

    Args:
        task: queries and gallery, without junk.
        neighbours: how many nearest rows to keep.
        device: where to multiply.
        threads: how many rows to rank at a time.
        pairs: whether to keep all pairs.
        block_bytes: memory for scores.
    """

    def __init__(
        self,
        task: RetrievalTask,
        neighbours: int,
        device: torch.device,
        threads: int,
        pairs: bool = False,
        block_bytes: int = BLOCK_BYTES,
    ):
        self.task, self.neighbours, self.device, self.threads = task, neighbours, device, threads
        self.block = max(1, min(MOST_ROWS, block_bytes // (8 * max(1, len(task.rows)))))
        self.counters = [PairCounter() for _ in range(threads)] if pairs else []

    def run(self, queries: np.ndarray) -> Iterator[RankedQueries]:
        """Rank these queries."""
        with ThreadPoolExecutor(self.threads) as pool:
            for start in range(0, len(queries), self.block):
                block_queries = queries[start : start + self.block]
                scores = all_scores(self.task.queries[block_queries], self.task.rows, self.device)
                for first in range(0, len(block_queries), PART):
                    yield self._rank(pool, block_queries[first : first + PART], scores[first : first + PART])

    def _rank(self, pool: ThreadPoolExecutor, queries: np.ndarray, scores: np.ndarray) -> RankedQueries:
        nearest = np.full((len(queries), self.neighbours), -1)
        nearest_scores = np.full(nearest.shape, -np.inf)
        relevant_ranks: list[np.ndarray] = [NONE] * len(queries)
        work = partial(self._rank_share, queries, scores, nearest, nearest_scores, relevant_ranks)
        list(pool.map(work, range(self.threads)))
        return RankedQueries(queries, Ranking.from_lists(relevant_ranks), nearest, nearest_scores)

    def _rank_share(
        self,
        queries: np.ndarray,
        scores: np.ndarray,
        nearest: np.ndarray,
        nearest_scores: np.ndarray,
        relevant_ranks: list[np.ndarray],
        thread: int,
    ) -> None:
        """A thread's rows: one in so many, since later rows may have fewer pairs to count."""
        for index in range(thread, len(queries), self.threads):
            query, row = int(queries[index]), scores[index]
            relevant, hidden = self.task.relevant_rows(query), self.task.hidden_rows(query)
            if self.counters:
                self._count_above(query, row, relevant, hidden, self.counters[thread])
            row[hidden] = -np.inf
            first = top_scores(row, self.neighbours) if self.neighbours else NONE
            nearest[index, : len(first)] = first
            nearest_scores[index, : len(first)] = np.clip(row[first], -1, 1)
            relevant_ranks[index] = relevant_positions(row, relevant)

    def _count_above(
        self, query: int, scores: np.ndarray, relevant: np.ndarray, hidden: np.ndarray, counter: PairCounter
    ) -> None:
        """Count the query's pairs; in self-retrieval those with later rows, so that each counts once."""
        first = query + 1 if self.task.self_retrieval else 0
        positive = relevant[relevant >= first] - first
        hidden = hidden[hidden >= first] - first
        if len(hidden):
            is_visible = np.ones(len(scores) - first, bool)
            is_visible[hidden] = False
            scores, positive = scores[first:][is_visible], (np.cumsum(is_visible) - 1)[positive]
        else:
            scores = scores[first:]
        counter.count_block(scores, positive)
