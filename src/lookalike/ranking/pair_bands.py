"""Bands of scores in which pairs are counted exactly: around the requested thresholds."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from lookalike.metrics.verification import FINE, Pairs, deciding_scores, eer_threshold
from lookalike.ranking.task import RetrievalTask

SAMPLE = 256
"""Queries from which thresholds are estimated."""

POSITIVES = 4096
"""Queries whose positive pairs are scored in advance, up to `MOST_POSITIVES` pairs."""

MOST_POSITIVES = 1 << 20

SAME = 2.0**-20
"""Scores that differ by less are treated as equal."""

FEWEST_SHARED = 4
MOST_SHARED = 20_000
"""A score is counted exactly if more than one in this many positive pairs share it."""

PART = 8192
"""Gallery rows multiplied at a time."""

CERTAIN = 4
"""Half-width of a band, in standard errors of the estimated threshold."""

MARGIN = 2e-5
"""Added to a band on each side, because estimates are computed in float32."""

TOP = 2.0
"""Above all scores."""

SMALLEST = 2.0**-14
"""No band ends between this and its negative, where codes are denser than the edges of fine cells."""


class Band(NamedTuple):
    """All scores whose nearest bfloat16 has an ordinal from `first` to `last`, inclusive."""

    first: int
    last: int

    @property
    def low(self) -> float:
        """The lowest score."""
        return float(lower_edges(np.array(self.first)))

    @property
    def high(self) -> float:
        """The lower edge of the scores above the band."""
        return float(lower_edges(np.array(self.last + 1)))


def bfloat16_ordinals(scores: np.ndarray) -> np.ndarray:
    """The bfloat16 nearest to each score, as integers that sort like the scores; 0 is 0."""
    codes = (
        torch.from_numpy(np.asarray(scores, np.float32)).bfloat16().view(torch.int16).numpy().astype(np.int64)
    )
    return np.where(codes < 0, -(codes + (1 << 15)), codes)


def lower_edges(ordinals: np.ndarray) -> np.ndarray:
    """Lower edge of the scores whose nearest bfloat16 has this ordinal: halfway to the one below."""
    return (_scores_at_ranks(ordinals - 1) + _scores_at_ranks(ordinals)) / 2


def band_of_scores(low: float, high: float) -> Band:
    """The smallest band that contains all scores from `low` to `high` and does not end near zero."""
    first, last = bfloat16_ordinals(np.array([low, min(high, TOP)]))
    smallest_ordinal = bfloat16_ordinals(np.array(SMALLEST))
    return Band(
        int(-smallest_ordinal if abs(first) < smallest_ordinal else first),
        int(smallest_ordinal if abs(last) < smallest_ordinal else last),
    )


def merge_bands(bands: Sequence[Band]) -> list[Band]:
    """The same scores in disjoint bands, ascending."""
    disjoint: list[Band] = []
    for band in sorted(bands):
        if disjoint and band.first <= disjoint[-1].last + 1:
            disjoint[-1] = Band(disjoint[-1].first, max(band.last, disjoint[-1].last))
        else:
            disjoint.append(band)
    return disjoint


def guess_bands(
    task: RetrievalTask, fars: Sequence[float], device: torch.device, crossing: bool = False
) -> list[Band]:
    """Bands that probably contain the thresholds of these false accept rates, from the pairs of some queries.

    The error of a rate is estimated from its variation between queries. Further bands contain the scores of
    copies, and scores that many positive pairs share, as with hashes.

    Args:
        task: queries and gallery.
        fars: the rates.
        device: where to multiply.
        crossing: whether to add a band for the equal error rate.
    """
    rng = np.random.default_rng(0)
    positives = np.sort(_positives(task, rng))
    bands = [band_of_scores(1.0, 1.0), *_bands_of_repeated_scores(positives)]
    if not len(fars) and not crossing:
        return merge_bands(bands)
    size = min(SAMPLE, len(task.queries))
    queries = np.sort(rng.choice(len(task.queries), size, replace=False))
    scores = _negatives(task, queries, device)
    total = int(np.isfinite(scores).sum())
    if not total:
        return merge_bands(bands)
    if crossing and len(positives):
        bands.append(_crossing_scores(scores, positives))
    tail = _tail_size(scores, min(1.0, 2 * max(fars, default=0.0)))
    for far in fars:
        shares = (scores > _scores_from_top(tail, total * far)).sum(axis=1) * len(scores) / total
        error = CERTAIN * shares.std() / np.sqrt(len(scores)) + 10 / total
        low = _scores_from_top(tail, total * (far + error))
        high = _scores_from_top(tail, total * (far - error)) if far > error else TOP
        bands.append(band_of_scores(max(low, -TOP) - MARGIN, high + MARGIN))
    return merge_bands(bands)


def _positives(task: RetrievalTask, rng: np.random.Generator) -> np.ndarray:
    """The scores of the positive pairs of some queries, or of as many as `MOST_POSITIVES`."""
    mean = max(1.0, float(task.totals.mean())) if len(task.totals) else 1.0
    size = min(len(task.queries), POSITIVES, max(1, int(MOST_POSITIVES / mean)))
    queries = rng.choice(len(task.queries), size, replace=False)
    scores = [task.rows[task.relevant_rows(query)] @ task.queries[query] for query in queries.tolist()]
    return np.concatenate([np.empty(0, np.float32), *scores]).astype(np.float32)


def _bands_of_repeated_scores(positives: np.ndarray) -> list[Band]:
    """Bands of scores that many pairs share."""
    values, counts = np.unique(np.round(positives.astype(np.float64) / SAME), return_counts=True)
    many = counts > max(FEWEST_SHARED, len(positives) / MOST_SHARED)
    return [band_of_scores(value - SAME, value + SAME) for value in (values[many] * SAME).tolist()]


def _crossing_scores(scores: np.ndarray, positives: np.ndarray) -> Band:
    """The band that probably contains the equal error rate.

    Args:
        scores: of negative pairs, [Q, N]; -inf for others.
        positives: scores of positive pairs, ascending.
    """
    some = np.sort(scores[:, :: max(1, scores.size >> 21)], axis=None)
    some = some[np.isfinite(some)]
    rejects = np.arange(len(positives)) / len(positives)
    gap = rejects - (1 - np.searchsorted(some, positives) / max(1, len(some)))
    middle = positives[min(int(np.searchsorted(gap, 0.0)), len(positives) - 1)]
    num_finite = np.isfinite(scores).sum(axis=1)
    shares = (scores > middle).sum(axis=1) / np.maximum(num_finite, 1)
    error = CERTAIN * (shares.std() / np.sqrt(len(shares)) + 1 / np.sqrt(len(positives)))
    ends = np.clip(np.searchsorted(gap, [-error, error]), 0, len(positives) - 1)
    return band_of_scores(float(positives[ends[0]]) - MARGIN, float(positives[ends[1]]) + MARGIN)


def _tail_size(scores: np.ndarray, share: float) -> np.ndarray:
    """The highest scores, at least about this share of them, ascending."""
    some = np.sort(scores[:: max(1, len(scores) // 16)], axis=None)
    return np.sort(scores[scores >= some[int((len(some) - 1) * (1 - share))]])


def _scores_from_top(tail: np.ndarray, count: float) -> float:
    """The score that about this many scores exceed."""
    return float(tail[max(len(tail) - 1 - int(count), 0)])


def _negatives(task: RetrievalTask, queries: np.ndarray, device: torch.device) -> np.ndarray:
    """Scores of the negative pairs of some queries in float32; -inf for all other pairs, [Q, N]."""
    left = torch.from_numpy(task.queries[queries]).to(device).float()
    parts = [torch.from_numpy(task.rows[start : start + PART]) for start in range(0, len(task.rows), PART)]
    scores = torch.cat([torch.mm(left, part.to(device).float().T).cpu() for part in parts], dim=1).numpy()
    for row, query in zip(scores, queries.tolist(), strict=True):
        row[task.same_identity_rows(query)] = -np.inf
        row[task.hidden_rows(query)] = -np.inf
    return scores


def _scores_at_ranks(ranks: np.ndarray) -> np.ndarray:
    sizes = (np.abs(ranks).astype(np.int32) << 16).view(np.float32).astype(np.float64)
    return np.where(ranks < 0, -sizes, sizes)


def bands_still_needed(
    pairs: Pairs, fars: Sequence[float], error: float, crossing: bool = False
) -> list[Band]:
    """Bands that certainly contain the thresholds and the equal error rate, if not counted exactly."""
    threshold_scores = [deciding_scores(pairs, far) for far in fars]
    if crossing and pairs.positives:
        threshold_scores.append(int(np.searchsorted(pairs.values, eer_threshold(pairs), side="right")) - 1)
    bands = []
    for score in threshold_scores:
        if pairs.step[score] > FINE:
            low, high = pairs.values[score], pairs.values[score] + pairs.step[score]
            bands.append(band_of_scores(float(low) - 2 * error, float(high) + 2 * error))
    return merge_bands(bands)


CODES = 1 << 16
HALF = CODES // 2
MINUS_ZERO = 0

FEW_BETWEEN = 100
"""Bands with at most this fraction (1 / n) of the pairs between them are searched together."""


class BandCodes:
    """The low-precision codes that scores of each band may have.

    Args:
        bands: they do not touch.
        error: bound on the error of low-precision scores up to some magnitude; it grows slower than that.

    Attributes:
        bands: those whose codes overlap are joined.
        low: the lowest score of each band.
        high: the lower edge of the scores above it.
        number: the band of each code, counted from 0 (`shift_ordinals`), int16 [CODES]; -1 for none.
        side: whether a code is below its band (-1), in it (0) or above it (1).
        adjacent_codes: for each band the codes of scores just below and just above, [bands, 2].
    """

    def __init__(self, bands: list[Band], error: Callable[[float], float]):
        self.spans = _code_bands(bands, error)
        self.bands = [_join_close_bands(bands, span) for span in self.spans]
        self.low = np.array([band.low for band in self.bands])
        self.high = np.array([band.high for band in self.bands])
        self.number, self.side = np.full(CODES, -1, np.int16), np.zeros(CODES, np.int8)
        for number, (span, band) in enumerate(zip(self.spans, self.bands, strict=True)):
            ordinals = np.arange(span.first, span.last + 1)
            self.number[shift_ordinals(ordinals)] = number
            self.side[shift_ordinals(ordinals)] = np.sign(ordinals - np.clip(ordinals, band.first, band.last))
        self.number[MINUS_ZERO], self.side[MINUS_ZERO] = self.number[HALF], self.side[HALF]
        self.adjacent_codes = shift_ordinals(
            np.array([(band.first - 1, band.last + 1) for band in self.bands]).reshape(-1, 2)
        )

    def cells_near_bands(
        self, codes: np.ndarray, is_counted: np.ndarray | None, counts: np.ndarray
    ) -> np.ndarray:
        """Cells of the pairs that may belong to a band, ascending.

        Bands with few pairs between them are searched together.

        Args:
            codes: of the scores, int16 [P].
            is_counted: which pairs count, bool, of P elements; None if all do.
            counts: how many pairs have each code, [CODES].
        """
        spans = self._join_bands(counts)
        is_near = np.zeros(len(codes), bool)
        for first, last in spans:
            is_near |= _codes_within(codes, first, last)
        if is_counted is not None:
            is_near &= is_counted.ravel()
        cells = np.flatnonzero(is_near)
        if len(spans) == len(self.spans):
            return cells
        return cells[self.number[codes[cells].astype(np.intp) + HALF] >= 0]

    def _join_bands(self, counts: np.ndarray) -> list[tuple[int, int]]:
        """First and last ordinals of bands; of those above zero neighbours are joined over few pairs."""
        spans: list[tuple[int, int]] = []
        upto = np.concatenate([[0], np.cumsum(counts[HALF:])])  # pairs below each code that is not negative
        few = upto[-1] // FEW_BETWEEN
        for span in self.spans:
            first = spans[-1][0] if spans else 0
            if first > 0 and upto[span.first] - upto[spans[-1][1] + 1] <= few:
                spans[-1] = (first, span.last)
            else:
                spans.append((span.first, span.last))
        return spans


def shift_ordinals(ordinals: np.ndarray) -> np.ndarray:
    """Codes of ordinals, moved to count from 0."""
    return np.where(ordinals < 0, -ordinals, ordinals + HALF)


def _join_close_bands(bands: list[Band], outer_band: Band) -> Band:
    """One band of those that lie near one another."""
    inside = [band for band in bands if outer_band.first <= band.first <= outer_band.last]
    return Band(inside[0].first, inside[-1].last)


def _code_bands(bands: list[Band], error: Callable[[float], float]) -> list[Band]:
    """Which codes may belong to scores of the bands."""
    errors = [error(max(abs(band.low), abs(band.high))) for band in bands]
    ends = [(band.low - error, band.high + error) for band, error in zip(bands, errors, strict=True)]
    return merge_bands(
        [Band(int(first), int(last)) for first, last in bfloat16_ordinals(np.array(ends).reshape(-1, 2))]
    )


def _codes_within(codes: np.ndarray, first: int, last: int) -> np.ndarray:
    """Whether ordinals of codes lie between two, inclusive; those of negative scores fall as codes rise."""
    least = -HALF
    if first > 0:
        return (codes >= first) & (codes <= last)
    if last < 0:
        return (codes >= least - last) & (codes <= least - first)
    return (codes <= least - first) | ((codes >= 0) & (codes <= last))
