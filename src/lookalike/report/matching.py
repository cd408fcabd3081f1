"""Matching queries and identities of several evaluations."""

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import polars as pl

from lookalike.data.import_vectors import image_name
from lookalike.errors import LookalikeError
from lookalike.report.read import Evaluation


def match_identities(
    names: list[str], evaluations: list[Evaluation], metric: str
) -> tuple[list[pl.DataFrame], list[str]]:
    """The identities with a value of a metric in all evaluations, in one order, and what was left out.

    Raises:
        LookalikeError: there is none.
    """
    tables = [_of_identities(evaluation.per_identity, metric) for evaluation in evaluations]
    shared = reduce(set.intersection, (set(evaluation["label"]) for evaluation in tables))
    notes = [
        f"different identities: {len(evaluation) - len(shared)} of {len(evaluation)} in {name} are not in "
        "all evaluations"
        for name, evaluation in zip(names, tables, strict=True)
        if len(evaluation) > len(shared)
    ]
    if not shared:
        raise LookalikeError(f"{' and '.join(names)} share no identity with a value of {metric}")
    return [
        evaluation.filter(pl.col("label").is_in(list(shared))).sort("label") for evaluation in tables
    ], notes


def _of_identities(table: Any, metric: str) -> pl.DataFrame:
    return table.select(pl.col("label").cast(pl.String), metric).drop_nulls(metric)


def match_queries(
    names: list[str], evaluations: list[Evaluation], metrics: Sequence[str]
) -> tuple[list[pl.DataFrame], list[str]]:
    """The common queries, in one order: key, label, metrics; and what was left out."""
    keyed = _key_queries(evaluations, metrics)
    shared = set(keyed[0]["key"]).intersection(*(evaluation["key"] for evaluation in keyed[1:]))
    notes = [
        f"different queries: {len(evaluation) - len(shared)} of {len(evaluation)} in {name} are not in all "
        "evaluations"
        for name, evaluation in zip(names, keyed, strict=True)
        if len(evaluation) > len(shared)
    ]
    if not shared:
        raise LookalikeError(f"{' and '.join(names)} have no queries in common: they are of different images")
    tables = [evaluation.filter(pl.col("key").is_in(list(shared))).sort("key") for evaluation in keyed]
    renamed = [
        name
        for name, evaluation in zip(names, tables, strict=True)
        if not _same_labels(tables[0], evaluation)
    ]
    if renamed:
        notes.append(f"different labels for the same images: {names[0]} and {', '.join(renamed)}")
    return tables, notes


def _same_labels(first: pl.DataFrame, other: pl.DataFrame) -> bool:
    return first["label"].cast(pl.String).to_list() == other["label"].cast(pl.String).to_list()


def _key_queries(evaluations: list[Evaluation], metrics: Sequence[str]) -> list[pl.DataFrame]:
    """The queries with keys that do not depend on the location: path, or else row and file name.

    By row alone if an evaluation has no paths, such as a result in memory.
    """
    if not all("path" in getattr(evaluation.per_query, "columns", []) for evaluation in evaluations):
        return [_with_query_keys(evaluation, metrics, "row") for evaluation in evaluations]
    keyed = [_with_query_keys(evaluation, metrics, "path") for evaluation in evaluations]
    if all(table["key"].to_list() == other["key"].to_list() for table, other in pairwise(keyed)):
        return keyed
    moved = [_with_query_keys(evaluation, metrics, "file") for evaluation in evaluations]
    same = all(table["key"].equals(other["key"]) for table, other in pairwise(moved))
    return moved if same else keyed


def _with_query_keys(
    evaluation: Evaluation, metrics: Sequence[str], by: Literal["path", "file", "row"]
) -> pl.DataFrame:
    """The queries of one evaluation with a column `key`, and these columns.

    Args:
        evaluation: the evaluation.
        metrics: columns to keep.
        by: key of a query: its full path; row and file name, for a dataset that has moved; or its row.
    """
    table: Any = evaluation.per_query
    if by == "row":
        names = table["row"].cast(pl.String)
    elif by == "path":
        parents: dict[Path, Path] = {}
        names = pl.Series(
            [_real_path(evaluation.folder / path, parents) for path in table["path"]], dtype=pl.String
        )
    else:
        short = pl.Series([image_name(path) for path in table["path"].to_list()], dtype=pl.String)
        names = table["row"].cast(pl.String) + " " + short
    keyed = table.select("row", "label", *metrics).with_columns(key=names)
    again = (
        pl.int_range(pl.len()).over("key").cast(pl.String)
    )  # several boxes of one file, in the table's order
    return keyed.with_columns(key=pl.col("key") + " " + again)


def _real_path(path: Path, parents: dict[Path, Path]) -> str:
    if path.parent not in parents:
        parents[path.parent] = path.parent.resolve()
    return str(parents[path.parent] / path.name)
