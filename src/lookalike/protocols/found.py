"""The comparisons of a protocol, made and put together."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lookalike.data.foreign import image_name
from lookalike.metrics.neighbours import Neighbours
from lookalike.metrics.verification import Pairs
from lookalike.protocols.base import Part, Samples
from lookalike.protocols.pair_blocks import counted
from lookalike.search.compare import Comparison, Metric, compare
from lookalike.search.sides import Sides

Rerank = Callable[[Sides, Mapping[str, Metric], int], Comparison]


@dataclass(frozen=True, eq=False)
class Found:
    """What all queries of a protocol found.

    Attributes:
        columns: metric to its value of each query, [Q]; NaN where there is nothing to find.
        totals: how many rows of its identity each query could find, [Q].
        rows: table row of each query, [Q].
        codes: identity of each query, [Q].
        nearest: table rows of the nearest gallery rows, [Q, K]; -1 where none is left.
        neighbours: the same with identities and scores, rows counted in the gallery.
        pairs: counts of all pairs.
    """

    columns: dict[str, np.ndarray]
    totals: np.ndarray
    rows: np.ndarray
    codes: np.ndarray
    nearest: np.ndarray
    neighbours: Neighbours
    pairs: Pairs

    def table(self, names: np.ndarray, columns: Mapping[str, np.ndarray], most: int) -> pl.DataFrame:
        """One line a query: row, label, metrics, images to find, and the first neighbours with scores."""
        labels = names[self.codes]
        near, scores = self.nearest[:, :most], self.neighbours.scores[:, :most]
        frame = pl.DataFrame(
            {
                "row": self.rows,
                "label": labels.astype(str).tolist() if labels.dtype == object else labels,
                **{name: pl.Series(column).fill_nan(None) for name, column in columns.items()},
                "to_find": pl.Series(self.totals, dtype=pl.Int64),
                "neighbours": pl.Series(near).arr.to_list(),
                "scores": pl.Series(scores.astype(np.float32)).arr.to_list(),
            }
        )
        if near.size and near.min() < 0:
            there = pl.element() >= 0, pl.element() > -np.inf
            frame = frame.with_columns(
                pl.col("neighbours").list.eval(pl.element().filter(there[0])),
                pl.col("scores").list.eval(pl.element().filter(there[1])),
            )
        return frame


def compare_parts(
    parts: Sequence[Part], metrics: Mapping[str, Metric], rerank: Rerank | None = None, **how: Any
) -> Found:
    """Compare each part, with the arguments of `lookalike.search.compare.compare`; all results together."""
    if rerank is None:
        found = [compare(part.sides, metrics, **how) for part in parts]
    else:
        found = [rerank(part.sides, metrics, how["neighbours"]) for part in parts]
    width = max(each.nearest.shape[1] for each in found)
    starts = np.cumsum([0, *(len(part.gallery) for part in parts)])
    near = [_widened(each.nearest, width, -1) for each in found]
    codes = np.concatenate([part.sides.query_codes for part in parts])
    totals = np.concatenate([each.totals for each in found])
    neighbours = Neighbours(
        rows=np.concatenate([np.where(n < 0, -1, n + start) for n, start in zip(near, starts, strict=False)]),
        labels=_looked_up(near, [part.sides.codes for part in parts]),
        scores=np.concatenate([_widened(each.scores, width, -np.inf) for each in found]),
        label=codes,
        total=totals,
        gallery=int(starts[-1]),
        whole=all(width >= len(part.gallery) - part.sides.itself for part in parts),
        codes=_own(np.concatenate([part.sides.codes for part in parts])),
    )
    return Found(
        columns={name: np.concatenate([each.columns[name] for each in found]) for name in metrics},
        totals=totals,
        rows=np.concatenate([part.queries for part in parts]),
        codes=codes,
        nearest=_looked_up(near, [part.gallery for part in parts]),
        neighbours=neighbours,
        pairs=_pooled(parts, [each.pairs for each in found]),
    )


def _pooled(parts: Sequence[Part], pairs: Sequence[Pairs]) -> Pairs:
    """The pairs of all parts; where some were counted in cells, which are narrow elsewhere in each, anew."""
    if len(pairs) == 1:
        return pairs[0]
    if not all(each.exact for each in pairs):
        return counted(parts)
    kinds = (
        [np.repeat(each.values, getattr(each, kind)) for each in pairs] for kind in ("positive", "negative")
    )
    return Pairs.of(*map(np.concatenate, kinds))


def data_hash(parts: Sequence[Part], samples: Samples) -> str:
    """The first 12 digits of a SHA-256 of the labels and file names of queries and gallery, in any order."""
    labels = samples.names[samples.codes].tolist()
    paths = samples.frame["path"].to_list() if "path" in samples.frame.columns else [""] * len(samples)
    said = [f"{label}\t{image_name(str(path))}" for label, path in zip(labels, paths, strict=True)]
    total = hashlib.sha256()
    for number, part in enumerate(parts):
        for side, rows in (("query", part.queries), ("gallery", part.gallery)):
            total.update(f"{number} {side}\n".encode())
            total.update("\n".join(sorted(said[row] for row in rows.tolist())).encode())
    return total.hexdigest()[:12]


def _widened(matrix: np.ndarray, width: int, nothing: float) -> np.ndarray:
    return np.pad(matrix, ((0, 0), (0, width - matrix.shape[1])), constant_values=nothing)


def _looked_up(near: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> np.ndarray:
    """For each neighbour its value in its own part's gallery; -1 where there is none."""
    return np.concatenate(
        [np.where(rows < 0, -1, each[np.maximum(rows, 0)]) for rows, each in zip(near, values, strict=True)]
    )


def _own(codes: np.ndarray) -> np.ndarray:
    """The codes, with one of its own for each row of no known identity."""
    return np.where(codes < 0, codes.max(initial=-1) + 1 + np.arange(len(codes)), codes)
