"""Counts of pairs by their score: all of them in low precision, exactly where a threshold decides."""

from collections.abc import Callable
from threading import Lock

import numpy as np
import torch

from lookalike.metrics.verification import FINE, PairCounter, Pairs
from lookalike.search.bands import Band, lower_edges, ordinals
from lookalike.search.cells import CellCounts, distinct
from lookalike.search.coarse import float32_error
from lookalike.search.sides import Sides
from lookalike.search.tile import Tile
from lookalike.search.zones import CODES, HALF, Zones, shifted

MOST_KEPT = 1 << 22
"""Up to so many positive pairs all of their scores are kept."""

MOST_WHOLE = 1 << 23
"""Up to so many scores those of all pairs are kept."""

NONE = np.empty(0, np.int64)
NO_SCORES = np.empty(0)


class Tally:
    """Counts the pairs of a comparison, tile by tile.

    A pair is counted under the code of its score in low precision, which is wrong by at most its `error`.
    Pairs that may belong to a band are scored exactly, so the numbers of pairs above, below and in every fine
    cell of a band are exact. So are all positive pairs, unless very many. Of few pairs, all scores are kept.

    Args:
        sides: queries and gallery.
        order: in which queries and gallery rows are compared: by identity.
        error: bound of the error of low precision, of scores of at most some size.
        bands: where to count exactly; they do not touch.
    """

    def __init__(
        self,
        sides: Sides,
        order: tuple[np.ndarray, np.ndarray],
        error: Callable[[float], float],
        bands: list[Band],
    ):
        self.sides = sides
        self.zones = Zones(bands, error)
        self.bands = self.zones.bands
        self.places = np.array([(one.first, one.last + 1) for one in self.bands]).ravel()
        self.edges = lower_edges(self.places)
        self.doubt = float32_error(sides.queries.shape[1])
        self.coarse = np.zeros((2, CODES), np.int64)
        self.fine = (CellCounts(), CellCounts())
        self.keeps = sides.totals.sum() // (2 if sides.itself else 1) <= MOST_KEPT
        self.kept: list[np.ndarray] = []
        self.row_codes, self.column_codes = sides.query_codes[order[0]], sides.codes[order[1]]
        self.whole = len(sides.queries) * len(sides.rows) <= MOST_WHOLE
        self.counter = PairCounter()
        self.lock = Lock()

    def add(self, tile: Tile) -> None:
        """Count the pairs of a tile."""
        if self.whole:
            self._keep(tile)
            return
        codes = tile.codes.cpu()
        seen, same = self._seen(tile), self._same(tile)
        counts = np.zeros((2, CODES), np.int64)
        counts[0] = _counted(codes, seen)
        kept = NO_SCORES
        if same is not None:
            positive = same if seen is None else same & seen
            counts[1] = _counted(codes, positive)
            counts[0] -= counts[1]
            if self.keeps:
                counts[1] = 0
                kept = tile.scores(np.flatnonzero(positive))
                seen = ~same if seen is None else seen & ~same
        fine = self._refine(tile, codes.numpy(), seen, same, counts)
        with self.lock:
            self.coarse += counts
            self.kept.append(kept)
            for label, cells in enumerate(fine):
                self.fine[label].add(cells)

    def pairs(self) -> Pairs:
        """All counts together."""
        if self.whole:
            return PairCounter.total([self.counter])
        coarse, fine = self.coarse.copy(), [cells.total() for cells in self.fine]
        if not self.keeps:
            return _together(coarse, fine, None)
        kept = np.sort(np.concatenate(self.kept))
        part = np.searchsorted(self.edges, kept, side="right")
        inside = part % 2 == 1
        fine[1] = distinct(_cells(kept[inside]))
        beside = self._beside(ordinals(kept[~inside]), part[~inside])
        coarse[1] += np.bincount(shifted(beside), minlength=CODES)
        return _together(coarse, fine, kept)

    def _keep(self, tile: Tile) -> None:
        """Keep the scores of all pairs of a tile."""
        seen, same = self._seen(tile), self._same(tile)
        places = np.arange(tile.codes.numel()) if seen is None else np.flatnonzero(seen)
        positive = NONE if same is None else np.flatnonzero(same.ravel()[places])
        with self.lock:
            self.counter.add(tile.scores(places), positive)

    def _seen(self, tile: Tile) -> np.ndarray | None:
        """Which pairs of a tile count, bool; None if all do."""
        sides = self.sides
        if sides.ignore == "nothing" and (sides.itself or sides.own is None):
            return np.triu(np.ones(tile.shape, bool), 1) if tile.diagonal else None
        seen = sides.visible(tile.queries[:, None], tile.gallery)
        return np.triu(seen, 1) if tile.diagonal else seen

    def _same(self, tile: Tile) -> np.ndarray | None:
        """Which pairs of a tile are of one identity, bool; None if none is."""
        left, right = self.row_codes[tile.rows], self.column_codes[tile.columns]
        if left[0] > right[-1] or right[0] > left[-1]:
            return None
        return (left[:, None] == right) & (left >= 0)[:, None]

    def _refine(
        self,
        tile: Tile,
        codes: np.ndarray,
        seen: np.ndarray | None,
        same: np.ndarray | None,
        counts: np.ndarray,
    ) -> list[np.ndarray]:
        """Score the pairs near the bands again; corrects `counts`, gives the fine cells of both kinds."""
        places = self.zones.near(codes.ravel(), seen, counts.sum(axis=0))
        if not len(places):
            return [NONE, NONE]
        before = codes.ravel()[places].astype(np.intp) + HALF
        zone = self.zones.of[before]
        low, high = self.zones.low[zone], self.zones.high[zone]
        scores = self._scores(tile, places, low, high)
        side = (scores >= high).view(np.int8) - (scores < low).view(np.int8)
        wrong = np.flatnonzero((side == 0) | (side != self.zones.side[before]))
        side, scores = side[wrong], scores[wrong]
        label = np.zeros(len(wrong), np.intp) if same is None else same.ravel()[places[wrong]].astype(np.intp)
        np.subtract.at(counts, (label, before[wrong]), 1)
        out = np.flatnonzero(side)
        np.add.at(
            counts, (label[out], self.zones.beside[zone[wrong[out]], (side[out] > 0).astype(np.intp)]), 1
        )
        return [_cells(scores[(side == 0) & (label == kind)]) for kind in (0, 1)]

    def _scores(self, tile: Tile, places: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """In 32 bits, but exact where these leave open whether a score is in its band, or in which cell."""
        scores = tile.rough_scores(places)
        unsure = np.flatnonzero((scores > low - self.doubt) & (scores < high + self.doubt))
        scores[unsure] = tile.scores(places[unsure])
        return scores

    def _beside(self, place: np.ndarray, part: np.ndarray) -> np.ndarray:
        """Ordinals moved to the side of the bands on which scores lie: after so many edges."""
        ends = np.concatenate([[-HALF], self.places, [HALF]])
        return np.clip(place, ends[part], ends[part + 1] - 1)


def _counted(codes: torch.Tensor, chosen: np.ndarray | None) -> np.ndarray:
    """How many of the chosen scores have each code, [CODES]."""
    flat = codes.view(-1)
    if chosen is not None:
        flat = flat[torch.from_numpy(np.flatnonzero(chosen))]
    return torch.bincount(flat.int().add_(HALF), minlength=CODES).numpy()


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
    cells, _ = distinct(np.concatenate([fine[0][0], fine[1][0]]))
    of_cells = np.zeros((2, len(cells)), np.int64)
    for row, (found, count) in zip(of_cells, fine, strict=True):
        row[np.searchsorted(cells, found)] = count
    values = np.concatenate([low, cells * FINE])
    order = np.argsort(values)
    negative, positive = np.concatenate([counts[:, filled], of_cells], axis=1)[:, order]
    step = np.concatenate([high - low, np.full(len(cells), FINE)])[order]
    return Pairs(values[order], positive, negative, step, kept)
