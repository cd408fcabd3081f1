"""Counts of the pairs of a protocol by identity, for intervals of verification metrics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock

import numpy as np
import torch

from lookalike.evaluation.protocols.base import TaskPart
from lookalike.metrics.pair_counts import IdentityCounts, PairBlock
from lookalike.metrics.verification import FINE, Pairs
from lookalike.ranking.approximate import worker_threads
from lookalike.ranking.task import RetrievalTask

MOST_ROWS = 4096
"""Number of images above which a sample is counted, because time grows with their square."""

FEWEST_OF_ONE = 8
"""Images kept per identity before identities are left out."""

BLOCK = 1 << 20
"""Pairs per block."""

BINS = 1 << 15
"""Bins of equal width in the table that maps scores to thresholds."""

CELLS = round(1 / FINE)


def identity_counts(
    parts: Sequence[TaskPart],
    thresholds: np.ndarray,
    seed: int = 0,
    max_rows: int | None = None,
    block: int = BLOCK,
) -> IdentityCounts:
    """Count the pairs of each identity above each threshold, in blocks.

    If there are more than `max_rows` images, or `MOST_ROWS`, a seeded sample is counted. It drops images of
    large identities first, the remaining ones with a higher weight, and identities after that. A distractor
    is an identity of its own. If most images have no positive pair, those with one fill up to half of the
    sample, and the others are weighted, so that rates stay those of all pairs.

    Args:
        parts: the comparisons.
        thresholds: descending.
        seed: seed of the sample.
        max_rows: maximum number of images to count.
        block: pairs per block.
    """
    task, share = _sample_rows(parts, np.random.default_rng(seed), max_rows or MOST_ROWS)
    every = np.unique(
        np.concatenate([code for part in task for code in (part.query_codes, part.gallery_codes)])
    )
    total = _PairTotals(every, thresholds, block)
    for part in task:
        numbered = _Numbered(
            part, np.searchsorted(every, part.query_codes), np.searchsorted(every, part.gallery_codes)
        )
        total.count(numbered)
    return IdentityCounts(
        thresholds,
        np.cumsum(total.negative, axis=1),
        np.cumsum(total.positive, axis=1),
        every,
        share,
        total.different,
    )


def count_pairs(parts: Sequence[TaskPart]) -> Pairs:
    """Histogram of all pairs of all parts in cells of `FINE`, in constant memory."""
    cells = np.zeros((2, 2 * CELLS + 1), np.uint32)
    for rows in _all_rows(parts):
        for block in _blocks(_Numbered(rows, rows.query_codes, rows.gallery_codes)):
            cell_index = np.floor(block.scores * CELLS).astype(np.int64) + CELLS
            same = block.first == block.second
            for kind, mask in enumerate((same, ~same)):
                cell_codes, counts = np.unique(cell_index[mask], return_counts=True)
                cells[kind, cell_codes] += counts.astype(np.uint32)
    occupied = np.flatnonzero(cells.any(axis=0))
    positive, negative = (counts[occupied].astype(np.int64) for counts in cells)
    return Pairs(occupied / CELLS - 1, positive, negative, np.full(len(occupied), FINE))


@dataclass(frozen=True, eq=False)
class _Rows:
    """Queries and gallery with an identity for each row; a distractor is its own identity.

    Weights are the number of rows that each remaining row represents.
    """

    task: RetrievalTask
    queries: np.ndarray
    gallery: np.ndarray
    query_codes: np.ndarray
    gallery_codes: np.ndarray
    query_weights: np.ndarray | None = None
    gallery_weights: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class _Numbered:
    rows: _Rows
    query_codes: np.ndarray
    gallery_codes: np.ndarray


class ThresholdCells:
    """Finds the first threshold that each score reaches.

    A table over bins of equal width answers this with one comparison for nearly every score; a binary search
    follows only if several thresholds share a bin.

    Args:
        thresholds: descending; every score reaches the last one.
    """

    def __init__(self, thresholds: np.ndarray):
        ascending = thresholds[::-1]
        rounded = ascending.astype(np.float32)  # up, so that comparisons in float32 are those in float64
        self._ascending = np.where(rounded < ascending, np.nextafter(rounded, np.float32(np.inf)), rounded)
        self._padded = np.append(self._ascending, np.float32(np.inf))
        self._least = self._ascending[min(1, len(thresholds) - 1)]
        width = self._ascending[-1] - self._least
        self._scale = np.float32(BINS / width if width > 0 else 0)
        self._table = np.searchsorted(self._bins(self._ascending), np.arange(BINS)).astype(np.int16)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Indices of thresholds, int16 of the shape of `scores`, which are float32."""
        count = np.take(self._table, self._bins(scores))  # of the thresholds that a score reaches
        is_above = scores >= np.take(self._padded, count)
        count += is_above
        cells = np.flatnonzero(is_above)
        some, flat = scores.ravel()[cells], count.ravel()
        cells = cells[some >= self._padded[flat[cells]]]
        flat[cells] = np.searchsorted(self._ascending, scores.ravel()[cells], side="right")
        return np.int16(len(self._ascending)) - count

    def _bins(self, scores: np.ndarray) -> np.ndarray:
        """Bins of scores; monotone."""
        bins = (scores - self._least) * self._scale
        return np.clip(bins, 0, BINS - 1, out=bins).astype(np.int32)


class _PairTotals:
    """Number of pairs by identity and by the first threshold that they reach.

    Attributes:
        negative: float64 [identities, thresholds]; each pair counts for both of its identities.
        positive: pairs within an identity, the same shape.
        different: number of pairs of different identities.
    """

    def __init__(self, identities: np.ndarray, thresholds: np.ndarray, block: int):
        self.negative, self.positive = np.zeros((2, len(identities), len(thresholds)))
        self.different, self.block = 0, block
        self._cells, self._lock = ThresholdCells(thresholds), Lock()

    def count(self, numbered: "_Numbered") -> None:
        """Count the pairs of a part, in blocks."""
        rows, size = numbered.rows, self.negative.shape[1]
        vectors = _float32_rows(rows.task.rows, rows.gallery)
        by_query = np.zeros((len(rows.queries), size))
        by_row = by_query if rows.task.self_retrieval else np.zeros((len(rows.gallery), size))
        step = max(1, self.block // max(1, len(rows.gallery)))
        with worker_threads(torch.get_num_threads()) as pool:
            add = partial(self._add, numbered, vectors, (by_query, by_row), step)
            list(pool.map(add, range(0, len(rows.queries), step)))
        np.add.at(self.negative, numbered.query_codes, by_query)
        if not rows.task.self_retrieval:
            np.add.at(self.negative, numbered.gallery_codes, by_row)

    def _add(
        self,
        numbered: "_Numbered",
        vectors: torch.Tensor,
        negative: tuple[np.ndarray, np.ndarray],
        step: int,
        start: int,
    ) -> None:
        """Count the pairs of `step` queries with the gallery; in self-retrieval, with later rows only."""
        rows, task = numbered.rows, numbered.rows.task
        block = slice(start, start + step)
        columns = slice(start if task.self_retrieval else 0, None)
        queries, gallery = rows.queries[block], rows.gallery[columns]
        codes = numbered.query_codes[block], numbered.gallery_codes[columns]
        weights = None
        if rows.query_weights is not None and rows.gallery_weights is not None:
            weights = rows.query_weights[block], rows.gallery_weights[columns]
        cells = self._cells(_scores(task, queries, vectors[columns]))
        is_pair, is_same = _pair_mask(task, queries, gallery), codes[0][:, None] == codes[1]
        query, row = np.nonzero(is_same & is_pair)
        same = codes[0][query], cells[query, row]
        num_same = 1.0 if weights is None else weights[0][query] * weights[1][row]
        none = self.negative.shape[1]
        np.copyto(cells, np.int16(none), where=is_same | ~is_pair)
        by_query = _count_cells(cells, none, None if weights is None else weights[::-1])
        transposed = torch.from_numpy(cells).t().contiguous().numpy()
        by_row = _count_cells(transposed, none, weights)
        with self._lock:
            np.add.at(self.positive, same, num_same)
            negative[0][block] += by_query
            negative[1][columns] += by_row
            self.different += is_pair.size - int(np.count_nonzero(cells == none))


def _count_cells(cells: np.ndarray, size: int, weights: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """Number of columns of each row in each cell below `size`, float64 [R, size].

    Args:
        cells: int16 [R, C].
        size: number of cells; cells beyond are ignored.
        weights: of columns and rows, [C] and [R]; None for 1.
    """
    numbers = cells + np.arange(0, len(cells) * (size + 1), size + 1, dtype=np.int32)[:, None]
    factors = None if weights is None else torch.from_numpy(np.tile(weights[0], len(cells)))
    counts = torch.bincount(torch.from_numpy(numbers).view(-1), factors, minlength=len(cells) * (size + 1))
    by_row = counts.double().numpy().reshape(len(cells), size + 1)[:, :size]
    return by_row if weights is None else by_row * weights[1][:, None]


def _sample_rows(parts: Sequence[TaskPart], rng: np.random.Generator, rows: int) -> tuple[list[_Rows], float]:
    """The rows to count, as indices in each part, and the share of identities among them."""
    whole = _all_rows(parts)
    codes = np.concatenate(
        [part.query_codes if part.task.self_retrieval else _codes_of_both(part) for part in whole]
    )
    names, counts = np.unique(codes, return_counts=True)
    if counts.sum() <= rows:
        return whole, 1.0
    max_per_identity = max(FEWEST_OF_ONE, rows // len(names))
    order, cost = rng.permutation(len(names)), np.minimum(counts, max_per_identity)
    paired = np.isin(names, np.concatenate([_paired_identities(part) for part in whole]))
    if not paired.any() or cost[paired].sum() >= cost[~paired].sum():
        selected = names[order[np.cumsum(cost[order]) <= rows]]
        return [_thin_rows(part, selected, max_per_identity, rng) for part in whole], len(selected) / len(
            names
        )
    first, others = order[paired[order]], order[~paired[order]]
    room = max(rows // 2, rows - int(cost[others].sum()))
    first = first[np.cumsum(cost[first]) <= room]
    others = others[np.cumsum(cost[others]) <= rows - int(cost[first].sum())]
    share, rest = len(first) / paired.sum(), len(others) / (~paired).sum()
    selected, factor = names[np.concatenate([first, others])], share / rest if rest else 1.0
    return [
        _thin_rows(part, selected, max_per_identity, rng, names[others], factor) for part in whole
    ], float(share)


def _paired_identities(rows: _Rows) -> np.ndarray:
    """The identities that may have a positive pair; without them a sample has no true accept rate."""
    if rows.task.self_retrieval:
        names, counts = np.unique(rows.query_codes, return_counts=True)
        return names[counts > 1]
    return np.intersect1d(rows.query_codes, rows.gallery_codes)


def _all_rows(parts: Sequence[TaskPart]) -> list[_Rows]:
    lowest = -1 - np.cumsum([0, *(len(part.queries) + len(part.gallery) for part in parts)])
    return [
        _Rows(
            part.task,
            np.arange(len(part.queries)),
            np.arange(len(part.gallery)),
            _codes_for_unknown(part.task.query_codes, start),
            _codes_for_unknown(part.task.codes, start - len(part.queries)),
        )
        for part, start in zip(parts, lowest, strict=False)
    ]


def _thin_rows(
    rows: _Rows,
    selected: np.ndarray,
    max_per_identity: int,
    rng: np.random.Generator,
    others: np.ndarray | None = None,
    factor: float = 1.0,
) -> _Rows:
    """The sampled rows of the selected identities; each of `others` represents `factor` identities."""
    queries = _sample_per_identity(rows.query_codes, selected, max_per_identity, rng)
    gallery = (
        queries
        if rows.task.self_retrieval
        else _sample_per_identity(rows.gallery_codes, selected, max_per_identity, rng)
    )
    codes = rows.query_codes[queries], rows.gallery_codes[gallery]
    weights = [_weights(rows.query_codes, codes[0]), _weights(rows.gallery_codes, codes[1])]
    if others is not None:
        pairs = zip(weights, codes, strict=True)
        weights = [weight * np.where(np.isin(code, others), factor, 1.0) for weight, code in pairs]
    return _Rows(rows.task, queries, gallery, *codes, *weights)


def _weights(codes: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """Number of rows of its identity that each sampled row represents."""
    _, index, num_selected = np.unique(selected, return_inverse=True, return_counts=True)
    every = np.bincount(np.searchsorted(np.unique(selected), codes[np.isin(codes, selected)]))
    return (every / num_selected)[index]


def _sample_per_identity(
    codes: np.ndarray, selected: np.ndarray, limit: int, rng: np.random.Generator
) -> np.ndarray:
    """Indices of at most `limit` rows of each selected identity, ascending."""
    order = rng.permutation(np.flatnonzero(np.isin(codes, selected)))
    by_code = order[np.argsort(codes[order], kind="stable")]
    ordered = codes[by_code]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return np.sort(by_code[rank < limit])


def _codes_of_both(rows: _Rows) -> np.ndarray:
    return np.concatenate([rows.query_codes, rows.gallery_codes])


def _codes_for_unknown(codes: np.ndarray, start: int) -> np.ndarray:
    """The codes, with a distinct negative one for each row of unknown identity."""
    return np.where(codes < 0, start - np.arange(len(codes)), codes)


def _blocks(numbered: _Numbered) -> Iterator[PairBlock]:
    rows, task = numbered.rows, numbered.rows.task
    gallery = _float32_rows(task.rows, rows.gallery)
    step = max(1, BLOCK // max(1, len(rows.gallery)))
    for start in range(0, len(rows.queries), step):
        block = slice(start, start + step)
        queries = rows.queries[block]
        scores = _scores(task, queries, gallery)
        query, row = np.nonzero(_pair_mask(task, queries, rows.gallery))
        yield PairBlock(
            numbered.query_codes[block][query],
            numbered.gallery_codes[row],
            scores[query, row].astype(np.float64),
        )


def _scores(task: RetrievalTask, queries: np.ndarray, gallery: torch.Tensor) -> np.ndarray:
    """Similarities of some queries with gallery vectors, float32 [Q, G], from -1 to 1."""
    return torch.mm(_float32_rows(task.queries, queries), gallery.T).clamp_(-1, 1).numpy()


def _float32_rows(vectors: np.ndarray, rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(vectors[rows].astype(np.float32, copy=False))


def _pair_mask(task: RetrievalTask, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which rows make a pair with each query, each pair once, bool [Q, G]."""
    if task.self_retrieval:
        is_pair = rows > queries[:, None]
    else:
        excluded_rows = np.full(len(queries), -1) if task.exclude_row is None else task.exclude_row[queries]
        is_pair = rows != excluded_rows[:, None]
    if task.ignore != "nothing" and task.groups is not None and task.query_groups is not None:
        ignored = task.groups[rows] == task.query_groups[queries][:, None]
        if task.ignore == "identity_in_group":
            codes = task.query_codes[queries][:, None]
            ignored &= (task.codes[rows] == codes) & (codes >= 0)
        is_pair &= ~ignored
    return is_pair
