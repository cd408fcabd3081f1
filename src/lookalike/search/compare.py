"""One comparison of queries with a gallery: per-query metrics, nearest rows, and counts of pairs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TaskID

from lookalike.metrics.retrieval import Ranking
from lookalike.metrics.verification import PairCounter, Pairs
from lookalike.search.bands import again, guess, merged
from lookalike.search.deep import Deep
from lookalike.search.found import Depth, Found
from lookalike.search.shortlist import Shortlist
from lookalike.search.sides import Sides
from lookalike.search.tally import Tally

DIRECT = 1 << 20
"""Up to so many scores everything is ranked whole."""

MOST_CROSSING = 1 << 31
"""Beyond so many scores of pairs the equal error rate is estimated well enough from rough ones."""

MOST_THREADS = 8
Metric = Callable[[Ranking], np.ndarray]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found.

    Attributes:
        columns: each metric's value of each query, float64 [Q]; NaN where there is nothing to find.
        totals: how many relevant rows each query can find, int64 [Q].
        nearest: the nearest rows of each query, nearest first, int64 [Q, neighbours]; -1 where none is left.
        scores: their scores, float64 [Q, neighbours]; -inf where none is left.
        pairs: counts of pairs by their score; empty if they were not asked for.
    """

    columns: dict[str, np.ndarray]
    totals: np.ndarray
    nearest: np.ndarray
    scores: np.ndarray
    pairs: Pairs


def compare(
    sides: Sides,
    metrics: Mapping[str, Metric],
    *,
    neighbours: int = 10,
    depth: int | None = None,
    first: int = 0,
    fars: Sequence[float] | None = None,
    crossing: bool = False,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Comparison:
    """Compare every query with the whole gallery, exactly.

    The score of two vectors is their exact dot product (see `lookalike.search.dots.products`); of equal
    scores the lower row comes first. Time grows with queries × gallery, memory with queries + gallery.

    Args:
        sides: who looks for whom.
        metrics: functions of a ranking that give one value a query; called for some queries at a time.
        neighbours: how many nearest rows to keep, of at most as many as the gallery holds.
        depth: how deep the metrics look into a ranking: positions beyond this and beyond the number of
            relevant rows may be given as 0. None gives all of them, which takes longer.
        first: with `depth`, how deep they look for the best relevant row alone, as recall@k does.
        fars: false accept rates at which `tar_at_far` shall be exact; None counts no pairs.
        crossing: whether `eer` shall be exact, too; of more than `MOST_CROSSING` scores it is an estimate.
        device: where to multiply; the CPU if not given.
        progress: show a bar on stderr.
    """
    sides, kept = sides.without_junk()
    where, threads = torch.device(device or "cpu"), min(torch.get_num_threads(), MOST_THREADS)
    width = min(neighbours, len(sides.rows) - sides.itself)
    result = _Collected(sides, metrics, width)
    small = len(sides.queries) * len(sides.rows) <= DIRECT
    crossing = crossing and len(sides.queries) * len(sides.rows) <= MOST_CROSSING
    pairs, left_over = Pairs.of([], []), np.arange(len(sides.queries))
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        advance = partial(bar.advance, bar.add_task("comparing", total=len(left_over)))
        if not small:
            shortlist = Shortlist(sides, Depth(depth, first, width), where, threads, fars is not None)
            tally = None if fars is None else shortlist.tally(guess(sides, fars, where, crossing))
            for found in shortlist.run(advance, tally, ranks=bool(metrics or width)):
                result.keep(found)
            if tally is not None and fars is not None:
                pairs = _decided(shortlist, tally, fars, crossing)
            left_over = np.concatenate(shortlist.left_over)
            bar.update(TaskID(0), total=len(sides.queries) + len(left_over))
        deep = Deep(sides, width, where, threads, small and fars is not None)
        for found in deep.run(left_over):
            result.keep(found)
            advance(len(found.queries))
    if deep.counters:
        pairs = PairCounter.total(deep.counters)
    return result.comparison(pairs, kept)


def _decided(shortlist: Shortlist, tally: Tally, fars: Sequence[float], crossing: bool) -> Pairs:
    """The pairs, counted once more if a guess of a threshold was wrong."""
    pairs = tally.pairs()
    missed = again(pairs, fars, shortlist.error, crossing) if pairs.negatives else []
    if not missed:
        return pairs
    tally = shortlist.tally(merged([*tally.bands, *missed]))
    list(shortlist.run(lambda _: None, tally, ranks=False))
    return tally.pairs()


class _Collected:
    """The results of the queries, as they come."""

    def __init__(self, sides: Sides, metrics: Mapping[str, Metric], width: int):
        size = len(sides.queries)
        self.metrics = metrics
        self.columns = {name: np.full(size, np.nan) for name in metrics}
        self.totals = np.zeros(size, np.int64)
        self.nearest = np.full((size, width), -1)
        self.scores = np.full((size, width), -np.inf)

    def keep(self, found: Found) -> None:
        """Metrics of some queries, and their neighbours."""
        queries = found.queries
        self.nearest[queries], self.scores[queries] = found.nearest, found.scores
        self.totals[queries] = found.ranking.total
        for name, metric in self.metrics.items():
            self.columns[name][queries] = metric(found.ranking)

    def comparison(self, pairs: Pairs, kept: np.ndarray | None) -> Comparison:
        """All of it; rows are counted as before the junk was taken out (`kept`)."""
        nearest = self.nearest
        if kept is not None:
            nearest = np.where(nearest < 0, -1, kept[nearest])
        return Comparison(self.columns, self.totals, nearest, self.scores, pairs)
