"""Where pairs have to be counted exactly: around the thresholds that are asked for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from lookalike.metrics.verification import FINE, Pairs, deciding
from lookalike.search.sides import Sides

SAMPLE = 512
"""Queries from which thresholds are guessed."""

CERTAIN = 4
"""Standard errors of a guess that a band covers on each side."""

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


def guess(sides: Sides, fars: Sequence[float], device: torch.device) -> list[Band]:
    """Bands that probably hold the thresholds of these false accept rates, from the pairs of some queries.

    The error of a rate is estimated from how much it differs between queries. One more band holds the scores
    of copies.
    """
    copies = band(1.0, 1.0)
    if not len(fars):
        return [copies]
    size = min(SAMPLE, len(sides.queries))
    queries = np.sort(np.random.default_rng(0).choice(len(sides.queries), size, replace=False))
    scores = _negatives(sides, queries, device)
    total = int(np.isfinite(scores).sum())
    if not total:
        return [copies]
    tail = _tail(scores, min(1.0, 2 * max(fars)))
    found = [copies]
    for far in fars:
        shares = (scores > _from_top(tail, total * far)).sum(axis=1) * len(scores) / total
        error = CERTAIN * shares.std() / np.sqrt(len(scores)) + 10 / total
        low = _from_top(tail, total * (far + error))
        high = _from_top(tail, total * (far - error)) if far > error else TOP
        found.append(band(max(low, -TOP) - 1e-4, high + 1e-4))
    return merged(found)


def _tail(scores: np.ndarray, share: float) -> np.ndarray:
    """At least the greatest scores of about this share, ascending."""
    some = np.sort(scores[:: max(1, len(scores) // 16)], axis=None)
    return np.sort(scores[scores >= some[int((len(some) - 1) * (1 - share))]])


def _from_top(tail: np.ndarray, count: float) -> float:
    """The score that about so many exceed."""
    return float(tail[max(len(tail) - 1 - int(count), 0)])


def _negatives(sides: Sides, queries: np.ndarray, device: torch.device) -> np.ndarray:
    """The scores of some queries' negative pairs, roughly; -inf for all other pairs, [Q, N]."""
    scores = np.empty((len(queries), len(sides.rows)), np.float32)
    left = torch.from_numpy(sides.queries[queries]).to(device)
    for start in range(0, len(sides.rows), 8192):
        part = torch.from_numpy(sides.rows[start : start + 8192]).to(device)
        scores[:, start : start + 8192] = torch.mm(left, part.T).cpu().numpy()
    for row, query in zip(scores, queries.tolist(), strict=True):
        row[sides.same(query)] = -np.inf
        row[sides.hidden(query)] = -np.inf
    return scores


def _values(places: np.ndarray) -> np.ndarray:
    sizes = (np.abs(places).astype(np.int32) << 16).view(np.float32).astype(np.float64)
    return np.where(places < 0, -sizes, sizes)


def again(pairs: Pairs, fars: Sequence[float], error: float) -> list[Band]:
    """Bands that surely hold the thresholds of those rates that were not counted exactly."""
    found = []
    for far in fars:
        place = deciding(pairs, far)
        if pairs.step[place] > FINE:
            low, high = pairs.values[place], pairs.values[place] + pairs.step[place]
            found.append(band(float(low) - 2 * error, float(high) + 2 * error))
    return merged(found)
