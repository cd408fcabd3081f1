"""Counts of pairs by their score: all of them in low precision, exactly where a threshold decides."""

from threading import Lock

import numpy as np
import torch

from lookalike.metrics.verification import FINE, Pairs
from lookalike.search.bands import Band, lower_edges, ordinals
from lookalike.search.coarse import adding_error
from lookalike.search.dots import chosen_scores
from lookalike.search.sides import Sides

CODES = 1 << 16
HALF = CODES // 2

MOST_KEPT = 1 << 22
"""Up to so many positive pairs all of their scores are kept."""

DENSE = 8
"""From one in so many pairs of a tile on, all are scored."""

MOST_WAITING = 1 << 20
NONE = np.empty(0, np.int64)


class Tally:
    """Counts the pairs of a comparison, tile by tile.

    A pair is counted under the code of its score in low precision, which is wrong by at most `error`. Pairs that
    may belong to a band are scored exactly, so that the numbers of pairs above, below and in every fine cell of
    a band are exact; so are all positive pairs, unless they are very many.

    Args:
        sides: queries and gallery.
        rows: the queries, in the order in which they are compared: by identity.
        columns: the gallery rows, in that order.
        error: bound of the error of low precision.
        bands: where to count exactly; they do not touch.
        device: where to multiply.
    """

    def __init__(
        self,
        sides: Sides,
        rows: np.ndarray,
        columns: np.ndarray,
        error: float,
        bands: list[Band],
        device: torch.device,
    ):
        self.sides, self.rows, self.columns, self.bands, self.device = sides, rows, columns, bands, device
        ends = np.array([(one.low - error, one.high + error) for one in bands]).reshape(-1, 2)
        self.near = [(int(first), int(last)) for first, last in ordinals(ends)]
        self.doubt = adding_error(sides.queries.shape[1])
        self.coarse = np.zeros((2, CODES), np.int64)
        self.fine = (_Sparse(), _Sparse())
        self.keeps = sides.totals.sum() // (2 if sides.itself else 1) <= MOST_KEPT
        self.kept: list[np.ndarray] = []
        self.row_codes, self.column_codes = sides.query_codes[rows], sides.codes[columns]
        self.lock = Lock()

    def add(self, codes: torch.Tensor, rows: slice, columns: slice) -> None:
        """Count the pairs of a tile."""
        codes = codes.cpu()
        seen, same = self._seen(rows, columns), self._same(rows, columns)
        counts = np.zeros((2, CODES), np.int64)
        counts[0] = _counted(codes, seen)
        kept: np.ndarray | None = None
        if same is not None:
            positive = same if seen is None else same & seen
            counts[1] = _counted(codes, positive)
            counts[0] -= counts[1]
            if self.keeps:
                counts[1] = 0
                kept = self._scores(np.flatnonzero(positive), rows, columns, torch.float64)
                seen = ~same if seen is None else seen & ~same
        fine = self._refine(codes.numpy(), seen, same, rows, columns, counts)
        with self.lock:
            self.coarse += counts
            for label, cells in enumerate(fine):
                self.fine[label].add(cells)
            if kept is not None:
                self.kept.append(kept)

    def pairs(self) -> Pairs:
        """All counts together."""
        coarse, fine = self.coarse.copy(), [cells.total() for cells in self.fine]
        kept = np.sort(np.concatenate(self.kept)) if self.kept else None
        if kept is not None:
            inside, place = self._place(kept)
            fine[1] = np.unique(_cells(kept[inside]), return_counts=True)
            coarse[1] += np.bincount(_codes(place[~inside]), minlength=CODES)
        return _together(coarse, fine, kept)

    def _seen(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Which pairs of a tile count, bool; None if all do."""
        sides, itself = self.sides, self.sides.itself
        diagonal = itself and rows == columns
        if sides.ignore == "nothing" and (itself or sides.own is None):
            return np.triu(np.ones((rows.stop - rows.start,) * 2, bool), 1) if diagonal else None
        seen = sides.visible(self.rows[rows][:, None], self.columns[columns])
        return np.triu(seen, 1) if diagonal else seen

    def _same(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Which pairs of a tile are of one identity, bool; None if none is."""
        left, right = self.row_codes[rows], self.column_codes[columns]
        if left[0] > right[-1] or right[0] > left[-1]:
            return None
        return (left[:, None] == right) & (left >= 0)[:, None]

    def _refine(
        self,
        codes: np.ndarray,
        seen: np.ndarray | None,
        same: np.ndarray | None,
        rows: slice,
        columns: slice,
        counts: np.ndarray,
    ) -> list[np.ndarray]:
        """Score the pairs near a band again; corrects `counts`, gives the fine cells of both kinds of pairs."""
        near = np.zeros(codes.shape, bool)
        for first, last in self.near:
            near |= _within(codes, first, last)
        if seen is not None:
            near &= seen
        places = np.flatnonzero(near)
        if not len(places):
            return [NONE, NONE]
        if len(places) * DENSE > codes.size:
            scores = self._dense(places, rows, columns)
        else:
            scores = self._scores(places, rows, columns, torch.float32).astype(np.float64)
            unsure = np.flatnonzero(self._doubtful(scores))
            scores[unsure] = self._scores(places[unsure], rows, columns, torch.float64)
        inside, place = self._place(scores)
        labels = np.zeros(len(places), bool) if same is None else same.ravel()[places]
        before = codes.ravel()[places].astype(np.int64) + HALF
        fine = []
        for label, of_kind in enumerate((~labels, labels)):
            counts[label] -= np.bincount(before[of_kind], minlength=CODES)
            counts[label] += np.bincount(_codes(place[of_kind & ~inside]), minlength=CODES)
            fine.append(_cells(scores[of_kind & inside]))
        return fine

    def _scores(self, places: np.ndarray, rows: slice, columns: slice, kind: torch.dtype) -> np.ndarray:
        left, right = np.divmod(places, columns.stop - columns.start)
        one, other = self._vectors(rows, columns, kind)
        return chosen_scores(one, other, left, right)

    def _dense(self, places: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        one, other = self._vectors(rows, columns, torch.float64)
        return torch.mm(one, other.T).cpu().numpy().ravel()[places]

    def _vectors(self, rows: slice, columns: slice, kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        one = torch.from_numpy(self.sides.queries[self.rows[rows]])
        other = torch.from_numpy(self.sides.rows[self.columns[columns]])
        return one.to(self.device, kind), other.to(self.device, kind)

    def _doubtful(self, scores: np.ndarray) -> np.ndarray:
        """Whether 32 bits leave open on which side of an edge, or in which fine cell, a score lies."""
        unsure = np.zeros(len(scores), bool)
        for one in self.bands:
            unsure |= (scores >= one.low - self.doubt) & (scores < one.high + self.doubt)
        return unsure

    def _place(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether scores are in a band, and else the ordinals of their codes, on the right side of every band."""
        place, inside = ordinals(scores), np.zeros(len(scores), bool)
        for one in self.bands:
            below, above = scores < one.low, scores >= one.high
            inside |= ~(below | above)
            place = np.where(below, np.minimum(place, one.first - 1), place)
            place = np.where(above, np.maximum(place, one.last + 1), place)
        return inside, place


class _Sparse:
    """How many scores fell into each fine cell: only cells that were met."""

    def __init__(self) -> None:
        self._cells = self._counts = NONE
        self._waiting: list[np.ndarray] = []
        self._held = 0

    def add(self, cells: np.ndarray) -> None:
        """Count them."""
        self._waiting.append(cells)
        self._held += len(cells)
        if self._held > MOST_WAITING:
            self.total()

    def total(self) -> tuple[np.ndarray, np.ndarray]:
        """The cells, ascending, and their counts."""
        cells, counts = np.unique(np.concatenate([NONE, *self._waiting]), return_counts=True)
        every, place = np.unique(np.concatenate([self._cells, cells]), return_inverse=True)
        total = np.zeros(len(every), np.int64)
        np.add.at(total, place, np.concatenate([self._counts, counts]))
        self._cells, self._counts, self._waiting, self._held = every, total, [], 0
        return every, total


def _counted(codes: torch.Tensor, chosen: np.ndarray | None) -> np.ndarray:
    """How many of the chosen scores have each code, [CODES]."""
    flat = codes.view(-1)
    if chosen is not None:
        flat = flat[torch.from_numpy(np.flatnonzero(chosen))]
    return torch.bincount(flat.int().add_(HALF), minlength=CODES).numpy()


def _within(codes: np.ndarray, first: int, last: int) -> np.ndarray:
    """Whether the ordinals of codes lie between two, inclusive; ordinals of negative scores fall as codes rise."""
    least = -HALF
    if first > 0:
        return (codes >= first) & (codes <= last)
    if last < 0:
        return (codes >= least - last) & (codes <= least - first)
    return (codes <= least - first) | ((codes >= 0) & (codes <= last))


def _codes(places: np.ndarray) -> np.ndarray:
    """Codes of ordinals, moved to count from 0."""
    return np.where(places < 0, -places, places + HALF)


def _cells(scores: np.ndarray) -> np.ndarray:
    """Numbers of fine cells; every step is exact."""
    return np.floor(scores / FINE).astype(np.int64)


def _together(
    coarse: np.ndarray, fine: list[tuple[np.ndarray, np.ndarray]], kept: np.ndarray | None
) -> Pairs:
    """One list of cells, ascending."""
    zero = coarse[:, :1] + coarse[:, HALF : HALF + 1]
    counts = np.concatenate([coarse[:, HALF - 1 : 0 : -1], zero, coarse[:, HALF + 1 :]], axis=1)
    filled = np.flatnonzero(counts.any(axis=0))
    low, high = lower_edges(filled - (HALF - 1)), lower_edges(filled - (HALF - 2))
    cells = np.unique(np.concatenate([fine[0][0], fine[1][0]]))
    of_cells = np.zeros((2, len(cells)), np.int64)
    for row, (found, count) in zip(of_cells, fine, strict=True):
        row[np.searchsorted(cells, found)] = count
    values = np.concatenate([low, cells * FINE])
    order = np.argsort(values)
    negative, positive = np.concatenate([counts[:, filled], of_cells], axis=1)[:, order]
    step = np.concatenate([high - low, np.full(len(cells), FINE)])[order]
    return Pairs(values[order], positive, negative, step, kept)
