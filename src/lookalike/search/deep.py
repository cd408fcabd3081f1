"""Whole rankings in exact arithmetic: all scores of some queries at a time, in blocks."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from lookalike.metrics.retrieval import Ranking, positions
from lookalike.metrics.verification import PairCounter
from lookalike.search.dots import all_scores
from lookalike.search.exact import best
from lookalike.search.found import Found
from lookalike.search.sides import Sides

BLOCK_BYTES = 1 << 26
"""Scores held at once."""

MOST_ROWS = 1024

PART = 64
"""Queries that are given at once, since one identity may be as large as the gallery."""

NONE = np.empty(0, np.int64)


class Deep:
    """Ranks whole rows of scores.

    Args:
        sides: queries and gallery, without junk.
        neighbours: how many nearest rows to keep.
        device: where to multiply.
        threads: how many rows to rank at a time.
        pairs: whether to keep all pairs.
    """

    def __init__(
        self,
        sides: Sides,
        neighbours: int,
        device: torch.device,
        threads: int,
        pairs: bool = False,
    ):
        self.sides, self.neighbours, self.device, self.threads = sides, neighbours, device, threads
        self.block = max(1, min(MOST_ROWS, BLOCK_BYTES // (8 * max(1, len(sides.rows)))))
        self.counters = [PairCounter() for _ in range(threads)] if pairs else []

    def run(self, queries: np.ndarray) -> Iterator[Found]:
        """Rank these queries."""
        with ThreadPoolExecutor(self.threads) as pool:
            for start in range(0, len(queries), self.block):
                asked = queries[start : start + self.block]
                scores = all_scores(self.sides.queries[asked], self.sides.rows, self.device)
                for first in range(0, len(asked), PART):
                    yield self._rank(pool, asked[first : first + PART], scores[first : first + PART])

    def _rank(self, pool: ThreadPoolExecutor, queries: np.ndarray, scores: np.ndarray) -> Found:
        nearest = np.full((len(queries), self.neighbours), -1)
        near = np.full(nearest.shape, -np.inf)
        places: list[np.ndarray] = [NONE] * len(queries)
        work = partial(self._share, queries, scores, nearest, near, places)
        list(pool.map(work, range(self.threads)))
        return Found(queries, Ranking.from_lists(places), nearest, near)

    def _share(
        self,
        queries: np.ndarray,
        scores: np.ndarray,
        nearest: np.ndarray,
        near: np.ndarray,
        places: list[np.ndarray],
        thread: int,
    ) -> None:
        """A thread's rows: one in so many, since later rows may have fewer pairs to count."""
        for place in range(thread, len(queries), self.threads):
            query, row = int(queries[place]), scores[place]
            relevant, hidden = self.sides.relevant(query), self.sides.hidden(query)
            if self.counters:
                self._count(query, row, relevant, hidden, self.counters[thread])
            row[hidden] = -np.inf
            first = best(row, self.neighbours) if self.neighbours else NONE
            nearest[place, : len(first)] = first
            near[place, : len(first)] = np.clip(row[first], -1, 1)
            places[place] = positions(row, relevant)

    def _count(
        self, query: int, scores: np.ndarray, relevant: np.ndarray, hidden: np.ndarray, counter: PairCounter
    ) -> None:
        """Count the query's pairs; in self-retrieval those with later rows, so that each counts once."""
        first = query + 1 if self.sides.itself else 0
        positive = relevant[relevant >= first] - first
        hidden = hidden[hidden >= first] - first
        if len(hidden):
            kept = np.ones(len(scores) - first, bool)
            kept[hidden] = False
            scores, positive = scores[first:][kept], (np.cumsum(kept) - 1)[positive]
        else:
            scores = scores[first:]
        counter.add(scores, positive)
