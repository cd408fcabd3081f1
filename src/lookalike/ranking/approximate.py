"""Top of each ranking: candidates are selected in low precision, then scored and ranked exactly.

The candidates of a query are the rows whose low-precision score reaches its threshold. They include every row
that scores at least the threshold plus the error bound, so the candidates above that score are the true top
of the ranking. Queries whose top is too short, or with too many candidates, are left over.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch

from lookalike.metrics.retrieval import Ranking
from lookalike.ranking.candidate_thresholds import CandidateThresholds
from lookalike.ranking.error_bound import (
    NOTHING,
    LowPrecisionVectors,
    Products,
    Tile,
    TileVectors,
    codes_at_cells,
    error_bound,
    float64_error,
    has_fast_bfloat16,
    max_rounding_error,
    plain_products,
    random_rotation,
    value_of,
)
from lookalike.ranking.exact import chosen_products, quiet_sparse
from lookalike.ranking.pair_bands import Band
from lookalike.ranking.pair_histogram import PairHistogram
from lookalike.ranking.relevant_ranks import RelevantRanks
from lookalike.ranking.task import RankedQueries, RankingDepth, RankingSettings, RetrievalTask

WORTH = 24
"""Vectors are rotated if their number is at least this multiple of their dimension."""

NARROW = 0.7
"""They are rotated only if the bound on the cosine of rounding errors is below this."""


class _Candidates(NamedTuple):
    """Candidates of the queries of a block."""

    query: np.ndarray  # index in the block
    row: np.ndarray  # of the gallery
    score: np.ndarray


class Shortlist:
    """Ranks the nearest rows of all queries.

    Queries and gallery are compared in the order of their identities.

    Args:
        task: queries and gallery, without junk.
        depth: how much of each ranking is needed.
        device: used for products.
        threads: tiles processed in parallel.
        pairs: whether pairs will be counted.
        settings: sizes of tiles and the like.
    """

    def __init__(
        self,
        task: RetrievalTask,
        depth: RankingDepth,
        device: torch.device,
        threads: int,
        pairs: bool = False,
        settings: RankingSettings | None = None,
    ):
        quiet_sparse()
        self.task, self.depth, self.device, self.threads = task, depth, device, threads
        self.settings = settings = settings or RankingSettings()
        self.tile = settings.tile
        size = len(task.queries)
        queries = task.order if task.self_retrieval else np.argsort(task.query_codes, kind="stable")
        self.order = queries, task.order
        rotation = self._rotate_vectors(device) if pairs else None
        rounding = device, rotation, settings.bfloat16
        self.right = LowPrecisionVectors(task.rows, task.order, *rounding)
        self.left = (
            self.right if task.self_retrieval else LowPrecisionVectors(task.queries, queries, *rounding)
        )
        self.error = error_bound(self.left, self.right)
        self.doubt = float64_error(task.queries.shape[1])
        self.relevant = (
            RelevantRanks(task, self.order, self.error, device, settings.max_undecided)
            if depth.every is None
            else None
        )
        is_counted = None if self.relevant is None else self.relevant.is_counted
        self.thresholds = CandidateThresholds(
            task, depth, self.order, self.left, self.right, self.error, is_counted
        )
        self.limits = np.full(size, NOTHING)
        self.num_candidates = np.zeros(size, np.int64)
        needed = np.minimum(self.thresholds.needed, len(task.rows))
        self.max_candidates = 4 * needed + settings.spare_candidates
        self.candidates: list[list[_Candidates]] = [[] for _ in range(0, size, self.tile)]
        self.lock = Lock()
        self.left_over = [np.empty(0, np.int64)]

    def _rotate_vectors(self, device: torch.device) -> torch.Tensor | None:
        """A rotation, if it pays: for many vectors of high dimension."""
        dim, size = self.task.queries.shape[1], len(self.task.queries)
        pays = size > WORTH * dim and max_rounding_error(dim, size * len(self.task.rows)) < NARROW
        rotate = pays and has_fast_bfloat16(device) if self.settings.rotate is None else self.settings.rotate
        return random_rotation(dim, device) if rotate else None

    def make_histogram(self, bands: list[Band]) -> PairHistogram:
        """A histogram of pairs, for `run`."""
        error = partial(error_bound, self.left, self.right)
        return PairHistogram(self.task, self.order, error, bands, self.settings)

    def run(
        self, advance: Callable[[int], None], histogram: PairHistogram | None = None, ranks: bool = True
    ) -> Iterator[RankedQueries]:
        """Select candidates, then rank them; `left_over` contains the queries that are not returned.

        Args:
            advance: called with the number of queries that have been compared.
            histogram: counts the pairs.
            ranks: whether to rank at all.
        """
        starts = range(0, len(self.limits), self.tile)
        self.limits[:] = NOTHING
        with plain_products(), worker_threads(self.threads) as pool:
            if ranks:
                list(pool.map(self._set_limits, starts))
            for compared in pool.map(partial(self._compare, histogram, ranks), starts):
                advance(compared)
            if ranks:
                yield from pool.map(self._rank, starts)

    def _set_limits(self, start: int) -> None:
        block = slice(start, start + self.tile)
        self.limits[block] = self.thresholds.codes_for_block(block)

    def _compare(self, histogram: PairHistogram | None, ranks: bool, start: int) -> int:
        """Compare a block of queries with all columns; in self-retrieval, with those from the diagonal on."""
        rows = slice(start, min(start + self.tile, len(self.order[0])))
        tile = Tile(self.task, self.order, Products(self.left.low, self.right.low), rows)
        for first in range(start if self.task.self_retrieval else 0, len(self.order[1]), self.tile):
            tile.move(slice(first, min(first + self.tile, len(self.order[1]))))
            if histogram is not None:
                histogram.add(tile)
            if ranks:
                self._collect(tile)
                if self.relevant is not None:
                    self.relevant.add(tile)
        return rows.stop - start

    def _collect(self, tile: Tile) -> None:
        """Collect the candidates of a tile: columns for rows and, in self-retrieval, rows for columns."""
        both = self.task.self_retrieval and not tile.diagonal
        rows, columns = tile.rows, tile.columns
        cells = tile.products.cells_above_limits(
            tile.codes, self.limits[rows], self.limits[columns] if both else None
        )
        if not len(cells):
            return
        codes = codes_at_cells(tile.codes, cells)
        left, right = np.divmod(cells, tile.shape[1])
        ahead = self._take_candidates(rows, left, codes)
        back = self._take_candidates(columns, right, codes) if both else np.zeros(len(cells), bool)
        is_wanted = np.flatnonzero(ahead | back)
        left, right, ahead, back = left[is_wanted], right[is_wanted], ahead[is_wanted], back[is_wanted]
        scores = tile.float64_scores(cells[is_wanted])
        self._add(rows, left[ahead], tile.gallery[right[ahead]], scores[ahead])
        if both:
            self._add(columns, right[back], tile.queries[left[back]], scores[back])

    def _take_candidates(self, queries: slice, cells: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Which cells are candidates; a query with too many candidates takes no more."""
        is_candidate = codes >= self.limits[queries][cells]
        with self.lock:
            self.num_candidates[queries] += np.bincount(
                cells[is_candidate], minlength=queries.stop - queries.start
            )
            over = self.num_candidates[queries] > self.max_candidates[queries]
            self.limits[queries][over] = NOTHING
        return is_candidate & ~over[cells]

    def _add(self, queries: slice, query: np.ndarray, row: np.ndarray, score: np.ndarray) -> None:
        candidates = _Candidates(query.astype(np.int16), row.astype(np.int32), score)
        self.candidates[queries.start // self.tile].append(candidates)

    def _rank(self, start: int) -> RankedQueries:
        """Rank the candidates of a block of queries."""
        queries = self.order[0][start : start + self.tile]
        limits = self.limits[start : start + self.tile]
        candidates = self._sort_candidates(start, queries, value_of(limits) + self.error + self.doubt)
        count = np.bincount(candidates.query, minlength=len(queries))
        begin = np.cumsum(count) - count
        position = np.arange(1, len(candidates.query) + 1) - begin[candidates.query]
        codes = self.task.query_codes[queries]
        right = (self.task.codes[candidates.row] == codes[candidates.query]) & (codes[candidates.query] >= 0)
        ranking = _ranking(
            candidates.query[right], position[right], self.thresholds.totals[start : start + self.tile]
        )
        if self.relevant is not None:
            ranking = _merge_positions(ranking, self.relevant.positions(slice(start, start + self.tile)))
        is_complete = self.thresholds.sufficient_queries(
            slice(start, start + self.tile), count, (ranking.positions > 0).sum(axis=1)
        )
        self.left_over.append(queries[~is_complete])
        nearest = np.full((len(queries), self.depth.neighbours), -1)
        scores = np.full(nearest.shape, -np.inf)
        is_nearest = position <= self.depth.neighbours
        cell = candidates.query[is_nearest], position[is_nearest] - 1
        nearest[cell], scores[cell] = candidates.row[is_nearest], np.clip(candidates.score[is_nearest], -1, 1)
        complete_ranking = Ranking(ranking.positions[is_complete], ranking.total[is_complete])
        return RankedQueries(
            queries[is_complete], complete_ranking, nearest[is_complete], scores[is_complete]
        )

    def _sort_candidates(self, start: int, queries: np.ndarray, lines: np.ndarray) -> _Candidates:
        """The candidates above `lines` that are not excluded, ranked."""
        lists = self.candidates[start // self.tile]
        self.candidates[start // self.tile] = []
        if not lists:
            return _Candidates(*(np.empty(0, kind) for kind in (np.int64, np.int32, np.float64)))
        query, row, score = (np.concatenate(part) for part in zip(*lists, strict=True))
        query = query.astype(np.int64)
        is_valid = (score >= lines[query]) & self.task.is_visible(queries[query], row)
        candidates = _sort_by_rank(_Candidates(query[is_valid], row[is_valid], score[is_valid]))
        return _sort_by_rank(self._score_exactly(queries, candidates))

    def _score_exactly(self, queries: np.ndarray, candidates: _Candidates) -> _Candidates:
        """Exact scores for the nearest rows, which are returned, and where the order is undecided."""
        query, row, score = candidates
        position = np.arange(len(query)) - np.searchsorted(query, query)
        is_close = np.zeros(len(query) + 1, bool)
        is_close[1:-1] = (query[1:] == query[:-1]) & (score[:-1] - score[1:] <= 2 * self.doubt)
        is_close[:-1] |= is_close[1:]
        chosen = np.flatnonzero(is_close[:-1] | (position < self.depth.neighbours))
        chosen = chosen[np.argsort(row[chosen])]
        rows = np.unique(row[chosen])
        left, right = TileVectors(self.task.queries, self.device), TileVectors(self.task.rows, self.device)
        left.select(queries)
        for start in range(0, len(rows), self.tile):
            columns = rows[start : start + self.tile]
            first, last = np.searchsorted(row[chosen], [columns[0], columns[-1] + 1])
            some = chosen[first:last]
            cells = query[some] * len(columns) + np.searchsorted(columns, row[some])
            order = np.argsort(cells)
            right.select(columns)
            score[some[order]] = chosen_products(left.parts(), right.parts(), cells[order])
        return candidates


def _sort_by_rank(candidates: _Candidates) -> _Candidates:
    """Sorted by query, then score, then row."""
    query, row, score = candidates
    keys = (query << 54) | ((1 << 53) - (score * 2.0**52).astype(np.int64))
    order = np.argsort(keys.view(np.uint64))
    ordered = keys[order]
    if (ordered[1:] == ordered[:-1]).any():
        order = np.lexsort((row, keys.view(np.uint64)))
    return _Candidates(query[order], row[order], score[order])


@contextmanager
def worker_threads(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Worker threads that each use one torch thread; the previous thread count is restored at the end."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _ranking(query: np.ndarray, position: np.ndarray, total: np.ndarray) -> Ranking:
    """From the positions of relevant rows, sorted by query and position."""
    count = np.bincount(query, minlength=len(total))
    padded = np.zeros((len(total), int(count.max(initial=0))), np.int64)
    begin = np.cumsum(count) - count
    padded[query, np.arange(len(query)) - begin[query]] = position
    return Ranking(padded, total)


def _merge_positions(ranking: Ranking, counted: np.ndarray) -> Ranking:
    """The counted positions, [Q, M], if there are any, otherwise those of the ranking."""
    width = max(ranking.positions.shape[1], counted.shape[1])
    positions, counted = (
        np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in (ranking.positions, counted)
    )
    is_counted = counted.max(axis=1, initial=0, keepdims=True) > 0
    return Ranking(np.where(is_counted, counted, positions), ranking.total)
