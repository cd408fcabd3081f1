"""Where bands lie among the codes of scores in low precision."""

from collections.abc import Callable

import numpy as np

from lookalike.search.bands import Band, merged, ordinals

CODES = 1 << 16
HALF = CODES // 2
MINUS_ZERO = 0

FEW_BETWEEN = 100
"""Bands with no more than this part of the pairs between them are looked for together."""


class Zones:
    """The codes that scores of each band may have in low precision.

    Args:
        bands: they do not touch.
        error: bound of the error of low precision, of scores of at most some size; it grows less than they.

    Attributes:
        bands: one a zone: those whose codes overlap are joined.
        low: the least score of each band.
        high: where the scores above it begin.
        of: the zone of each code, counted from 0 (`shifted`), int16 [CODES]; -1 for none.
        side: whether a code says that a score is below the band of its zone (-1), in it (0) or above it (1).
        beside: for each band the codes of scores just below and just above, [bands, 2].
    """

    def __init__(self, bands: list[Band], error: Callable[[float], float]):
        self.spans = _near(bands, error)
        self.bands = [_joined(bands, span) for span in self.spans]
        self.low = np.array([one.low for one in self.bands])
        self.high = np.array([one.high for one in self.bands])
        self.of, self.side = np.full(CODES, -1, np.int16), np.zeros(CODES, np.int8)
        for number, (span, one) in enumerate(zip(self.spans, self.bands, strict=True)):
            places = np.arange(span.first, span.last + 1)
            self.of[shifted(places)] = number
            self.side[shifted(places)] = np.sign(places - np.clip(places, one.first, one.last))
        self.of[MINUS_ZERO], self.side[MINUS_ZERO] = self.of[HALF], self.side[HALF]
        self.beside = shifted(np.array([(one.first - 1, one.last + 1) for one in self.bands]).reshape(-1, 2))

    def near(self, codes: np.ndarray, seen: np.ndarray | None, counts: np.ndarray) -> np.ndarray:
        """Places of the pairs that may belong to a band, ascending.

        Bands with few codes between them are looked for together.

        Args:
            codes: of the scores, int16 [P].
            seen: which pairs count, bool, of P elements; None if all do.
            counts: how many pairs have each code, [CODES].
        """
        spans = self._together(counts)
        chosen = np.zeros(len(codes), bool)
        for first, last in spans:
            chosen |= _within(codes, first, last)
        if seen is not None:
            chosen &= seen.ravel()
        places = np.flatnonzero(chosen)
        if len(spans) == len(self.spans):
            return places
        return places[self.of[codes[places].astype(np.intp) + HALF] >= 0]

    def _together(self, counts: np.ndarray) -> list[tuple[int, int]]:
        """First and last ordinals of bands; of those above zero neighbours are joined over few pairs."""
        spans: list[tuple[int, int]] = []
        upto = np.concatenate([[0], np.cumsum(counts[HALF:])])  # pairs below each code that is not negative
        few = upto[-1] // FEW_BETWEEN
        for one in self.spans:
            first = spans[-1][0] if spans else 0
            if first > 0 and upto[one.first] - upto[spans[-1][1] + 1] <= few:
                spans[-1] = (first, one.last)
            else:
                spans.append((one.first, one.last))
        return spans


def shifted(places: np.ndarray) -> np.ndarray:
    """Codes of ordinals, moved to count from 0."""
    return np.where(places < 0, -places, places + HALF)


def _joined(bands: list[Band], near: Band) -> Band:
    """One band of those that lie near one another."""
    inside = [one for one in bands if near.first <= one.first <= near.last]
    return Band(inside[0].first, inside[-1].last)


def _near(bands: list[Band], error: Callable[[float], float]) -> list[Band]:
    """Which codes may belong to scores of the bands."""
    errors = [error(max(abs(one.low), abs(one.high))) for one in bands]
    ends = [(one.low - error, one.high + error) for one, error in zip(bands, errors, strict=True)]
    return merged([Band(int(first), int(last)) for first, last in ordinals(np.array(ends).reshape(-1, 2))])


def _within(codes: np.ndarray, first: int, last: int) -> np.ndarray:
    """Whether ordinals of codes lie between two, inclusive; those of negative scores fall as codes rise."""
    least = -HALF
    if first > 0:
        return (codes >= first) & (codes <= last)
    if last < 0:
        return (codes >= least - last) & (codes <= least - first)
    return (codes <= least - first) | ((codes >= 0) & (codes <= last))
