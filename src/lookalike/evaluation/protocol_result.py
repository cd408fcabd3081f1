"""Rank all parts of a protocol and combine the results."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lookalike.data.import_vectors import image_name
from lookalike.evaluation.pair_blocks import count_pairs
from lookalike.evaluation.protocols.base import Samples, TaskPart
from lookalike.metrics.neighbours import Neighbours
from lookalike.metrics.verification import Pairs
from lookalike.ranking.rank import Metric, RankingResult, rank_gallery
from lookalike.ranking.task import RetrievalTask

Rerank = Callable[[RetrievalTask, Mapping[str, Metric], int], RankingResult]


@dataclass(frozen=True, eq=False)
class ProtocolResult:
    """Combined ranking results of all queries of a protocol.

    Attributes:
        columns: values of each metric per query, [Q]; NaN for queries without relevant rows.
        totals: number of relevant rows of each query, [Q].
        rows: table row of each query, [Q].
        codes: identity of each query, [Q].
        nearest: table rows of the nearest gallery rows, [Q, K]; -1 if there are fewer.
        neighbours: the same with identities and scores, as rows of the gallery.
        pairs: counts of all pairs.
    """

    columns: dict[str, np.ndarray]
    totals: np.ndarray
    rows: np.ndarray
    codes: np.ndarray
    nearest: np.ndarray
    neighbours: Neighbours
    pairs: Pairs

    def table(self, names: np.ndarray, columns: Mapping[str, np.ndarray], limit: int) -> pl.DataFrame:
        """One row per query: row, label, metrics, number of relevant images, nearest rows and scores."""
        labels = names[self.codes]
        nearest, scores = self.nearest[:, :limit], self.neighbours.scores[:, :limit]
        frame = pl.DataFrame(
            {
                "row": self.rows,
                "label": labels.astype(str).tolist() if labels.dtype == object else labels,
                **{name: pl.Series(column).fill_nan(None) for name, column in columns.items()},
                "to_find": pl.Series(self.totals, dtype=pl.Int64),
                "neighbours": pl.Series(nearest).arr.to_list(),
                "scores": pl.Series(scores.astype(np.float32)).arr.to_list(),
            }
        )
        if nearest.size and nearest.min() < 0:
            is_valid = pl.element() >= 0, pl.element() > -np.inf
            frame = frame.with_columns(
                pl.col("neighbours").list.eval(pl.element().filter(is_valid[0])),
                pl.col("scores").list.eval(pl.element().filter(is_valid[1])),
            )
        return frame


def rank_parts(
    parts: Sequence[TaskPart], metrics: Mapping[str, Metric], rerank: Rerank | None = None, **options: Any
) -> ProtocolResult:
    """Rank each part with the arguments of `lookalike.ranking.rank.rank_gallery`, and combine the results."""
    if rerank is None:
        ranked = [rank_gallery(part.task, metrics, **options) for part in parts]
    else:
        ranked = [rerank(part.task, metrics, options["neighbours"]) for part in parts]
    width = max(result.nearest.shape[1] for result in ranked)
    starts = np.cumsum([0, *(len(part.gallery) for part in parts)])
    nearest = [_pad_columns(result.nearest, width, -1) for result in ranked]
    codes = np.concatenate([part.task.query_codes for part in parts])
    totals = np.concatenate([result.totals for result in ranked])
    neighbours = Neighbours(
        rows=np.concatenate(
            [np.where(n < 0, -1, n + start) for n, start in zip(nearest, starts, strict=False)]
        ),
        labels=_values_of_neighbours(nearest, [part.task.codes for part in parts]),
        scores=np.concatenate([_pad_columns(result.scores, width, -np.inf) for result in ranked]),
        label=codes,
        total=totals,
        gallery=int(starts[-1]),
        whole=all(width >= len(part.gallery) - part.task.self_retrieval for part in parts),
        codes=_codes_for_unknown(np.concatenate([part.task.codes for part in parts])),
    )
    return ProtocolResult(
        columns={name: np.concatenate([result.columns[name] for result in ranked]) for name in metrics},
        totals=totals,
        rows=np.concatenate([part.queries for part in parts]),
        codes=codes,
        nearest=_values_of_neighbours(nearest, [part.gallery for part in parts]),
        neighbours=neighbours,
        pairs=_pool_pairs(parts, [result.pairs for result in ranked]),
    )


def _pool_pairs(parts: Sequence[TaskPart], pairs: Sequence[Pairs]) -> Pairs:
    """The pairs of all parts; counted again if some were counted in cells, as cells differ between parts."""
    if len(pairs) == 1:
        return pairs[0]
    if not all(part_pairs.exact for part_pairs in pairs):
        return count_pairs(parts)
    kinds = (
        [np.repeat(part_pairs.values, getattr(part_pairs, kind)) for part_pairs in pairs]
        for kind in ("positive", "negative")
    )
    return Pairs.from_scores(*map(np.concatenate, kinds))


def data_hash(parts: Sequence[TaskPart], samples: Samples) -> str:
    """The first 12 digits of a SHA-256 of the labels and file names of queries and gallery, in any order."""
    labels = samples.names[samples.codes].tolist()
    paths = samples.frame["path"].to_list() if "path" in samples.frame.columns else [""] * len(samples)
    lines = [f"{label}\t{image_name(str(path))}" for label, path in zip(labels, paths, strict=True)]
    total = hashlib.sha256()
    for number, part in enumerate(parts):
        for side, rows in (("query", part.queries), ("gallery", part.gallery)):
            total.update(f"{number} {side}\n".encode())
            total.update("\n".join(sorted(lines[row] for row in rows.tolist())).encode())
    return total.hexdigest()[:12]


def _pad_columns(matrix: np.ndarray, width: int, nothing: float) -> np.ndarray:
    return np.pad(matrix, ((0, 0), (0, width - matrix.shape[1])), constant_values=nothing)


def _values_of_neighbours(nearest: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> np.ndarray:
    """The value of each neighbour in the gallery of its part; -1 for none."""
    return np.concatenate(
        [
            np.where(rows < 0, -1, part_values[np.maximum(rows, 0)])
            for rows, part_values in zip(nearest, values, strict=True)
        ]
    )


def _codes_for_unknown(codes: np.ndarray) -> np.ndarray:
    """The codes, with a distinct one for each row of unknown identity."""
    return np.where(codes < 0, codes.max(initial=-1) + 1 + np.arange(len(codes)), codes)
