"""Rank a gallery for every query: per-query metrics, nearest rows, and counts of pairs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TaskID

from lookalike.metrics.retrieval import Ranking
from lookalike.metrics.verification import PairCounter, Pairs
from lookalike.ranking.approximate import Shortlist
from lookalike.ranking.exact import FullRanking
from lookalike.ranking.pair_bands import bands_still_needed, guess_bands, merge_bands
from lookalike.ranking.pair_histogram import PairHistogram
from lookalike.ranking.task import RankedQueries, RankingDepth, RankingSettings, RetrievalTask

SETTINGS = RankingSettings()

MOST_CROSSING = 1 << 31
"""Number of scores above which the equal error rate is estimated from low-precision scores."""

MOST_THREADS = 8
Metric = Callable[[Ranking], np.ndarray]


@dataclass(frozen=True, eq=False)
class RankingResult:
    """Result of `rank_gallery`.

    Attributes:
        columns: value of each metric for each query, float64 [Q]; NaN for queries without relevant rows.
        totals: number of relevant rows of each query, int64 [Q].
        nearest: the nearest rows of each query, nearest first, int64 [Q, neighbours]; -1 if there are fewer.
        scores: their scores, float64 [Q, neighbours]; -inf if there are fewer.
        pairs: counts of pairs by score; empty if not requested.
    """

    columns: dict[str, np.ndarray]
    totals: np.ndarray
    nearest: np.ndarray
    scores: np.ndarray
    pairs: Pairs


def rank_gallery(
    task: RetrievalTask,
    metrics: Mapping[str, Metric],
    *,
    neighbours: int = 10,
    depth: int | None = None,
    first: int = 0,
    fars: Sequence[float] | None = None,
    crossing: bool = False,
    device: str | torch.device | None = None,
    progress: bool = False,
    settings: RankingSettings | None = None,
) -> RankingResult:
    """Compare every query with the whole gallery, exactly.

    The score of two vectors is their exact dot product (see `lookalike.ranking.exact.products`); of equal
    scores, the lower row ranks first. Time grows with queries × gallery, memory with queries + gallery.

    Args:
        task: queries and gallery.
        metrics: functions of a ranking with one value per query; called for blocks of queries.
        neighbours: number of nearest rows to return, limited by the size of the gallery.
        depth: positions that the metrics need: positions beyond this and beyond the number of relevant
            rows may be given as 0. None gives all positions, which takes longer.
        first: with `depth`, positions up to which only the first relevant row is needed, as in recall@k.
        fars: false accept rates at which `tar_at_far` is exact; None counts no pairs.
        crossing: whether `eer` is exact as well; above `MOST_CROSSING` scores it is an estimate.
        device: used for products; the CPU by default.
        progress: show a progress bar on stderr.
        settings: sizes of blocks and the like.
    """
    settings = settings or SETTINGS
    task, kept_gallery = task.drop_junk()
    torch_device, threads = torch.device(device or "cpu"), min(torch.get_num_threads(), MOST_THREADS)
    width = min(neighbours, len(task.rows) - task.self_retrieval)
    result = _Collector(task, metrics, width)
    small = len(task.queries) * len(task.rows) <= settings.max_direct
    crossing = crossing and len(task.queries) * len(task.rows) <= MOST_CROSSING
    pairs, left_over = Pairs.from_scores([], []), np.arange(len(task.queries))
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        advance = partial(bar.advance, bar.add_task("comparing", total=len(left_over)))
        if not small:
            shortlist = Shortlist(
                task, RankingDepth(depth, first, width), torch_device, threads, fars is not None, settings
            )
            histogram = (
                None
                if fars is None
                else shortlist.make_histogram(guess_bands(task, fars, torch_device, crossing))
            )
            for ranked in shortlist.run(advance, histogram, ranks=bool(metrics or width)):
                result.keep(ranked)
            if histogram is not None and fars is not None:
                pairs = _resolve_thresholds(shortlist, histogram, fars, crossing)
            left_over = np.concatenate(shortlist.left_over)
            bar.update(TaskID(0), total=len(task.queries) + len(left_over))
        deep = FullRanking(
            task, width, torch_device, threads, small and fars is not None, settings.block_bytes
        )
        for ranked in deep.run(left_over):
            result.keep(ranked)
            advance(len(ranked.queries))
    if deep.counters:
        pairs = PairCounter.total(deep.counters)
    return result.result(pairs, kept_gallery)


def _resolve_thresholds(
    shortlist: Shortlist, histogram: PairHistogram, fars: Sequence[float], crossing: bool
) -> Pairs:
    """The pairs, counted a second time if a guessed threshold was wrong."""
    pairs = histogram.pairs()
    missed = bands_still_needed(pairs, fars, shortlist.error, crossing) if pairs.negatives else []
    if not missed:
        return pairs
    histogram = shortlist.make_histogram(merge_bands([*histogram.bands, *missed]))
    list(shortlist.run(lambda _: None, histogram, ranks=False))
    return histogram.pairs()


class _Collector:
    """Collects the results of blocks of queries."""

    def __init__(self, task: RetrievalTask, metrics: Mapping[str, Metric], width: int):
        size = len(task.queries)
        self.metrics = metrics
        self.columns = {name: np.full(size, np.nan) for name in metrics}
        self.totals = np.zeros(size, np.int64)
        self.nearest = np.full((size, width), -1)
        self.scores = np.full((size, width), -np.inf)

    def keep(self, ranked: RankedQueries) -> None:
        """Add the metrics and neighbours of some queries."""
        queries = ranked.queries
        self.nearest[queries], self.scores[queries] = ranked.nearest, ranked.scores
        self.totals[queries] = ranked.ranking.total
        for name, metric in self.metrics.items():
            self.columns[name][queries] = metric(ranked.ranking)

    def result(self, pairs: Pairs, kept_gallery: np.ndarray | None) -> RankingResult:
        """All results; rows are those before junk was removed (`kept_gallery`)."""
        nearest = self.nearest
        if kept_gallery is not None:
            nearest = np.where(nearest < 0, -1, kept_gallery[nearest])
        return RankingResult(self.columns, self.totals, nearest, self.scores, pairs)
