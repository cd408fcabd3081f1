"""The pairs of a protocol with the identities they are of, for intervals of verification metrics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lookalike.evaluation.protocols.base import TaskPart
from lookalike.metrics.pair_counts import IdentityCounts, PairBlock
from lookalike.metrics.verification import FINE, Pairs
from lookalike.ranking.task import RetrievalTask

MOST_ROWS = 8192
"""Beyond so many images a sample of them is counted, for time grows with their square."""

FEWEST_OF_ONE = 8
"""So many images of an identity are kept before identities are left out."""

BLOCK = 1 << 21
"""Pairs at once."""

CELLS = round(1 / FINE)


def identity_counts(
    parts: Sequence[TaskPart], thresholds: np.ndarray, seed: int = 0, max_rows: int | None = None
) -> IdentityCounts:
    """Count the pairs of each identity above each threshold, in blocks.

    Of more than `max_rows` images, or `MOST_ROWS`, a seeded sample is counted: fewer images of large
    identities, each of which then stands for as many as it should, then fewer identities. A distractor is an
    identity of its own. Where most images can have no positive pair, those that can are kept first, up to
    half of the sample; each of the others then stands for more of them, so that rates stay those of all.

    Args:
        parts: the comparisons.
        thresholds: descending.
        seed: of the sample.
        max_rows: images to count.
    """
    sides, share = _sample_rows(parts, np.random.default_rng(seed), max_rows or MOST_ROWS)
    every = np.unique(
        np.concatenate([code for part in sides for code in (part.query_codes, part.gallery_codes)])
    )
    numbered = [
        _Numbered(part, np.searchsorted(every, part.query_codes), np.searchsorted(every, part.gallery_codes))
        for part in sides
    ]
    blocks = (block for part in numbered for block in _blocks(part))
    return IdentityCounts.count_blocks(blocks, every, thresholds, share)


def count_pairs(parts: Sequence[TaskPart]) -> Pairs:
    """All pairs of all parts, in cells of `FINE`: memory does not grow with their number."""
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
    """Queries and gallery with an identity for each row, a distractor's being its own.

    Where rows were left out, each of the others stands for so many.
    """

    sides: RetrievalTask
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


def _sample_rows(parts: Sequence[TaskPart], rng: np.random.Generator, rows: int) -> tuple[list[_Rows], float]:
    """The rows to count, by their places in each part, and the share of identities among them."""
    whole = _all_rows(parts)
    codes = np.concatenate(
        [part.query_codes if part.sides.self_retrieval else _codes_of_both(part) for part in whole]
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
    """The identities that may have a positive pair: without them a sample says nothing of true accepts."""
    if rows.sides.self_retrieval:
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
    """The rows of the identities that are kept; each of `others` stands for `factor` identities."""
    queries = _sample_per_identity(rows.query_codes, selected, max_per_identity, rng)
    gallery = (
        queries
        if rows.sides.self_retrieval
        else _sample_per_identity(rows.gallery_codes, selected, max_per_identity, rng)
    )
    codes = rows.query_codes[queries], rows.gallery_codes[gallery]
    weights = [_weights(rows.query_codes, codes[0]), _weights(rows.gallery_codes, codes[1])]
    if others is not None:
        pairs = zip(weights, codes, strict=True)
        weights = [weight * np.where(np.isin(code, others), factor, 1.0) for weight, code in pairs]
    return _Rows(rows.sides, queries, gallery, *codes, *weights)


def _weights(codes: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """For how many rows of its identity each row that was kept stands."""
    _, index, num_selected = np.unique(selected, return_inverse=True, return_counts=True)
    every = np.bincount(np.searchsorted(np.unique(selected), codes[np.isin(codes, selected)]))
    return (every / num_selected)[index]


def _sample_per_identity(
    codes: np.ndarray, selected: np.ndarray, limit: int, rng: np.random.Generator
) -> np.ndarray:
    """Places of at most so many rows of each identity that is kept, ascending."""
    order = rng.permutation(np.flatnonzero(np.isin(codes, selected)))
    by_code = order[np.argsort(codes[order], kind="stable")]
    ordered = codes[by_code]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return np.sort(by_code[rank < limit])


def _codes_of_both(rows: _Rows) -> np.ndarray:
    return np.concatenate([rows.query_codes, rows.gallery_codes])


def _codes_for_unknown(codes: np.ndarray, start: int) -> np.ndarray:
    """An identity of its own, below 0, for each row of unknown identity."""
    return np.where(codes < 0, start - np.arange(len(codes)), codes)


def _blocks(numbered: _Numbered) -> Iterator[PairBlock]:
    rows, sides = numbered.rows, numbered.rows.sides
    gallery = torch.from_numpy(sides.rows[rows.gallery]).float()
    step = max(1, BLOCK // max(1, len(rows.gallery)))
    for start in range(0, len(rows.queries), step):
        columns = slice(start, start + step)
        queries = rows.queries[columns]
        scores = (torch.from_numpy(sides.queries[queries]).float() @ gallery.T).numpy()
        is_pair = _pair_mask(sides, queries, rows.gallery)
        query, row = np.nonzero(is_pair)
        weights = None
        if rows.query_weights is not None and rows.gallery_weights is not None:
            weights = rows.query_weights[columns][query] * rows.gallery_weights[row]
        yield PairBlock(
            numbered.query_codes[columns][query],
            numbered.gallery_codes[row],
            np.clip(scores[query, row], -1, 1).astype(np.float64),
            weights,
        )


def _pair_mask(sides: RetrievalTask, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which rows make a pair with each query, each pair once, bool [Q, G]."""
    if sides.self_retrieval:
        is_pair = rows > queries[:, None]
    else:
        excluded_rows = np.full(len(queries), -1) if sides.exclude_row is None else sides.exclude_row[queries]
        is_pair = rows != excluded_rows[:, None]
    if sides.ignore != "nothing" and sides.groups is not None and sides.query_groups is not None:
        ignored = sides.groups[rows] == sides.query_groups[queries][:, None]
        if sides.ignore == "identity_in_group":
            codes = sides.query_codes[queries][:, None]
            ignored &= (sides.codes[rows] == codes) & (codes >= 0)
        is_pair &= ~ignored
    return is_pair
