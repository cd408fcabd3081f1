"""The pairs of a protocol with the identities they are of, for intervals of verification metrics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lookalike.metrics.pair_counts import IdentityCounts, PairBlock
from lookalike.metrics.verification import FINE, Pairs
from lookalike.protocols.base import Part
from lookalike.search.sides import Sides

MOST_ROWS = 8192
"""Beyond so many images a sample of them is counted, for time grows with their square."""

FEWEST_OF_ONE = 8
"""So many images of an identity are kept before identities are left out."""

BLOCK = 1 << 21
"""Pairs at once."""

CELLS = round(1 / FINE)


def identity_counts(
    parts: Sequence[Part], thresholds: np.ndarray, seed: int = 0, most: int | None = None
) -> IdentityCounts:
    """Count the pairs of each identity above each threshold, in blocks.

    Of more than `most` images, or `MOST_ROWS`, a seeded sample is counted: fewer images of large identities,
    each of which then stands for as many as it should, then fewer identities. A distractor is an identity of
    its own. Where most images can have no positive pair, those that can are kept first, up to half of the
    sample; each of the others then stands for more of them, so that rates stay those of all.

    Args:
        parts: the comparisons.
        thresholds: descending.
        seed: of the sample.
        most: images to count.
    """
    sides, share = _sampled(parts, np.random.default_rng(seed), most or MOST_ROWS)
    every = np.unique(
        np.concatenate([code for each in sides for code in (each.query_codes, each.gallery_codes)])
    )
    numbered = [
        _Numbered(each, np.searchsorted(every, each.query_codes), np.searchsorted(every, each.gallery_codes))
        for each in sides
    ]
    blocks = (block for each in numbered for block in _blocks(each))
    return IdentityCounts.of(blocks, every, thresholds, share)


def counted(parts: Sequence[Part]) -> Pairs:
    """All pairs of all parts, in cells of `FINE`: memory does not grow with their number."""
    cells = np.zeros((2, 2 * CELLS + 1), np.uint32)
    for rows in _whole(parts):
        for block in _blocks(_Numbered(rows, rows.query_codes, rows.gallery_codes)):
            places = np.floor(block.scores * CELLS).astype(np.int64) + CELLS
            same = block.first == block.second
            for kind, mask in enumerate((same, ~same)):
                found, counts = np.unique(places[mask], return_counts=True)
                cells[kind, found] += counts.astype(np.uint32)
    there = np.flatnonzero(cells.any(axis=0))
    positive, negative = (each[there].astype(np.int64) for each in cells)
    return Pairs(there / CELLS - 1, positive, negative, np.full(len(there), FINE))


@dataclass(frozen=True, eq=False)
class _Rows:
    """Queries and gallery with an identity for each row, a distractor's being its own.

    Where rows were left out, each of the others stands for so many.
    """

    sides: Sides
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


def _sampled(parts: Sequence[Part], rng: np.random.Generator, rows: int) -> tuple[list[_Rows], float]:
    """The rows to count, by their places in each part, and the share of identities among them."""
    whole = _whole(parts)
    codes = np.concatenate([each.query_codes if each.sides.itself else _both(each) for each in whole])
    names, counts = np.unique(codes, return_counts=True)
    if counts.sum() <= rows:
        return whole, 1.0
    most = max(FEWEST_OF_ONE, rows // len(names))
    order, cost = rng.permutation(len(names)), np.minimum(counts, most)
    paired = np.isin(names, np.concatenate([_paired(each) for each in whole]))
    if not paired.any() or cost[paired].sum() >= cost[~paired].sum():
        kept = names[order[np.cumsum(cost[order]) <= rows]]
        return [_thinned(each, kept, most, rng) for each in whole], len(kept) / len(names)
    first, others = order[paired[order]], order[~paired[order]]
    room = max(rows // 2, rows - int(cost[others].sum()))
    first = first[np.cumsum(cost[first]) <= room]
    others = others[np.cumsum(cost[others]) <= rows - int(cost[first].sum())]
    share, rest = len(first) / paired.sum(), len(others) / (~paired).sum()
    kept, factor = names[np.concatenate([first, others])], share / rest if rest else 1.0
    return [_thinned(each, kept, most, rng, names[others], factor) for each in whole], float(share)


def _paired(rows: _Rows) -> np.ndarray:
    """The identities that may have a positive pair: without them a sample says nothing of true accepts."""
    if rows.sides.itself:
        names, counts = np.unique(rows.query_codes, return_counts=True)
        return names[counts > 1]
    return np.intersect1d(rows.query_codes, rows.gallery_codes)


def _whole(parts: Sequence[Part]) -> list[_Rows]:
    lowest = -1 - np.cumsum([0, *(len(part.queries) + len(part.gallery) for part in parts)])
    return [
        _Rows(
            part.sides,
            np.arange(len(part.queries)),
            np.arange(len(part.gallery)),
            _own(part.sides.query_codes, start),
            _own(part.sides.codes, start - len(part.queries)),
        )
        for part, start in zip(parts, lowest, strict=False)
    ]


def _thinned(
    rows: _Rows,
    kept: np.ndarray,
    most: int,
    rng: np.random.Generator,
    others: np.ndarray | None = None,
    factor: float = 1.0,
) -> _Rows:
    """The rows of the identities that are kept; each of `others` stands for `factor` identities."""
    queries = _some(rows.query_codes, kept, most, rng)
    gallery = queries if rows.sides.itself else _some(rows.gallery_codes, kept, most, rng)
    codes = rows.query_codes[queries], rows.gallery_codes[gallery]
    weights = [_weights(rows.query_codes, codes[0]), _weights(rows.gallery_codes, codes[1])]
    if others is not None:
        pairs = zip(weights, codes, strict=True)
        weights = [weight * np.where(np.isin(code, others), factor, 1.0) for weight, code in pairs]
    return _Rows(rows.sides, queries, gallery, *codes, *weights)


def _weights(codes: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """For how many rows of its identity each row that was kept stands."""
    _, place, some = np.unique(kept, return_inverse=True, return_counts=True)
    every = np.bincount(np.searchsorted(np.unique(kept), codes[np.isin(codes, kept)]))
    return (every / some)[place]


def _some(codes: np.ndarray, kept: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Places of at most so many rows of each identity that is kept, ascending."""
    order = rng.permutation(np.flatnonzero(np.isin(codes, kept)))
    by_code = order[np.argsort(codes[order], kind="stable")]
    ordered = codes[by_code]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return np.sort(by_code[rank < most])


def _both(rows: _Rows) -> np.ndarray:
    return np.concatenate([rows.query_codes, rows.gallery_codes])


def _own(codes: np.ndarray, start: int) -> np.ndarray:
    """An identity of its own, below 0, for each row of unknown identity."""
    return np.where(codes < 0, start - np.arange(len(codes)), codes)


def _blocks(numbered: _Numbered) -> Iterator[PairBlock]:
    rows, sides = numbered.rows, numbered.rows.sides
    gallery = torch.from_numpy(sides.rows[rows.gallery]).float()
    step = max(1, BLOCK // max(1, len(rows.gallery)))
    for start in range(0, len(rows.queries), step):
        places = slice(start, start + step)
        queries = rows.queries[places]
        scores = (torch.from_numpy(sides.queries[queries]).float() @ gallery.T).numpy()
        seen = _seen(sides, queries, rows.gallery)
        query, row = np.nonzero(seen)
        weights = None
        if rows.query_weights is not None and rows.gallery_weights is not None:
            weights = rows.query_weights[places][query] * rows.gallery_weights[row]
        yield PairBlock(
            numbered.query_codes[places][query],
            numbered.gallery_codes[row],
            np.clip(scores[query, row], -1, 1).astype(np.float64),
            weights,
        )


def _seen(sides: Sides, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which rows make a pair with each query, each pair once, bool [Q, G]."""
    if sides.itself:
        seen = rows > queries[:, None]
    else:
        own = np.full(len(queries), -1) if sides.own is None else sides.own[queries]
        seen = rows != own[:, None]
    if sides.ignore != "nothing" and sides.groups is not None and sides.query_groups is not None:
        ignored = sides.groups[rows] == sides.query_groups[queries][:, None]
        if sides.ignore == "identity_in_group":
            codes = sides.query_codes[queries][:, None]
            ignored &= (sides.codes[rows] == codes) & (codes >= 0)
        seen &= ~ignored
    return seen
