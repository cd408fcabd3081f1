"""What the two ways of ranking give."""

from typing import NamedTuple

import numpy as np

from lookalike.metrics.retrieval import Ranking


class Found(NamedTuple):
    """Of some queries: where their relevant rows stand, and their nearest rows.

    Attributes:
        queries: int64 [Q].
        ranking: of these queries.
        nearest: int64 [Q, k], nearest first; -1 where none is left.
        scores: float64 [Q, k]; -inf where none is left.
    """

    queries: np.ndarray
    ranking: Ranking
    nearest: np.ndarray
    scores: np.ndarray


class Depth(NamedTuple):
    """How far rankings have to be known.

    Attributes:
        every: all relevant rows at positions up to this or up to their number; None is all of them.
        first: the best relevant row, at positions up to this.
        neighbours: so many of the nearest rows.
    """

    every: int | None
    first: int
    neighbours: int
