"""Confused classes, and hub images."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from lookalike.plots.confused_classes import ConfusedClasses, confused_by_queries

HUB = 4.0
"""An image is a hub if it is a neighbour this many times as often as the average image."""


@dataclass(frozen=True)
class Hub:
    """An image that is a neighbour of very many queries.

    Attributes:
        row: of the image.
        label: its class.
        found: queries that have it among their neighbours.
        wrong: those of another class.
    """

    row: int
    label: str
    found: int
    wrong: int


def confused_classes(per_query: pl.DataFrame, labels: np.ndarray, limit: int) -> list[ConfusedClasses]:
    """The pairs of classes with the most queries whose nearest neighbour is of the other class."""
    nearest = {name: pl.col(name).list.first() for name in ("neighbours", "scores")}
    first = per_query.select("row", **nearest).filter(pl.col("neighbours") >= 0)
    queries, hits, scores = (first[name].to_numpy() for name in ("row", "neighbours", "scores"))
    return confused_by_queries(queries, hits, scores, labels, limit)


def find_hubs(per_query: pl.DataFrame, labels: np.ndarray, limit: int) -> list[Hub]:
    """The images that are neighbours far more often than average, most frequent first."""
    hits = per_query.select("row", hit="neighbours").explode("hit").filter(pl.col("hit") >= 0)
    queries, hit_rows = hits["row"].to_numpy(), hits["hit"].to_numpy()
    counts = np.bincount(hit_rows, minlength=len(labels))
    wrong = np.bincount(hit_rows[labels[queries] != labels[hit_rows]], minlength=len(labels))
    order = np.lexsort((np.arange(len(labels)), -counts))[:limit]
    usual = HUB * counts[counts > 0].mean() if len(hit_rows) else 0
    return [
        Hub(row, str(labels[row]), int(counts[row]), int(wrong[row]))
        for row in order.tolist()
        if counts[row] > usual
    ]
