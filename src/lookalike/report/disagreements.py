"""Queries that one model gets right and the other wrong."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lookalike.plots.query_selection import Query, build_query, different_first
from lookalike.report.read import Evaluation


@dataclass(frozen=True)
class Disagreements:
    """Two evaluations of the same queries; a query is right if its nearest neighbour is of its class.

    Attributes:
        both: number of queries that both get right.
        neither: number that neither gets right.
        only: numbers that only the first, and only the second, gets right.
        shown: for each kind of `only`, queries to look at, each with the answers of both models.
    """

    both: int
    neither: int
    only: tuple[int, int]
    shown: tuple[list[tuple[Query, Query]], list[tuple[Query, Query]]]


def find_disagreements(
    evaluations: tuple[Evaluation, Evaluation],
    rows: tuple[pl.Series, pl.Series],
    measure: str,
    limit: int = 8,
    neighbours: int = 5,
) -> Disagreements | None:
    """The queries that the two answer differently, the largest differences in `measure` first.

    Args:
        evaluations: the two.
        rows: the rows of the same queries in each, in the same order.
        measure: column of per_query.parquet.
        limit: queries to show of each kind.
        neighbours: hits of each.

    Returns:
        None where an evaluation has no embeddings or neighbours to look at.
    """
    names = ("row", "neighbours", "scores", measure)
    tables, labels = [], []
    for evaluation, query_rows in zip(evaluations, rows, strict=True):
        if (
            evaluation.embeddings is None
            or evaluation.per_query is None
            or not set(names) <= set(evaluation.per_query.columns)
        ):
            return None
        values = pl.DataFrame({"row": query_rows}).join(
            evaluation.per_query.select(names), on="row", how="left"
        )
        tables.append(values.rename({measure: "value"}))
        labels.append(evaluation.embeddings.table.labels)
    judged = np.logical_and(*(table["value"].is_not_null().to_numpy() for table in tables))
    tables = [table.filter(pl.Series(judged)) for table in tables]
    right = [_is_right(table, names) for table, names in zip(tables, labels, strict=True)]
    alone = (right[0] & ~right[1], right[1] & ~right[0])
    examples = tuple(
        [
            tuple(
                build_query(table.row(index, named=True), names, neighbours)
                for table, names in zip(tables, labels, strict=True)
            )
            for index in _clearest_examples(tables, winner, alone[winner], labels[winner], limit)
        ]
        for winner in (0, 1)
    )
    return Disagreements(
        both=int((right[0] & right[1]).sum()),
        neither=int((~right[0] & ~right[1]).sum()),
        only=(int(alone[0].sum()), int(alone[1].sum())),
        shown=examples,  # pyrefly: ignore
    )


def _is_right(table: pl.DataFrame, labels: np.ndarray) -> np.ndarray:
    """Whether the nearest neighbour is of the query's class; without a neighbour it is not."""
    nearest = table["neighbours"].list.first().fill_null(-1).to_numpy()
    return (nearest >= 0) & (labels[nearest] == labels[table["row"].to_numpy()])


def _clearest_examples(
    tables: list[pl.DataFrame], winner: int, alone: np.ndarray, labels: np.ndarray, limit: int
) -> list[int]:
    """The queries that `winner` alone gets right, by how much better it does."""
    better: Any = tables[winner]["value"] - tables[1 - winner]["value"]
    ranked = tables[winner].select("row", "neighbours").with_columns(value=-better).with_row_index("place")
    ranked = ranked.filter(pl.Series(alone)).sort("value", "row")
    return different_first(ranked, labels, min(limit, len(ranked)))["place"].to_list()
