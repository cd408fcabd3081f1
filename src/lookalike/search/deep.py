"""Whole rankings in exact arithmetic: all scores of some queries at a time, in blocks."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from lookalike.metrics.retrieval import positions
from lookalike.metrics.verification import PairCounter
from lookalike.search.exact import best
from lookalike.search.sides import Sides

BLOCK_BYTES = 1 << 26
"""Scores held at once."""

COLUMNS = 8192
"""Gallery rows that are converted to float64 at once."""

MOST_ROWS = 1024
MOST_THREADS = 8


class Found(NamedTuple):
    """Of some queries: where their relevant rows stand, in any order, and their nearest rows."""

    queries: np.ndarray
    positions: list[np.ndarray]
    nearest: np.ndarray
    scores: np.ndarray


class Deep:
    """Ranks whole rows of scores.

    Args:
        sides: queries and gallery, without junk.
        neighbours: how many nearest rows to keep.
        device: where to multiply.
        pairs: how many pairs to count, at most; None counts none.
    """

    def __init__(self, sides: Sides, neighbours: int, device: torch.device, pairs: int | None = None):
        self.sides, self.neighbours, self.device = sides, min(neighbours, len(sides.rows)), device
        self.block = max(1, min(MOST_ROWS, BLOCK_BYTES // (8 * max(1, len(sides.rows)))))
        threads = min(torch.get_num_threads(), MOST_THREADS)
        self.threads = threads
        self.counters = [] if pairs is None else [PairCounter(pairs) for _ in range(threads)]

    def run(self, queries: np.ndarray) -> Iterator[Found]:
        """Rank these queries, a block at a time."""
        with ThreadPoolExecutor(self.threads) as pool:
            for start in range(0, len(queries), self.block):
                asked = queries[start : start + self.block]
                scores = exact_scores(self.sides.queries[asked], self.sides.rows, self.device)
                found = Found(
                    asked,
                    [np.empty(0, np.int64)] * len(asked),
                    np.full((len(asked), self.neighbours), -1),
                    np.full((len(asked), self.neighbours), -np.inf, np.float32),
                )
                list(pool.map(partial(self._share, scores, found), range(self.threads)))
                yield found

    def _share(self, scores: np.ndarray, found: Found, thread: int) -> None:
        """A thread's rows of a block: one in so many, since later rows may have fewer pairs to count."""
        for place in range(thread, len(scores), self.threads):
            self._row(place, scores[place], found, thread)

    def _row(self, place: int, scores: np.ndarray, found: Found, thread: int) -> None:
        query = int(found.queries[place])
        relevant, hidden = self.sides.relevant(query), self.sides.hidden(query)
        if self.counters:
            self._count(query, scores, relevant, hidden, self.counters[thread])
        scores[hidden] = -np.inf
        nearest = best(scores, self.neighbours)
        found.nearest[place, : len(nearest)] = nearest
        found.scores[place, : len(nearest)] = np.clip(scores[nearest], -1, 1)
        found.positions[place] = positions(scores, relevant)

    def _count(
        self, query: int, scores: np.ndarray, relevant: np.ndarray, hidden: np.ndarray, counter: PairCounter
    ) -> None:
        """Count the query's pairs; in self-retrieval those with later rows, so that each counts once."""
        first = query + 1 if self.sides.itself else 0
        kept = np.ones(len(scores) - first, bool)
        kept[hidden[hidden >= first] - first] = False
        positive = np.zeros(len(kept), bool)
        positive[relevant[relevant >= first] - first] = True
        counter.add(np.clip(scores[first:][kept], -1, 1), np.flatnonzero(positive[kept]))


def exact_scores(queries: np.ndarray, gallery: np.ndarray, device: torch.device) -> np.ndarray:
    """All dot products in float64 [Q, N]; exact for vectors from `unit_vectors`."""
    left = torch.from_numpy(queries).to(device).double()
    scores = torch.empty(len(queries), len(gallery), dtype=torch.float64, device=device)
    for start in range(0, len(gallery), COLUMNS):
        part = torch.from_numpy(gallery[start : start + COLUMNS]).to(device).double()
        torch.mm(left, part.T, out=scores[:, start : start + len(part)])
    return scores.cpu().numpy()
