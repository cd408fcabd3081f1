"""Selecting the best and the worst queries, with their hits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lookalike.errors import LookalikeError

TWINS = 0.999
MEASURES = ("map@r", "average_precision", "map", "r_precision", "recall@1")


@dataclass(frozen=True)
class Hit:
    """A hit of a query."""

    row: int
    label: str
    score: float
    right: bool


@dataclass(frozen=True)
class Query:
    """A query with its nearest neighbours, nearest first."""

    row: int
    label: str
    value: float
    hits: list[Hit]
    to_find: int | None = None

    @property
    def outcome(self) -> str:
        """How many of the hits are right, or of the relevant images if there are fewer."""
        if self.to_find is not None and self.to_find < len(self.hits):
            return f"found {self.right} of {self.to_find}"
        return f"{self.right} of {len(self.hits)} right"

    @property
    def right(self) -> int:
        """How many of the hits are right."""
        return sum(hit.right for hit in self.hits)


@dataclass(frozen=True)
class ChosenQueries:
    """The selected queries and the metric.

    Attributes:
        judged: number of scored queries.
        wrong_first: number of queries whose nearest neighbour is of another class.
        twins: number of those with a similarity above `TWINS`.
    """

    measure: str
    worst: list[Query]
    best: list[Query]
    judged: int
    wrong_first: int
    twins: int


def choose_queries(
    per_query: pl.DataFrame, labels: np.ndarray, worst: int = 12, best: int = 6, neighbours: int = 5
) -> ChosenQueries | None:
    """The worst and the best queries, different classes first.

    Among equally bad ones, those with the most similar wrong neighbour come first; among equally good ones,
    those with the most relevant images.

    Args:
        per_query: row, neighbours, scores and a column a metric.
        labels: of the evaluated rows, [N].
        worst: how many of the worst, where there are enough.
        best: how many of the best.
        neighbours: how many hits of each query.

    Returns:
        None where no query could be judged.

    Raises:
        LookalikeError: the rows of the two do not belong together.
    """
    measure = next((name for name in MEASURES if name in per_query.columns), None)
    if measure is None or not {"row", "neighbours", "scores"} <= set(per_query.columns):
        return None
    judged = per_query.filter(pl.col(measure).is_finite() & (pl.col("neighbours").list.len() > 0))
    if judged.is_empty():
        return None
    check_rows(judged, len(labels))
    judged = judged.with_columns(
        value=pl.col(measure).cast(pl.Float64),
        first=pl.col("scores").list.first(),
        mean=pl.col("scores").list.head(neighbours).list.mean(),
        named=pl.Series(labels[judged["row"].to_numpy()].astype(str)),
    ).with_columns(size=pl.len().over("named"))
    half = max(1, len(judged) // 2)
    low = judged.sort("value", "first", "row", descending=[False, True, False])
    high = judged.sort("value", "size", "mean", "row", descending=[True, True, True, False])
    bad = different_first(low, labels, min(worst, half))
    good = different_first(high.filter(~pl.col("row").is_in(bad["row"].to_list())), labels, min(best, half))
    queries = [
        [build_query(row, labels, neighbours) for row in rows.iter_rows(named=True)] for rows in (bad, good)
    ]
    wrong = judged.filter(wrong_first(judged, labels))
    twins = wrong.filter(pl.col("first") > TWINS)
    return ChosenQueries(measure, *queries, judged=len(judged), wrong_first=len(wrong), twins=len(twins))


def closest_to_threshold(
    per_query: pl.DataFrame, labels: np.ndarray, threshold: float, limit: int = 8, neighbours: int = 5
) -> list[Query]:
    """The queries whose nearest neighbour is closest to the threshold: the least sure decisions.

    Different classes first, as in `choose_queries`. The value of each is how far above the threshold it lies.

    Args:
        per_query: row, neighbours and scores.
        labels: of the evaluated rows, [N].
        threshold: similarity from which on two images are called the same.
        limit: how many, where there are enough.
        neighbours: how many hits of each query.

    Raises:
        LookalikeError: the rows of the two do not belong together.
    """
    with_neighbours = per_query.filter(pl.col("neighbours").list.len() > 0)
    if with_neighbours.is_empty():
        return []
    check_rows(with_neighbours, len(labels))
    above = pl.col("scores").list.first() - threshold
    ordered = with_neighbours.with_columns(value=above, gap=above.abs()).sort("gap", "row")
    # A few more than are shown, so that classes can differ without going far from the threshold.
    selected = different_first(ordered[: 3 * limit].with_columns(value=pl.lit(0.0)), labels, limit)
    shown_rows = ordered.filter(pl.col("row").is_in(selected["row"].to_list()))
    return [build_query(row, labels, neighbours) for row in shown_rows.iter_rows(named=True)]


def check_rows(per_query: pl.DataFrame, count: int) -> None:
    """Refuse rows that the embeddings do not have."""
    rows = [per_query["row"], per_query["neighbours"].explode()]
    highest = max(int(values.to_numpy().max()) for values in rows)
    if highest >= count:
        raise LookalikeError(
            f"per_query.parquet contains row {highest}, but the embeddings have {count} rows: they do not "
            f"match"
        )


def different_first(queries: pl.DataFrame, labels: np.ndarray, limit: int) -> pl.DataFrame:
    """The first `limit`, but a class that was shown, as query or neighbour, waits until there is no other.

    Only queries as extreme as the last of the first `limit` may move up, so no better one is called hard.
    """
    if limit == 0 or queries.is_empty():
        return queries[:0]
    values = queries["value"].to_list()
    last = values[min(limit, len(values)) - 1]
    pool = queries[: values.index(last) + values.count(last)]
    seen_labels: set[object] = set()
    first_rows, other_rows = [], []
    for index, (row, nearest) in enumerate(zip(pool["row"], pool["neighbours"].list.first(), strict=True)):
        both = {labels[row], labels[nearest]}
        if both & seen_labels:
            other_rows.append(index)
        else:
            first_rows.append(index)
            seen_labels |= both
    return pool[sorted((first_rows + other_rows)[:limit])]


def build_query(row: dict[str, Any], labels: np.ndarray, neighbours: int) -> Query:
    """One query as the page wants it; -1 among the neighbours is nothing."""
    own_label = labels[row["row"]]
    scored_rows = list(zip(row["neighbours"], row["scores"], strict=True))[:neighbours]
    hits = [
        Hit(neighbour, str(labels[neighbour]), score, bool(labels[neighbour] == own_label))
        for neighbour, score in scored_rows
        if neighbour >= 0
    ]
    return Query(row["row"], str(own_label), row["value"], hits, row.get("to_find"))


def wrong_first(judged: pl.DataFrame, labels: np.ndarray) -> np.ndarray:
    """Which queries have a nearest neighbour of another class."""
    nearest = judged["neighbours"].list.first().to_numpy()
    return np.asarray(labels[nearest] != labels[judged["row"].to_numpy()])
