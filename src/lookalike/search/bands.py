"""Where pairs have to be counted exactly: around the thresholds that are asked for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from lookalike.metrics.verification import FINE, Pairs, deciding, eer_threshold
from lookalike.search.sides import Sides

SAMPLE = 256
"""Queries from which thresholds are guessed."""

POSITIVES = 4096
"""Queries of which the positive pairs are looked at beforehand, unless these are more than so many."""

MOST_POSITIVES = 1 << 20

SAME = 2.0**-20
"""Scores that differ by less count as one that pairs have in common."""

FEWEST_SHARED = 4
MOST_SHARED = 20_000
"""A score is counted exactly if more than one in so many positive pairs have it."""

PART = 8192
"""Gallery rows that are multiplied at once."""

CERTAIN = 4
"""Standard errors of a guess that a band covers on each side."""

MARGIN = 2e-5
"""Guesses are made in 32 bits; a band is wider by this on each side."""

TOP = 2.0
"""Above all scores."""

SMALLEST = 2.0**-14
"""No band ends between this and its negative, where codes lie closer than the edges of fine cells."""


class Band(NamedTuple):
    """All scores whose nearest bfloat16 has an ordinal from `first` to `last`, inclusive."""

    first: int
    last: int

    @property
    def low(self) -> float:
        """The least of the scores."""
        return float(lower_edges(np.array(self.first)))

    @property
    def high(self) -> float:
        """Where the scores above the band begin."""
        return float(lower_edges(np.array(self.last + 1)))


def ordinals(scores: np.ndarray) -> np.ndarray:
    """The bfloat16 nearest to each score, as integers that order as the scores do; 0 is 0."""
    codes = (
        torch.from_numpy(np.asarray(scores, np.float32)).bfloat16().view(torch.int16).numpy().astype(np.int64)
    )
    return np.where(codes < 0, -(codes + (1 << 15)), codes)


def lower_edges(places: np.ndarray) -> np.ndarray:
    """Where the scores begin whose nearest bfloat16 has this ordinal: halfway to the one below."""
    return (_values(places - 1) + _values(places)) / 2


def band(low: float, high: float) -> Band:
    """The smallest band that holds all scores from `low` to `high`, and does not end near zero."""
    first, last = ordinals(np.array([low, min(high, TOP)]))
    near = ordinals(np.array(SMALLEST))
    return Band(int(-near if abs(first) < near else first), int(near if abs(last) < near else last))


def merged(bands: Sequence[Band]) -> list[Band]:
    """The same scores in bands that do not touch, ascending."""
    apart: list[Band] = []
    for one in sorted(bands):
        if apart and one.first <= apart[-1].last + 1:
            apart[-1] = Band(apart[-1].first, max(one.last, apart[-1].last))
        else:
            apart.append(one)
    return apart


def guess(sides: Sides, fars: Sequence[float], device: torch.device, crossing: bool = False) -> list[Band]:
    """Bands that probably hold the thresholds of these false accept rates, from the pairs of some queries.

    The error of a rate is estimated from how much it differs between queries. More bands hold the scores of
    copies, and scores that many positive pairs have in common, as those of hashes do.

    Args:
        sides: queries and gallery.
        fars: the rates.
        device: where to multiply.
        crossing: one band more, for where as large a share of negatives is accepted as of positives refused.
    """
    rng = np.random.default_rng(0)
    positives = np.sort(_positives(sides, rng))
    found = [band(1.0, 1.0), *_shared(positives)]
    if not len(fars) and not crossing:
        return merged(found)
    size = min(SAMPLE, len(sides.queries))
    queries = np.sort(rng.choice(len(sides.queries), size, replace=False))
    scores = _negatives(sides, queries, device)
    total = int(np.isfinite(scores).sum())
    if not total:
        return merged(found)
    if crossing and len(positives):
        found.append(_crossing(scores, positives))
    tail = _tail(scores, min(1.0, 2 * max(fars, default=0.0)))
    for far in fars:
        shares = (scores > _from_top(tail, total * far)).sum(axis=1) * len(scores) / total
        error = CERTAIN * shares.std() / np.sqrt(len(scores)) + 10 / total
        low = _from_top(tail, total * (far + error))
        high = _from_top(tail, total * (far - error)) if far > error else TOP
        found.append(band(max(low, -TOP) - MARGIN, high + MARGIN))
    return merged(found)


def _positives(sides: Sides, rng: np.random.Generator) -> np.ndarray:
    """The scores of the positive pairs of some queries, or of as many as `MOST_POSITIVES`."""
    mean = max(1.0, float(sides.totals.mean())) if len(sides.totals) else 1.0
    size = min(len(sides.queries), POSITIVES, max(1, int(MOST_POSITIVES / mean)))
    queries = rng.choice(len(sides.queries), size, replace=False)
    scores = [sides.rows[sides.relevant(query)] @ sides.queries[query] for query in queries.tolist()]
    return np.concatenate([np.empty(0, np.float32), *scores]).astype(np.float32)


def _shared(positives: np.ndarray) -> list[Band]:
    """Bands of scores that many of the pairs have."""
    values, counts = np.unique(np.round(positives.astype(np.float64) / SAME), return_counts=True)
    many = counts > max(FEWEST_SHARED, len(positives) / MOST_SHARED)
    return [band(value - SAME, value + SAME) for value in (values[many] * SAME).tolist()]


def _crossing(scores: np.ndarray, positives: np.ndarray) -> Band:
    """The band in which false accepts and false rejects probably become equally many.

    Args:
        scores: of negative pairs, [Q, N]; -inf for others.
        positives: scores of positive pairs, ascending.
    """
    some = np.sort(scores[:, :: max(1, scores.size >> 21)], axis=None)
    some = some[np.isfinite(some)]
    rejects = np.arange(len(positives)) / len(positives)
    gap = rejects - (1 - np.searchsorted(some, positives) / max(1, len(some)))
    middle = positives[min(int(np.searchsorted(gap, 0.0)), len(positives) - 1)]
    there = np.isfinite(scores).sum(axis=1)
    shares = (scores > middle).sum(axis=1) / np.maximum(there, 1)
    error = CERTAIN * (shares.std() / np.sqrt(len(shares)) + 1 / np.sqrt(len(positives)))
    ends = np.clip(np.searchsorted(gap, [-error, error]), 0, len(positives) - 1)
    return band(float(positives[ends[0]]) - MARGIN, float(positives[ends[1]]) + MARGIN)


def _tail(scores: np.ndarray, share: float) -> np.ndarray:
    """At least the greatest scores of about this share, ascending."""
    some = np.sort(scores[:: max(1, len(scores) // 16)], axis=None)
    return np.sort(scores[scores >= some[int((len(some) - 1) * (1 - share))]])


def _from_top(tail: np.ndarray, count: float) -> float:
    """The score that about so many exceed."""
    return float(tail[max(len(tail) - 1 - int(count), 0)])


def _negatives(sides: Sides, queries: np.ndarray, device: torch.device) -> np.ndarray:
    """The scores of some queries' negative pairs, roughly; -inf for all other pairs, [Q, N]."""
    left = torch.from_numpy(sides.queries[queries]).to(device).float()
    parts = [torch.from_numpy(sides.rows[start : start + PART]) for start in range(0, len(sides.rows), PART)]
    scores = torch.cat([torch.mm(left, part.to(device).float().T).cpu() for part in parts], dim=1).numpy()
    for row, query in zip(scores, queries.tolist(), strict=True):
        row[sides.same(query)] = -np.inf
        row[sides.hidden(query)] = -np.inf
    return scores


def _values(places: np.ndarray) -> np.ndarray:
    sizes = (np.abs(places).astype(np.int32) << 16).view(np.float32).astype(np.float64)
    return np.where(places < 0, -sizes, sizes)


def again(pairs: Pairs, fars: Sequence[float], error: float, crossing: bool = False) -> list[Band]:
    """Bands that surely hold those thresholds, and the crossing, that were not counted exactly."""
    places = [deciding(pairs, far) for far in fars]
    if crossing and pairs.positives:
        places.append(int(np.searchsorted(pairs.values, eer_threshold(pairs), side="right")) - 1)
    found = []
    for place in places:
        if pairs.step[place] > FINE:
            low, high = pairs.values[place], pairs.values[place] + pairs.step[place]
            found.append(band(float(low) - 2 * error, float(high) + 2 * error))
    return merged(found)
