"""Beginnings of rankings: candidates are found in low precision, then scored and ranked exactly.

A query takes the rows whose low-precision score reaches its threshold. Whatever scores at least the threshold
plus the bound of the error is then among them, so the candidates above that line are the true beginning of
its ranking. Queries whose beginning turns out too short, or with too many candidates, are left over.
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
from lookalike.search.bands import Band
from lookalike.search.coarse import (
    NOTHING,
    Lowered,
    Products,
    codes_at,
    error_bound,
    fast_bfloat16,
    plain_products,
    value_of,
)
from lookalike.search.dots import quiet_sparse
from lookalike.search.found import Depth, Found
from lookalike.search.sides import Sides
from lookalike.search.tally import Tally
from lookalike.search.thresholds import Thresholds
from lookalike.search.tile import Tile
from lookalike.search.turning import turn, widest

TILE = 1024
"""Queries and gallery rows in a tile; at most 1024, since keys have 10 bits for a query."""

SPARE = 512
"""Candidates that a query may have beyond four times those that it needs."""


WORTH = 24
"""Vectors are rotated if there are so many times as many as they have numbers."""

NARROW = 0.7
"""They are rotated if their rounding errors can meet others at so small a cosine only."""


class _Candidates(NamedTuple):
    """Candidates of the queries of a block."""

    query: np.ndarray  # place in the block
    row: np.ndarray  # of the gallery
    score: np.ndarray


class Shortlist:
    """Ranks the beginnings of all queries.

    Queries and gallery are compared in the order of their identities.

    Args:
        sides: queries and gallery, without junk.
        depth: how far rankings have to be known.
        device: where to multiply.
        threads: how many tiles at a time.
        pairs: whether pairs will be counted.
    """

    def __init__(self, sides: Sides, depth: Depth, device: torch.device, threads: int, pairs: bool = False):
        quiet_sparse()
        self.sides, self.depth, self.threads = sides, depth, threads
        size = len(sides.queries)
        queries = sides.order if sides.itself else np.argsort(sides.query_codes, kind="stable")
        self.order = queries, sides.order
        turned = self._turn(device) if pairs else None
        self.right = Lowered(sides.rows, sides.order, device, turned)
        self.left = self.right if sides.itself else Lowered(sides.queries, queries, device, turned)
        self.error = error_bound(self.left, self.right)
        self.thresholds = Thresholds(sides, depth, self.order, self.left, self.right, self.error)
        self.limits = np.full(size, NOTHING)
        self.taken = np.zeros(size, np.int64)
        self.most = 4 * np.minimum(self.thresholds.needed, len(sides.rows)) + SPARE
        self.candidates: list[list[_Candidates]] = [[] for _ in range(0, size, TILE)]
        self.lock = Lock()
        self.left_over = [np.empty(0, np.int64)]

    def _turn(self, device: torch.device) -> torch.Tensor | None:
        """A rotation, where it pays: of many vectors of many dimensions."""
        dim, size = self.sides.queries.shape[1], len(self.sides.queries)
        pays = size > WORTH * dim and widest(dim, size * len(self.sides.rows)) < NARROW
        return turn(dim, device) if pays and fast_bfloat16(device) else None

    def tally(self, bands: list[Band]) -> Tally:
        """A count of the pairs, for `run`."""
        return Tally(self.sides, self.order, partial(error_bound, self.left, self.right), bands)

    def run(
        self, advance: Callable[[int], None], tally: Tally | None = None, ranks: bool = True
    ) -> Iterator[Found]:
        """Find, then rank; `left_over` holds the queries that are not among what this gives.

        Args:
            advance: told how many queries have been compared.
            tally: counts the pairs.
            ranks: whether to rank at all.
        """
        starts = range(0, len(self.limits), TILE)
        self.limits[:] = NOTHING
        with plain_products(), _workers(self.threads) as pool:
            if ranks:
                list(pool.map(self._set_limits, starts))
            for compared in pool.map(partial(self._compare, tally, ranks), starts):
                advance(compared)
            if ranks:
                yield from pool.map(self._rank, starts)

    def _set_limits(self, start: int) -> None:
        self.limits[start : start + TILE] = self.thresholds.of(slice(start, start + TILE))

    def _compare(self, tally: Tally | None, ranks: bool, start: int) -> int:
        """A block of queries with all columns; in self-retrieval with those from its own place on."""
        rows = slice(start, min(start + TILE, len(self.order[0])))
        tile = Tile(self.sides, self.order, Products(self.left.low, self.right.low), rows)
        for first in range(start if self.sides.itself else 0, len(self.order[1]), TILE):
            tile.move(slice(first, min(first + TILE, len(self.order[1]))))
            if tally is not None:
                tally.add(tile)
            if ranks:
                self._collect(tile)
        return rows.stop - start

    def _collect(self, tile: Tile) -> None:
        """Take the candidates of a tile: columns for rows and, in self-retrieval, rows for columns."""
        both = self.sides.itself and not tile.diagonal
        rows, columns = tile.rows, tile.columns
        places = tile.products.reached(tile.codes, self.limits[rows], self.limits[columns] if both else None)
        if not len(places):
            return
        codes = codes_at(tile.codes, places)
        left, right = np.divmod(places, tile.shape[1])
        ahead = self._take(rows, left, codes)
        back = self._take(columns, right, codes) if both else np.zeros(len(places), bool)
        wanted = np.flatnonzero(ahead | back)
        left, right, ahead, back = left[wanted], right[wanted], ahead[wanted], back[wanted]
        scores = tile.scores(places[wanted])
        self._add(rows, left[ahead], tile.gallery[right[ahead]], scores[ahead])
        if both:
            self._add(columns, right[back], tile.queries[left[back]], scores[back])

    def _take(self, queries: slice, places: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Which of these candidates their queries take; a query with too many takes none any more."""
        taken = codes >= self.limits[queries][places]
        with self.lock:
            self.taken[queries] += np.bincount(places[taken], minlength=queries.stop - queries.start)
            over = self.taken[queries] > self.most[queries]
            self.limits[queries][over] = NOTHING
        return taken & ~over[places]

    def _add(self, queries: slice, query: np.ndarray, row: np.ndarray, score: np.ndarray) -> None:
        found = _Candidates(query.astype(np.int16), row.astype(np.int32), score)
        self.candidates[queries.start // TILE].append(found)

    def _rank(self, start: int) -> Found:
        """Rank the candidates of a block of queries."""
        queries = self.order[0][start : start + TILE]
        limits = self.limits[start : start + TILE]
        found = self._sorted(start, queries, value_of(limits) + self.error)
        count = np.bincount(found.query, minlength=len(queries))
        begin = np.cumsum(count) - count
        position = np.arange(1, len(found.query) + 1) - begin[found.query]
        codes = self.sides.query_codes[queries]
        right = (self.sides.codes[found.row] == codes[found.query]) & (codes[found.query] >= 0)
        ranking = _ranking(found.query[right], position[right], self.thresholds.totals[start : start + TILE])
        known = self.thresholds.suffice(
            slice(start, start + TILE), count, (ranking.positions > 0).sum(axis=1)
        )
        self.left_over.append(queries[~known])
        nearest = np.full((len(queries), self.depth.neighbours), -1)
        scores = np.full(nearest.shape, -np.inf)
        near = position <= self.depth.neighbours
        place = found.query[near], position[near] - 1
        nearest[place], scores[place] = found.row[near], np.clip(found.score[near], -1, 1)
        kept = Ranking(ranking.positions[known], ranking.total[known])
        return Found(queries[known], kept, nearest[known], scores[known])

    def _sorted(self, start: int, queries: np.ndarray, lines: np.ndarray) -> _Candidates:
        """The candidates above their lines that their queries can find, as they rank."""
        lists = self.candidates[start // TILE]
        self.candidates[start // TILE] = []
        if not lists:
            return _Candidates(*(np.empty(0, kind) for kind in (np.int64, np.int32, np.float64)))
        query, row, score = (np.concatenate(part) for part in zip(*lists, strict=True))
        query = query.astype(np.int64)
        kept = (score >= lines[query]) & self.sides.visible(queries[query], row)
        query, row, score = query[kept], row[kept], score[kept]
        keys = (query << 54) | ((1 << 53) - (score * 2.0**52).astype(np.int64))
        order = np.argsort(keys.view(np.uint64))
        ordered = keys[order]
        if (ordered[1:] == ordered[:-1]).any():
            order = np.lexsort((row, keys.view(np.uint64)))
        return _Candidates(query[order], row[order], score[order])


@contextmanager
def _workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that each multiply alone; a torch thread count set in one is what later threads start with."""
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
