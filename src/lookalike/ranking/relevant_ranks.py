"""Ranks of relevant rows: how many rows of the gallery are ranked above each of them, counted tile by tile.

Average precision needs nothing else. Low-precision scores decide nearly all comparisons; those within their
error bound are repeated in float32, and in float64 where that leaves the order open.
"""

from threading import Lock

import numpy as np
import torch

from lookalike.ranking.error_bound import Tile, float32_error
from lookalike.ranking.exact import chosen_products, parts_of
from lookalike.ranking.task import RetrievalTask

MOST_RELEVANT = 64
"""Relevant rows of a query up to which counting is faster than sorting its scores."""

MOST_UNDECIDED = 0.5
"""Comparisons within the error bound, per row compared, up to which counting is faster than sorting."""

BLOCK = 1024
"""Queries whose relevant rows are scored at once."""

HIDDEN = np.int16(-32768)
"""Below the ordinal of every score."""

UNREACHED = np.int16(32767)
"""Above the ordinal of every score."""


class RelevantRanks:
    """Counts the rows ranked above each relevant row of a query.

    Queries with more than `MOST_RELEVANT` relevant rows, and those with too many undecided comparisons, are
    not counted.

    Args:
        task: queries and gallery, without junk.
        order: queries and gallery rows in the order of the tiles: by identity.
        error: bound of the error of low-precision scores.
        device: where to multiply.

    Attributes:
        is_counted: which queries are counted, in the order of the tiles, bool [Q].
    """

    def __init__(
        self, task: RetrievalTask, order: tuple[np.ndarray, np.ndarray], error: float, device: torch.device
    ):
        self.task, self.order = task, order
        self.doubt = float32_error(task.queries.shape[1])
        self.totals = task.totals[order[0]]
        self.is_counted = (self.totals > 0) & (self.totals <= MOST_RELEVANT)
        shape = len(self.totals), int(self.totals[self.is_counted].max(initial=0))
        self.scores = np.full(shape, np.inf)  # of the relevant rows, in the order of their ranks
        self.rows = np.full(shape, -1, np.int32)
        self.num_above = np.zeros(shape, np.int32)  # rows of other identities
        self.num_undecided, self.num_compared = np.zeros((2, len(self.totals)), np.int64)
        for start in range(0, len(self.totals), BLOCK):
            self._score_relevant(slice(start, start + BLOCK), device)
        self.low, self.high = ordinals_around(self.scores, error)
        self.row_codes, self.column_codes = task.query_codes[order[0]], task.codes[order[1]]
        self.lock = Lock()

    def positions(self, block: slice) -> np.ndarray:
        """Positions of the relevant rows of some queries, as in `Ranking`; 0 for queries not counted."""
        positions = self.num_above[block].astype(np.int64) + np.arange(1, self.scores.shape[1] + 1)
        has_row = (self.rows[block] >= 0) & self.is_counted[block][:, None]
        return np.where(has_row, positions, 0)

    def add(self, tile: Tile) -> None:
        """Count a tile: its columns for its rows and, in self-retrieval, its rows for its columns."""
        codes = _ordinals(tile.codes.cpu().numpy())
        if (excluded := self._excluded_mask(tile)) is not None:
            codes = np.where(excluded, HIDDEN, codes)
        self._count(tile, tile.rows, codes, is_transposed=False)
        if self.task.self_retrieval and not tile.diagonal:
            self._count(tile, tile.columns, _transpose(codes), is_transposed=True)

    def _score_relevant(self, block: slice, device: torch.device) -> None:
        """Rank the relevant rows of some queries among themselves."""
        queries = self.order[0][block]
        first, last = (ends[queries] for ends in self.task.bounds)
        count = np.where(self.is_counted[block], last - first, 0)
        if not count.any():
            return
        query = np.repeat(np.arange(len(queries)), count)
        offset = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
        column = offset + np.repeat(first, count)
        begin, end = column.min(), column.max() + 1
        rows = self.order[1][column]
        left = parts_of(self.task.queries, queries, device)
        right = parts_of(self.task.rows, self.order[1][begin:end], device)
        scores = chosen_products(left, right, query * (end - begin) + column - begin)
        is_visible = self.task.is_visible(queries[query], rows)
        query, rows, scores = query[is_visible], rows[is_visible], scores[is_visible]
        ranked = np.lexsort((rows, -scores, query))
        query, rows, scores = query[ranked], rows[ranked], scores[ranked]
        count = np.bincount(query, minlength=len(queries))
        slot = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
        self.scores[block][query, slot], self.rows[block][query, slot] = scores, rows

    def _excluded_mask(self, tile: Tile) -> np.ndarray | None:
        """Which pairs of a tile are of one identity or invisible, bool; None if there are none."""
        task = self.task
        left, right = self.row_codes[tile.rows], self.column_codes[tile.columns]
        excluded = None
        if left[0] <= right[-1] and right[0] <= left[-1]:
            excluded = left[:, None] == right
        if task.ignore != "nothing" or (not task.self_retrieval and task.exclude_row is not None):
            hidden = ~task.is_visible(tile.queries[:, None], tile.gallery)
            excluded = hidden if excluded is None else excluded | hidden
        return excluded

    def _count(self, tile: Tile, block: slice, codes: np.ndarray, is_transposed: bool) -> None:
        """Count the columns of `codes` for the queries in its rows."""
        count = np.where(self.is_counted[block], self.totals[block], 0)
        low, high = self.low[block], self.high[block]
        above = np.zeros((len(count), int(count.max(initial=0))), np.int32)
        undecided, is_undecided = np.zeros(len(count), np.int64), np.zeros(codes.shape, bool)
        for slot in range(above.shape[1]):
            queries = np.flatnonzero(count > slot)
            some = codes if len(queries) == len(codes) else codes[queries]
            is_above = some > high[queries, slot, None]
            is_near = some >= low[queries, slot, None]
            above[queries, slot] = _count_true(is_above)
            undecided[queries] += _count_true(is_near) - above[queries, slot]
            is_near ^= is_above
            if some is codes:
                is_undecided |= is_near
            else:
                is_undecided[queries] |= is_near
        with self.lock:
            self.num_undecided[block] += undecided
            self.num_compared[block] += codes.shape[1]
            num_compared = np.maximum(self.num_compared[block], BLOCK)
            too_many = self.num_undecided[block] > MOST_UNDECIDED * num_compared
            self.is_counted[block] &= ~too_many
        is_undecided[too_many] = False
        if undecided.any():
            self._decide(tile, np.flatnonzero(is_undecided), (block, codes, is_transposed), above)
        with self.lock:
            self.num_above[block, : above.shape[1]] += above

    def _decide(
        self, tile: Tile, cells: np.ndarray, orientation: tuple[slice, np.ndarray, bool], above: np.ndarray
    ) -> None:
        """Compare some pairs of a tile in float32, or else exactly; adds to `above`."""
        block, codes, is_transposed = orientation
        codes = codes.ravel()[cells]
        query, row = np.divmod(cells, tile.shape[0] if is_transposed else tile.shape[1])
        if is_transposed:  # scores are computed for pairs in the order of the tile
            cells = row * tile.shape[1] + query
            order = np.argsort(cells)
            cells, codes, query, row = cells[order], codes[order], query[order], row[order]
        gallery = tile.queries if is_transposed else tile.gallery
        rough = tile.rough_scores(cells)
        count, open_slots = self.totals[block][query], []
        for slot in range(above.shape[1]):
            pairs = np.flatnonzero(count > slot)
            some = query[pairs]
            is_open = (codes[pairs] >= self.low[block][some, slot]) & (
                codes[pairs] <= self.high[block][some, slot]
            )
            pairs = pairs[is_open]
            distance = rough[pairs] - self.scores[block][query[pairs], slot]
            above[:, slot] += _count_queries(query[pairs[distance > self.doubt]], len(above))
            open_slots.append(pairs[np.abs(distance) <= self.doubt])
        needed = np.zeros(len(cells), bool)
        for pairs in open_slots:
            needed[pairs] = True
        if not needed.any():
            return
        exact = np.empty(len(cells))
        exact[needed] = tile.scores(cells[needed])
        for slot, pairs in enumerate(open_slots):
            some = query[pairs]
            relevant = self.scores[block][some, slot]
            is_before = gallery[row[pairs]] < self.rows[block][some, slot]
            is_above = (exact[pairs] > relevant) | ((exact[pairs] == relevant) & is_before)
            above[:, slot] += _count_queries(some[is_above], len(above))


def ordinals_around(scores: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Ordinals of the low-precision scores within `error` of exact ones, lowest and highest, int16.

    A row whose ordinal is above the highest surely scores more; one below the lowest surely scores less.
    Infinite scores give ordinals that no row reaches.
    """
    ends = []
    for side in (-1, 1):
        rounded = np.nextafter((scores + side * error).astype(np.float32), np.float32(2 * side))
        codes = torch.from_numpy(rounded).bfloat16().view(torch.int16).numpy()
        ends.append(np.where(np.isinf(scores), UNREACHED, _ordinals(codes)))
    return ends[0], ends[1]


def _ordinals(codes: np.ndarray) -> np.ndarray:
    """The 16 bits of bfloat16 numbers as integers that order as the numbers do."""
    return codes ^ ((codes >> 15) & np.int16(0x7FFF))


def _transpose(codes: np.ndarray) -> np.ndarray:
    return torch.from_numpy(codes).t().contiguous().numpy()


def _count_true(mask: np.ndarray) -> np.ndarray:
    """How many elements of each row are true; several times faster than `np.count_nonzero`."""
    return np.bitwise_count(np.packbits(mask, axis=1)).sum(axis=1, dtype=np.int32)


def _count_queries(queries: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(queries, minlength=size).astype(np.int32)
