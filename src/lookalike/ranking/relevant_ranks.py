"""Ranks of relevant rows: how many rows of the gallery are ranked above each of them, counted tile by tile.

Average precision needs nothing else. Low-precision scores decide nearly all comparisons; those within their
error bound are repeated in float64, and exactly where that leaves the order open.
"""

from collections.abc import Callable
from threading import Lock

import numpy as np
import torch

from lookalike.ranking.error_bound import Tile, TileVectors, float64_error
from lookalike.ranking.exact import chosen_products
from lookalike.ranking.task import RetrievalTask

MOST_RELEVANT = 128
"""Relevant rows of a query up to which counting is faster than sorting its scores."""

BLOCK = 1024
"""Queries whose relevant rows are scored at once."""

ZERO = 1 << 15
"""Ordinal of the score 0; ordinals are from 0 to 2 · ZERO − 1."""

UNREACHED = 2 * ZERO - 1
"""Above the ordinal of every score."""


class RelevantRanks:
    """Counts the rows ranked above each relevant row of a query.

    Queries with more than `MOST_RELEVANT` relevant rows, and those with more than `max_undecided` undecided
    comparisons per row, are not counted.

    Args:
        task: queries and gallery, without junk.
        order: queries and gallery rows in the order of the tiles: by identity.
        error: bound of the error of low-precision scores.
        device: where to multiply.
        max_undecided: undecided comparisons per row compared.

    Attributes:
        is_counted: which queries are counted, in the order of the tiles, bool [Q].
    """

    def __init__(
        self,
        task: RetrievalTask,
        order: tuple[np.ndarray, np.ndarray],
        error: float,
        device: torch.device,
        max_undecided: float,
    ):
        self.task, self.order, self.max_undecided = task, order, max_undecided
        self.doubt = float64_error(task.queries.shape[1])
        totals = task.totals[order[0]]
        self.is_counted = (totals > 0) & (totals <= MOST_RELEVANT)
        self.totals = np.where(self.is_counted, totals, 0)
        self.starts = np.concatenate([[0], np.cumsum(self.totals)])  # where the slots of each query begin
        size = int(self.starts[-1])
        self.slot_query = np.repeat(np.arange(len(totals), dtype=np.int32), self.totals)
        self.scores = np.empty(size)  # of the relevant rows of each query, in the order of their ranks
        self.rows = np.empty(size, np.int32)
        left, right = TileVectors(task.queries, device), TileVectors(task.rows, device)
        for start in range(0, len(totals), BLOCK):
            self._score_relevant(slice(start, min(start + BLOCK, len(totals))), left, right)
        self.low, self.high = ordinals_around(self.scores, error)
        self.limits = np.full(len(totals), UNREACHED, np.int32)  # the lowest ordinal that matters
        np.minimum.at(self.limits, self.slot_query, self.low)
        self.num_above = np.zeros(size, np.int32)  # rows of other identities
        self.num_undecided, self.num_compared = np.zeros((2, len(totals)), np.int64)
        self.row_codes, self.column_codes = task.query_codes[order[0]], task.codes[order[1]]
        self.lock = Lock()

    def positions(self, block: slice) -> np.ndarray:
        """Positions of the relevant rows of some queries, as in `Ranking`; 0 for queries not counted."""
        totals = np.where(self.is_counted[block], self.totals[block], 0)
        positions = np.zeros((len(totals), int(totals.max(initial=0))), np.int64)
        has_row = np.arange(positions.shape[1]) < totals[:, None]
        slots = np.arange(positions.shape[1]) + self.starts[:-1][block, None]
        positions[has_row] = self.num_above[slots[has_row]] + (1 + np.nonzero(has_row)[1])
        return positions

    def add(self, tile: Tile) -> None:
        """Count a tile: its columns for its rows and, in self-retrieval, its rows for its columns."""
        ordinals = _ordinals(tile.codes.cpu().numpy())
        excluded = self._excluded_mask(tile)
        self._count(tile, tile.rows, ordinals, excluded, axis=0)
        if self.task.self_retrieval and not tile.diagonal:
            self._count(tile, tile.columns, ordinals, excluded, axis=1)

    def _score_relevant(self, block: slice, left: TileVectors, right: TileVectors) -> None:
        """Rank the relevant rows of some queries among themselves."""
        queries, counted = self.order[0][block], self.is_counted[block]
        first, last = (ends[queries] for ends in self.task.bounds)
        count = np.where(counted, last - first, 0)
        if not count.any():
            return
        query = np.repeat(np.arange(len(queries)), count)
        offset = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
        column = offset + np.repeat(first, count)
        begin, end = column.min(), column.max() + 1
        rows = self.order[1][column]
        is_visible = self.task.is_visible(queries[query], rows)
        query, rows, column = query[is_visible], rows[is_visible], column[is_visible]
        left.select(queries)
        right.select(self.order[1][begin:end])
        scores = chosen_products(left.parts(), right.parts(), query * (end - begin) + column - begin)
        ranked = np.lexsort((rows, -scores, query))
        slots = slice(self.starts[block.start], self.starts[block.stop])
        self.scores[slots], self.rows[slots] = scores[ranked], rows[ranked]

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

    def _count(
        self, tile: Tile, block: slice, ordinals: np.ndarray, excluded: np.ndarray | None, axis: int
    ) -> None:
        """Count the pairs of a tile for the queries in its rows (axis 0) or in its columns (axis 1)."""
        limits = self.limits[block].astype(np.uint16)
        is_near = ordinals >= (limits[:, None] if axis == 0 else limits)
        if excluded is not None:
            is_near &= ~excluded
        cells = np.flatnonzero(is_near)
        query = np.divmod(cells, tile.shape[1])[axis]
        slots = slice(self.starts[block.start], self.starts[block.stop])
        keys, cell_order, first_near, first_above = self._sort_cells(
            query, ordinals.ravel()[cells], slots, block.start
        )
        slot_query = self.slot_query[slots] - block.start
        ends = np.searchsorted(keys, np.arange(1, len(limits) + 1, dtype=np.int32) << 16)[slot_query]
        above, num_near = ends - first_above, first_above - first_near
        undecided = np.bincount(slot_query, num_near, minlength=len(limits)).astype(np.int64)
        with self.lock:
            self.num_undecided[block] += undecided
            self.num_compared[block] += tile.shape[1 - axis]
            num_compared = np.maximum(self.num_compared[block], BLOCK)
            too_many = self.num_undecided[block] > self.max_undecided * num_compared
            self.is_counted[block] &= ~too_many
            self.limits[block][too_many] = UNREACHED
        num_near[too_many[slot_query]] = 0
        if num_near.any():
            slot = np.repeat(np.arange(len(num_near)), num_near)
            offset = np.arange(len(slot)) - np.repeat(np.cumsum(num_near) - num_near, num_near)
            pairs = cell_order[offset + np.repeat(first_near, num_near)]
            above += self._decide(tile, cells, (slot, pairs), slots, axis)
        with self.lock:
            self.num_above[slots] += above

    def _sort_cells(
        self, query: np.ndarray, ordinals: np.ndarray, slots: slice, first: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Keys of cells, ascending by query and score; their order; and for each slot the first cell that
        may be above it, and the first that surely is.
        """
        keys, order = torch.sort(torch.from_numpy((query.astype(np.int32) << 16) | ordinals))
        base = (self.slot_query[slots] - np.int32(first)) << 16
        first_near = np.searchsorted(keys.numpy(), base | self.low[slots])
        first_above = np.searchsorted(keys.numpy(), base | self.high[slots], side="right")
        return keys.numpy(), order.numpy(), first_near, first_above

    def _decide(
        self,
        tile: Tile,
        cells: np.ndarray,
        comparisons: tuple[np.ndarray, np.ndarray],
        slots: slice,
        axis: int,
    ) -> np.ndarray:
        """How many of some comparisons put the cell above the slot, [slots]: in float64, or else exactly."""
        slot, cell = comparisons
        scores, rows = self.scores[slots], self.rows[slots]
        rough = _scatter(len(cells), cell, lambda needed: tile.float64_scores(cells[needed]))
        distance = rough[cell] - scores[slot]
        is_open = np.abs(distance) <= self.doubt
        above = np.bincount(slot[distance > self.doubt], minlength=len(scores))
        if is_open.any():
            slot, cell = slot[is_open], cell[is_open]
            exact = _scatter(len(cells), cell, lambda needed: tile.scores(cells[needed]))[cell]
            left, right = np.divmod(cells[cell], tile.shape[1])
            row = tile.queries[left] if axis else tile.gallery[right]
            is_above = (exact > scores[slot]) | ((exact == scores[slot]) & (row < rows[slot]))
            above += np.bincount(slot[is_above], minlength=len(scores))
        return above


def ordinals_around(scores: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Ordinals of the low-precision scores within `error` of exact ones, lowest and highest, int32.

    A row whose ordinal is above the highest surely scores more; one below the lowest surely scores less.
    """
    ends = []
    for side in (-1, 1):
        rounded = np.nextafter((scores + side * error).astype(np.float32), np.float32(2 * side))
        codes = torch.from_numpy(rounded).bfloat16().view(torch.int16).numpy()
        ends.append(_ordinals(codes).astype(np.int32))
    return ends[0], ends[1]


def _ordinals(codes: np.ndarray) -> np.ndarray:
    """The 16 bits of bfloat16 numbers as integers that order as the numbers do, uint16."""
    return (codes ^ ((codes >> 15) & np.int16(0x7FFF)) ^ np.int16(-ZERO)).view(np.uint16)


def _scatter(size: int, cells: np.ndarray, scores: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The scores of some of `size` cells, each computed once, float64 [size]."""
    is_needed = np.zeros(size, bool)
    is_needed[cells] = True
    needed = np.flatnonzero(is_needed)
    result = np.empty(size)
    result[needed] = scores(needed)
    return result
