"""Several evaluations side by side: whether they are of the same test, and which one is really better."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lookalike.errors import ConfigError, LookalikeError
from lookalike.metrics.paired import Difference, paired_differences, swapped
from lookalike.report.read import Evaluation, existing, read_evaluation

NOT_METRICS = {"row", "path", "label", "neighbours", "scores"}


@dataclass(frozen=True)
class Compared:
    """Evaluations, best first, and what can be said of every two of them.

    Attributes:
        names: of the evaluations, as they were given, less the folder that all of them are in.
        evaluations: what was compared.
        tables: one an evaluation: row, label and metrics of the queries compared, in the same order.
        metrics: those compared; the first one orders.
        values: metric to one `value`, `low`, `high` for each evaluation, where there are any.
        differences: metric to the tests of every two evaluations, by their places in `names`.
        queries: how many are compared.
        identities: how many identities they show.
        notes: what was passed over, since `force` asked for it.
    """

    names: list[str]
    evaluations: list[Evaluation]
    tables: list[pl.DataFrame]
    metrics: list[str]
    values: dict[str, list[dict[str, float]]]
    differences: dict[str, list[Difference]]
    queries: int
    identities: int
    notes: list[str]

    def against(self, metric: str, place: int, other: int = 0) -> Difference | None:
        """The evaluation at `place` tested against the one at `other`; None for itself."""
        for each in self.differences[metric]:
            if (each.first, each.second) == (other, place):
                return each
            if (each.first, each.second) == (place, other):
                return swapped(each)
        return None

    @property
    def level(self) -> float:
        """How sure the verdicts are."""
        return self.differences[self.metrics[0]][0].level

    def leaders(self, metric: str) -> list[int]:
        """The places of those that no other one beats."""
        beaten = {
            test.first if test.verdict == "better" else test.second
            for test in self.differences[metric]
            if test.verdict != "cannot tell"
        }
        return [place for place in range(len(self.names)) if place not in beaten]


def find_evaluation(folder: str | Path) -> Evaluation:
    """The evaluation in a folder: itself, or `evaluation` in a run folder.

    Raises:
        LookalikeError: there is none; says how to make one.
    """
    folder = existing(folder, "run")
    for place in (folder, folder / "evaluation"):
        if (place / "metrics.json").is_file():
            return read_evaluation(place)
    raise LookalikeError(
        f"{folder}: neither an evaluation nor a run that was evaluated. Make one: lookalike evaluate "
        f"model={folder}/model dataset=… out={folder}/evaluation"
    )


def compare(
    folders: Sequence[str | Path],
    metrics: Sequence[str],
    *,
    force: bool = False,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Compared:
    """Test every two evaluations on the queries they share.

    Args:
        folders: evaluation folders, or run folders that hold one.
        metrics: retrieval metrics of per_query.parquet; the first one orders.
        force: compare evaluations under different protocols, or of different queries, all the same.
        resamples: of the bootstrap.
        level: how sure a verdict has to be.
        seed: the same seed gives the same numbers.

    Raises:
        ConfigError: fewer than two folders, one twice, or a metric that not all of them have.
        LookalikeError: a folder is no evaluation, or they are not of the same protocol and queries.
    """
    names = [str(folder) for folder in folders]
    if len(names) < 2:
        raise ConfigError("compare needs two evaluations or more: lookalike compare eval/a eval/b")
    if len({Path(name).resolve() for name in names}) < len(names):
        raise ConfigError(f"compare: a folder is given twice among {', '.join(names)}")
    found = [find_evaluation(folder) for folder in folders]
    _check_metrics(names, found, metrics)
    notes = _differing(names, found)
    tables, passed = _matched(names, found, metrics)
    notes += passed
    if notes and not force:
        raise LookalikeError(
            "these numbers are not of the same test, so comparing them says nothing about the models:\n  "
            + "\n  ".join(notes)
            + "\nEvaluate them alike, or compare all the same with force=true"
        )
    order = sorted(range(len(names)), key=lambda place: -_mean(tables[place], metrics[0]))
    found, tables = [found[place] for place in order], [tables[place] for place in order]
    labels = tables[0]["label"].to_numpy()
    differences = {metric: _tested(tables, metric, labels, resamples, seed, level) for metric in metrics}
    return Compared(
        names=[shortened(names)[place] for place in order],
        evaluations=found,
        tables=tables,
        metrics=list(metrics),
        values={metric: [_value(each, metric) for each in found] for metric in metrics},
        differences=differences,
        queries=int(tables[0][metrics[0]].is_not_null().sum()),
        identities=int(tables[0].drop_nulls(metrics[0])["label"].n_unique()),
        notes=notes,
    )


def shortened(names: list[str]) -> list[str]:
    """Without the folder that all of them are in."""
    if len({Path(name).is_absolute() for name in names}) > 1:
        return names
    common = os.path.commonpath([Path(name).parent for name in names])
    return [os.path.relpath(name, common or ".") for name in names]


def _tested(
    tables: list[pl.DataFrame], metric: str, labels: np.ndarray, n: int, seed: int, level: float
) -> list[Difference]:
    values = np.stack(
        [table[metric].cast(pl.Float64).fill_null(np.nan).to_numpy() for table in tables], axis=1
    )
    try:
        return paired_differences(values, labels, n, seed, level)
    except ValueError as error:
        raise LookalikeError(f"{metric}: {error}") from error


def _check_metrics(names: list[str], found: list[Evaluation], metrics: Sequence[str]) -> None:
    for name, each in zip(names, found, strict=True):
        if each.per_query is None:
            raise LookalikeError(f"{name}: has no per_query.parquet, so there is nothing to pair")
    shared = [
        column
        for column in found[0].per_query.columns  # pyrefly: ignore
        if column not in NOT_METRICS and all(column in each.per_query.columns for each in found)  # pyrefly: ignore
    ]
    missing = [metric for metric in metrics if metric not in shared]
    if missing or not metrics:
        raise ConfigError(
            f"metric={','.join(missing)}: not a value of each query in all of them; those are: "
            f"{', '.join(shared)}"
        )


def _differing(names: list[str], found: list[Evaluation]) -> list[str]:
    """In what the evaluations differ beside the model."""
    notes = []
    for key, what in (("protocol", "protocols"), ("data", "queries or galleries")):
        hashes = [str(each.metrics[key]) for each in found if key in each.metrics]
        if len(set(hashes)) > 1:
            said = ", ".join(
                f"{each.metrics[key]} ({name})"
                for name, each in zip(names, found, strict=True)
                if key in each.metrics
            )
            notes.append(f"different {what}: {said}")
    return notes


def _matched(
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
        names = table["row"].cast(pl.String) + " " + table["path"].str.split("/").list.last()
    keyed = table.select("row", "label", *metrics).with_columns(key=names)
    again = (
        pl.int_range(pl.len()).over("key").cast(pl.String)
    )  # several boxes of one file, in the table's order
    return keyed.with_columns(key=pl.col("key") + " " + again)


def _real(path: Path, parents: dict[Path, Path]) -> str:
    if path.parent not in parents:
        parents[path.parent] = path.parent.resolve()
    return str(parents[path.parent] / path.name)


def _mean(table: pl.DataFrame, metric: str) -> float:
    mean: Any = table[metric].mean()
    return float("-inf") if mean is None else float(mean)


def _value(found: Evaluation, metric: str) -> dict[str, float]:
    entry = found.metrics.get(metric)
    return entry if isinstance(entry, dict) else {"value": _mean(found.per_query, metric)}  # pyrefly: ignore
