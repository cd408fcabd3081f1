"""Counts of pairs by score: in low precision everywhere, exactly near the thresholds."""

from collections.abc import Callable
from threading import Lock

import numpy as np
import torch

from lookalike.metrics.verification import FINE, PairCounter, Pairs
from lookalike.ranking.error_bound import Tile, float64_error
from lookalike.ranking.pair_bands import (
    CODES,
    HALF,
    Band,
    BandCodes,
    bfloat16_ordinals,
    lower_edges,
    shift_ordinals,
)
from lookalike.ranking.task import RankingSettings, RetrievalTask

MOST_WAITING = 1 << 20
"""Scores buffered before they are counted."""

NONE = np.empty(0, np.int64)


class CellCounts:
    """Number of scores in each fine cell that is not empty."""

    def __init__(self) -> None:
        self._cells = self._counts = NONE
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0

    def add(self, cells: np.ndarray) -> None:
        """Count these cells."""
        self._waiting.append(cells)
        self._num_waiting += len(cells)
        if self._num_waiting > MOST_WAITING:
            self.total()

    def total(self) -> tuple[np.ndarray, np.ndarray]:
        """The cells, ascending, and their counts."""
        cells, counts = distinct_counts(np.concatenate([NONE, *self._waiting]))
        every, _ = distinct_counts(np.concatenate([self._cells, cells]))
        total = np.zeros(len(every), np.int64)
        total[np.searchsorted(every, self._cells)] += self._counts
        total[np.searchsorted(every, cells)] += counts
        self._cells, self._counts, self._waiting, self._num_waiting = every, total, [], 0
        return every, total


def distinct_counts(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct cells, ascending, and their counts."""
    ordered = np.sort(cells)
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    return ordered[first], np.diff(first, append=len(ordered))


NO_SCORES = np.empty(0)


class PairHistogram:
    """Counts the pairs of a comparison, tile by tile.

    A pair is counted at the code of its low-precision score, whose error is at most `error`. Pairs that may
    belong to a band are scored exactly, so the numbers of pairs above, below and in every fine cell of a band
    are exact. Positive pairs are all scored exactly, unless there are very many. If there are few pairs, all
    scores are stored.

    Args:
        task: queries and gallery.
        order: of queries and gallery rows in the tiles: by identity.
        error: bound on the error of low-precision scores up to some magnitude.
        bands: where to count exactly; disjoint.
        settings: limits up to which scores are stored.
    """

    def __init__(
        self,
        task: RetrievalTask,
        order: tuple[np.ndarray, np.ndarray],
        error: Callable[[float], float],
        bands: list[Band],
        settings: RankingSettings,
    ):
        self.task = task
        self.band_codes = BandCodes(bands, error)
        self.bands = self.band_codes.bands
        self.band_edges = np.array([(band.first, band.last + 1) for band in self.bands]).ravel()
        self.edges = lower_edges(self.band_edges)
        self.doubt = float64_error(task.queries.shape[1])
        self.coarse = np.zeros((2, CODES), np.int64)
        self.fine = (CellCounts(), CellCounts())
        num_positives = task.totals.sum() // (2 if task.self_retrieval else 1)
        self.keeps = num_positives <= settings.max_stored_positives
        self.kept_scores: list[np.ndarray] = []
        self.row_codes, self.column_codes = task.query_codes[order[0]], task.codes[order[1]]
        self.whole = len(task.queries) * len(task.rows) <= settings.max_stored_pairs
        self.counter = PairCounter()
        self.lock = Lock()

    def add(self, tile: Tile) -> None:
        """Count the pairs of a tile."""
        if self.whole:
            self._keep_scores(tile)
            return
        codes = tile.codes.cpu()
        is_counted, same = self._counted_mask(tile), self._same_identity_mask(tile)
        counts = np.zeros((2, CODES), np.int64)
        counts[0] = _count_codes(codes, is_counted)
        scores = NO_SCORES
        if same is not None:
            positive = same if is_counted is None else same & is_counted
            counts[1] = _count_codes(codes, positive)
            counts[0] -= counts[1]
            if self.keeps:
                counts[1] = 0
                scores = self._scores(tile, np.flatnonzero(positive))
                is_counted = ~same if is_counted is None else is_counted & ~same
        fine = self._count_exactly(tile, codes.numpy(), is_counted, same, counts)
        with self.lock:
            self.coarse += counts
            self.kept_scores.append(scores)
            for label, cells in enumerate(fine):
                self.fine[label].add(cells)

    def pairs(self) -> Pairs:
        """All counts together."""
        if self.whole:
            return PairCounter.total([self.counter])
        coarse, fine = self.coarse.copy(), [cells.total() for cells in self.fine]
        if not self.keeps:
            return _merge_cells(coarse, fine, None)
        kept_scores = np.sort(np.concatenate(self.kept_scores))
        part = np.searchsorted(self.edges, kept_scores, side="right")
        inside = part % 2 == 1
        fine[1] = distinct_counts(_cells(kept_scores[inside]))
        shifted = self._shift_out_of_bands(bfloat16_ordinals(kept_scores[~inside]), part[~inside])
        coarse[1] += np.bincount(shift_ordinals(shifted), minlength=CODES)
        return _merge_cells(coarse, fine, kept_scores)

    def _keep_scores(self, tile: Tile) -> None:
        """Store the scores of all pairs of a tile."""
        is_counted, same = self._counted_mask(tile), self._same_identity_mask(tile)
        cells = np.arange(tile.codes.numel()) if is_counted is None else np.flatnonzero(is_counted)
        positive = NONE if same is None else np.flatnonzero(same.ravel()[cells])
        with self.lock:
            self.counter.count_block(tile.scores(cells), positive)

    def _counted_mask(self, tile: Tile) -> np.ndarray | None:
        """Which pairs of a tile count, bool; None if all do."""
        task = self.task
        if task.ignore == "nothing" and (task.self_retrieval or task.exclude_row is None):
            return np.triu(np.ones(tile.shape, bool), 1) if tile.diagonal else None
        is_counted = task.is_visible(tile.queries[:, None], tile.gallery)
        return np.triu(is_counted, 1) if tile.diagonal else is_counted

    def _same_identity_mask(self, tile: Tile) -> np.ndarray | None:
        """Which pairs of a tile have the same identity, bool; None if none does."""
        left, right = self.row_codes[tile.rows], self.column_codes[tile.columns]
        if left[0] > right[-1] or right[0] > left[-1]:
            return None
        return (left[:, None] == right) & (left >= 0)[:, None]

    def _count_exactly(
        self,
        tile: Tile,
        codes: np.ndarray,
        is_counted: np.ndarray | None,
        same: np.ndarray | None,
        counts: np.ndarray,
    ) -> list[np.ndarray]:
        """Score the pairs near the bands again; corrects `counts`, returns the fine cells of both kinds."""
        cells = self.band_codes.cells_near_bands(codes.ravel(), is_counted, counts.sum(axis=0))
        if not len(cells):
            return [NONE, NONE]
        before = codes.ravel()[cells].astype(np.intp) + HALF
        band = self.band_codes.number[before]
        low, high = self.band_codes.low[band], self.band_codes.high[band]
        scores = self._scores(tile, cells)
        side = (scores >= high).view(np.int8) - (scores < low).view(np.int8)
        wrong = np.flatnonzero((side == 0) | (side != self.band_codes.side[before]))
        side, scores = side[wrong], scores[wrong]
        label = np.zeros(len(wrong), np.intp) if same is None else same.ravel()[cells[wrong]].astype(np.intp)
        np.subtract.at(counts, (label, before[wrong]), 1)
        out = np.flatnonzero(side)
        np.add.at(
            counts,
            (label[out], self.band_codes.adjacent_codes[band[wrong[out]], (side[out] > 0).astype(np.intp)]),
            1,
        )
        return [_cells(scores[(side == 0) & (label == kind)]) for kind in (0, 1)]

    def _scores(self, tile: Tile, cells: np.ndarray) -> np.ndarray:
        """Scores in float64; exact where the fine cell would be uncertain."""
        scores = tile.float64_scores(cells)
        fine = scores / FINE
        unsure = np.flatnonzero(np.abs(fine - np.round(fine)) * FINE <= self.doubt)
        if len(unsure):
            scores[unsure] = tile.scores(cells[unsure])
        return scores

    def _shift_out_of_bands(self, ordinals: np.ndarray, part: np.ndarray) -> np.ndarray:
        """Ordinals clipped to the part between bands that the scores lie in."""
        ends = np.concatenate([[-HALF], self.band_edges, [HALF]])
        return np.clip(ordinals, ends[part], ends[part + 1] - 1)


def _count_codes(codes: torch.Tensor, mask: np.ndarray | None) -> np.ndarray:
    """Number of selected scores with each code, [CODES]."""
    flat = codes.view(-1)
    if mask is not None:
        flat = flat[torch.from_numpy(np.flatnonzero(mask))]
    return torch.bincount(flat.int().add_(HALF), minlength=CODES).numpy()


def _cells(scores: np.ndarray) -> np.ndarray:
    """Numbers of fine cells; every step is exact."""
    return np.floor(scores / FINE).astype(np.int64)


def _merge_cells(
    coarse: np.ndarray, fine: list[tuple[np.ndarray, np.ndarray]], kept_scores: np.ndarray | None
) -> Pairs:
    """One list of cells, ascending."""
    zero = coarse[:, :1] + coarse[:, HALF : HALF + 1]
    counts = np.concatenate([coarse[:, HALF - 1 : 0 : -1], zero, coarse[:, HALF + 1 :]], axis=1)
    filled = np.flatnonzero(counts.any(axis=0))
    low, high = lower_edges(filled - (HALF - 1)), lower_edges(filled - (HALF - 2))
    cells, _ = distinct_counts(np.concatenate([fine[0][0], fine[1][0]]))
    of_cells = np.zeros((2, len(cells)), np.int64)
    for row, (cell_scores, count) in zip(of_cells, fine, strict=True):
        row[np.searchsorted(cells, cell_scores)] = count
    values = np.concatenate([low, cells * FINE])
    order = np.argsort(values)
    negative, positive = np.concatenate([counts[:, filled], of_cells], axis=1)[:, order]
    step = np.concatenate([high - low, np.full(len(cells), FINE)])[order]
    return Pairs(values[order], positive, negative, step, kept_scores)
