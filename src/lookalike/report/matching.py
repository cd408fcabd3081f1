"""The same queries, and the same identities, in several evaluations."""

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from lookalike.data.foreign import image_name
from lookalike.errors import LookalikeError
from lookalike.report.read import Evaluation


def matched_identities(
    names: list[str], found: list[Evaluation], metric: str
) -> tuple[list[pl.DataFrame], list[str]]:
    """The identities that have a part in a metric in all, in one order: label, metric; and what was left out.

    Raises:
        LookalikeError: there is none.
    """
    tables = [_of_identities(each.per_identity, metric) for each in found]
    shared = reduce(set.intersection, (set(each["label"]) for each in tables))
    notes = [
        f"different identities: {len(each) - len(shared)} of {len(each)} in {name} are not in all of them"
        for name, each in zip(names, tables, strict=True)
        if len(each) > len(shared)
    ]
    if not shared:
        raise LookalikeError(f"{' and '.join(names)} share no identity that has a part in {metric}")
    return [each.filter(pl.col("label").is_in(list(shared))).sort("label") for each in tables], notes


def _of_identities(table: Any, metric: str) -> pl.DataFrame:
    return table.select(pl.col("label").cast(pl.String), metric).drop_nulls(metric)


def matched_queries(
    names: list[str], found: list[Evaluation], metrics: Sequence[str]
) -> tuple[list[pl.DataFrame], list[str]]:
    """The queries that all have, in one order: key, label, metrics; and what had to be left out for it."""
    keyed = [_keyed(each, metrics, whole=True) for each in found]
    if any(one["key"].to_list() != other["key"].to_list() for one, other in pairwise(keyed)):
        moved = [_keyed(each, metrics, whole=False) for each in found]
        same = all(one["key"].equals(other["key"]) for one, other in pairwise(moved))
        keyed = moved if same else keyed
    shared = set(keyed[0]["key"]).intersection(*(each["key"] for each in keyed[1:]))
    notes = [
        f"different queries: {len(each) - len(shared)} of {len(each)} in {name} are not in all of them"
        for name, each in zip(names, keyed, strict=True)
        if len(each) > len(shared)
    ]
    if not shared:
        raise LookalikeError(f"{' and '.join(names)} share no query: they are not of the same images")
    tables = [each.filter(pl.col("key").is_in(list(shared))).sort("key") for each in keyed]
    renamed = [name for name, each in zip(names, tables, strict=True) if not _same_labels(tables[0], each)]
    if renamed:
        notes.append(f"different labels of the same images: {names[0]} and {', '.join(renamed)}")
    return tables, notes


def _same_labels(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    return one["label"].cast(pl.String).to_list() == other["label"].cast(pl.String).to_list()


def _keyed(found: Evaluation, metrics: Sequence[str], whole: bool) -> pl.DataFrame:
    """The queries with a name that is the same wherever they were evaluated.

    Args:
        found: the evaluation.
        metrics: columns to keep.
        whole: name them by their whole path; else by row and file name, for a dataset that has moved.
    """
    table: Any = found.per_query
    if "path" not in table.columns:
        names = table["row"].cast(pl.String)
    elif whole:
        parents: dict[Path, Path] = {}
        names = pl.Series([_real(found.folder / path, parents) for path in table["path"]], dtype=pl.String)
    else:
        short = pl.Series([image_name(path) for path in table["path"].to_list()], dtype=pl.String)
        names = table["row"].cast(pl.String) + " " + short
    keyed = table.select("row", "label", *metrics).with_columns(key=names)
    again = (
        pl.int_range(pl.len()).over("key").cast(pl.String)
    )  # several boxes of one file, in the table's order
    return keyed.with_columns(key=pl.col("key") + " " + again)


def _real(path: Path, parents: dict[Path, Path]) -> str:
    if path.parent not in parents:
        parents[path.parent] = path.parent.resolve()
    return str(parents[path.parent] / path.name)
