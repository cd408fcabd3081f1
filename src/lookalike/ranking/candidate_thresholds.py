"""The low-precision score from which rows are candidates of a query."""

import numpy as np
import torch

from lookalike.ranking.error_bound import NOTHING, LowPrecisionVectors, Products, code_below
from lookalike.ranking.exact import chosen_products, parts_of
from lookalike.ranking.task import RankingDepth, RetrievalTask

SAMPLE = 2048
GROUPS = 256

FEW = 64
"""Up to this many relevant rows are scored in advance; of more, one is nearly always among the nearest."""


class CandidateThresholds:
    """Estimates thresholds from a sample of the gallery; `sufficient_queries` checks them afterwards.

    Args:
        task: queries and gallery.
        depth: how much of each ranking is needed.
        order: of queries and gallery rows in the tiles: by identity.
        left: the queries in low precision.
        right: the gallery in low precision.
        error: bound on the error of low-precision scores.
        is_counted: queries whose relevant rows `RelevantRanks` counts; only their neighbours are needed.

    Attributes:
        totals: number of relevant rows of each query, in that order.
        needed: number of nearest rows needed per query.
    """

    def __init__(
        self,
        task: RetrievalTask,
        depth: RankingDepth,
        order: tuple[np.ndarray, np.ndarray],
        left: LowPrecisionVectors,
        right: LowPrecisionVectors,
        error: float,
        is_counted: np.ndarray | None = None,
    ):
        self.task, self.depth, self.error = task, depth, error
        self.is_counted = np.zeros(len(order[0]), bool) if is_counted is None else is_counted.copy()
        self.rows, self.columns = rows, columns = order
        size = max(1, min(SAMPLE, len(columns) // 8))
        self.groups = min(size, GROUPS)
        self.sample = np.random.default_rng(0).permutation(len(columns))[: size // self.groups * self.groups]
        sample_vectors = right.low[torch.from_numpy(self.sample).to(right.low.device)]
        self.left, self.right, self.device = left.low, sample_vectors, sample_vectors.device
        self.totals = task.totals[rows]
        every = len(columns) if depth.every is None else np.maximum(depth.every, self.totals)
        self.needed = np.maximum(np.where((self.totals > 0) & ~self.is_counted, every, 0), depth.neighbours)

    def codes_for_block(self, block: slice) -> np.ndarray:
        """Codes for a block of queries; `NOTHING` for those that need no candidates or too many."""
        ladder = self._ladder(block)
        limits = self._guess_codes(ladder, np.full(len(ladder), self.depth.neighbours))
        num_needed = np.zeros(len(ladder), np.int16)
        if self.depth.every is not None:
            least, best = self._relevant_scores(block)
            every = np.maximum(self.depth.every, self.totals[block])
            num_needed = np.maximum(self._guess_codes(ladder, every), least)
            further = np.maximum(self._guess_codes(ladder, np.full(len(ladder), self.depth.first)), best)
            seldom = (self.depth.first > every) & (self.totals[block] <= FEW)
            num_needed = np.where(seldom, np.minimum(num_needed, further), num_needed)
        needs_relevant = (self.totals[block] > 0) & ~self.is_counted[block]
        limits = np.where(needs_relevant, np.minimum(limits, num_needed), limits)
        return np.where(limits > 0, limits, NOTHING)

    def sufficient_queries(self, block: slice, count: np.ndarray, num_found: np.ndarray) -> np.ndarray:
        """Whether the exact tops of rankings are long enough, bool.

        Args:
            block: the queries.
            count: their lengths.
            num_found: number of relevant rows in them.
        """
        totals = self.totals[block]
        enough = num_found == totals
        if self.depth.every is not None:
            first = (num_found > 0) | (count >= self.depth.first)
            enough |= (count >= np.maximum(self.depth.every, totals)) & first
        return enough & (count >= self.depth.neighbours)

    def _ladder(self, block: slice) -> np.ndarray:
        """Codes of the highest scores of each query in the sample, highest first, int16 [B, groups]."""
        codes = Products(self.left, self.right).codes(block, slice(None)).cpu().numpy()
        if self.task.ignore == "group":
            hidden = ~self.task.is_visible(self.rows[block][:, None], self.columns[self.sample])
            codes = np.where(hidden, np.int16(-1), codes)
        maxima = codes.reshape(len(codes), -1, self.groups).max(axis=1)
        maxima.sort(axis=1)
        return maxima[:, ::-1]

    def _guess_codes(self, ladder: np.ndarray, num_needed: np.ndarray) -> np.ndarray:
        """Codes that at least `num_needed` rows probably reach, [B]; 0 if the sample is too small to tell."""
        share = 1.5 * num_needed * len(self.sample) / len(self.columns)
        step = np.ceil(share + 2.5 * np.sqrt(share) + 1.2).astype(np.int64)
        codes = ladder[np.arange(len(ladder)), np.minimum(step, ladder.shape[1]) - 1]
        return np.where(num_needed == 0, NOTHING, np.where(step > ladder.shape[1] // 2, 0, codes))

    def _relevant_scores(self, block: slice) -> tuple[np.ndarray, np.ndarray]:
        """Codes certainly reached by the lowest and the highest relevant row; 0 if there are many."""
        queries = self.rows[block]
        first, last = (ends[queries] for ends in self.task.bounds)
        last = np.where(last - first > FEW, first, last)
        count = last - first
        least, best = np.full(len(queries), np.inf), np.full(len(queries), -np.inf)
        if count.any():
            left = np.repeat(np.arange(len(queries)), count)
            right = (
                np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
            )
            begin, end = right.min(), right.max() + 1
            exact = parts_of(self.task.queries, queries, self.device)
            other = parts_of(self.task.rows, self.columns[begin:end], self.device)
            scores = chosen_products(exact, other, left * (end - begin) + right - begin)
            is_visible = self.task.is_visible(queries[left], self.columns[right])
            np.minimum.at(least, left[is_visible], scores[is_visible])
            np.maximum.at(best, left[is_visible], scores[is_visible])
        lines = (np.where(np.isfinite(least), least, -1), best)
        return code_below(lines[0] - self.error), code_below(lines[1] - self.error)
