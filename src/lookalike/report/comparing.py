"""Several evaluations side by side: whether they are of the same test, and which one is really better."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lookalike.errors import ConfigError, LookalikeError
from lookalike.evaluation import FAR, JUDGED
from lookalike.metrics.paired import Difference, paired_differences, swapped
from lookalike.metrics.records import sign_of
from lookalike.report.matching import matched_identities, matched_queries
from lookalike.report.read import Evaluation, existing, read_evaluation

NOT_METRICS = {"row", "path", "label", "to_find", "neighbours", "scores"}


@dataclass(frozen=True)
class Compared:
    """Evaluations, best first, and what can be said of every two of them.

    Attributes:
        names: of the evaluations, as they were given, less the folder that all of them are in.
        evaluations: what was compared.
        tables: one an evaluation: row, label and metrics of the queries compared, in the same order; none
            where an evaluation has no queries.
        metrics: those compared; the first one orders.
        values: metric to one `value`, `low`, `high` for each evaluation, where there are any.
        differences: metric to the tests of every two evaluations, by their places in `names`.
        queries: how many are compared by the first metric; 0 if it is not one of queries.
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
            if test.verdict in ("better", "worse")
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


def of_one_test(folders: Sequence[str | Path], force: bool = False) -> list[Evaluation]:
    """The evaluations in some folders, which are of the same protocol, data and queries, or `force` is given.

    Raises:
        LookalikeError: a folder is no evaluation, or they are not of the same test.
    """
    names, found = [str(folder) for folder in folders], [find_evaluation(folder) for folder in folders]
    if force:
        return found
    notes = _differing(names, found, [])
    if all(each.per_query is not None for each in found):
        try:
            notes += matched_queries(names, found, [])[1]
        except LookalikeError as error:
            notes.append(str(error))
    _refuse_differing(notes, "one figure of them says nothing about the models", "draw")
    return found


def compare(
    folders: Sequence[str | Path],
    metrics: Sequence[str],
    *,
    force: bool = False,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Compared:
    """Test every two evaluations on the queries, or for metrics of all pairs on the identities, they share.

    Args:
        folders: evaluation folders, or run folders that hold one.
        metrics: those of per_query.parquet and per_identity.parquet; the first one orders.
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
    of_queries = _check_metrics(names, found, metrics)
    notes = _differing(names, found, metrics)
    tables: dict[str, list[pl.DataFrame]] = {}
    matched: list[pl.DataFrame] = []
    if all(each.per_query is not None for each in found):
        matched, passed = matched_queries(names, found, of_queries)
        tables.update(dict.fromkeys(of_queries, matched))
        notes += passed
    for metric in metrics:
        if metric not in of_queries:
            tables[metric], passed = matched_identities(names, found, metric)
            notes += passed
    if not force:
        _refuse_differing(notes, "comparing them says nothing about the models", "compare")
    means = [_mean(table, metrics[0]) for table in tables[metrics[0]]]
    order = sorted(range(len(names)), key=lambda place: _rank(means[place], metrics[0]))
    found = [found[place] for place in order]
    tables = {metric: [each[place] for place in order] for metric, each in tables.items()}
    first = tables[metrics[0]][0].drop_nulls(metrics[0])
    return Compared(
        names=[shortened(names)[place] for place in order],
        evaluations=found,
        tables=[matched[place] for place in order] if matched else [],
        metrics=list(metrics),
        values={
            metric: [_value(*each, metric) for each in zip(found, tables[metric], strict=True)]
            for metric in metrics
        },
        differences={metric: _tested(tables[metric], metric, resamples, seed, level) for metric in metrics},
        queries=len(first) if metrics[0] in of_queries else 0,
        identities=int(first["label"].n_unique()),
        notes=list(dict.fromkeys(notes)),
    )


def _refuse_differing(notes: list[str], so: str, job: str) -> None:
    """Raise `LookalikeError` with what differs, if anything does."""
    if notes:
        raise LookalikeError(
            f"these numbers are not of the same test, so {so}:\n  "
            + "\n  ".join(dict.fromkeys(notes))
            + f"\nEvaluate them alike, or {job} all the same with force=true"
        )


def shortened(names: list[str]) -> list[str]:
    """Without the folder that all of them are in."""
    if len({Path(name).is_absolute() for name in names}) > 1:
        return names
    common = os.path.commonpath([Path(name).parent for name in names])
    return [os.path.relpath(name, common or ".") for name in names]


def _tested(tables: list[pl.DataFrame], metric: str, n: int, seed: int, level: float) -> list[Difference]:
    values = np.stack(
        [table[metric].cast(pl.Float64).fill_null(np.nan).to_numpy() for table in tables], axis=1
    )
    try:
        found = paired_differences(values, tables[0]["label"].to_numpy(), n, seed, level)
    except ValueError as error:
        raise LookalikeError(f"{metric}: {error}") from error
    return [replace(each, sign=sign_of(metric)) for each in found]


def _check_metrics(names: list[str], found: list[Evaluation], metrics: Sequence[str]) -> list[str]:
    """Those of the metrics that have one value a query.

    Raises:
        ConfigError: one that not all of them have.
    """
    there = [_columns([each.per_query for each in found]), _columns([each.per_identity for each in found])]
    if not any(there):
        lacking = [name for name, each in zip(names, found, strict=True) if each.per_query is None]
        said = f"{', '.join(lacking)}: has no per_query.parquet" if lacking else "no metric is in all of them"
        raise LookalikeError(f"{said}, so there is nothing to pair")
    missing = [metric for metric in metrics if metric not in [*there[0], *there[1]]]
    if missing or not metrics:
        raise ConfigError(
            f"metric={','.join(missing)}: not a value of each query or identity in all of them; those are: "
            f"{', '.join([*there[0], *there[1]])}"
        )
    return [metric for metric in metrics if metric in there[0]]


def _columns(tables: Sequence[pl.DataFrame | None]) -> list[str]:
    """The metrics that all tables have."""
    known = [set() if table is None else set(table.columns) for table in tables]
    first = [] if tables[0] is None else tables[0].columns
    return [name for name in first if name not in NOT_METRICS and all(name in each for each in known)]


def _differing(names: list[str], found: list[Evaluation], metrics: Sequence[str]) -> list[str]:
    """In what the evaluations differ beside the model, as far as these metrics depend on it."""
    keys = {"data": "queries or galleries"}
    if not _differ_by_arguments(found):
        keys = {"protocol": "protocols", **keys}
    notes = []
    for key, what in keys.items():
        hashes = [str(each.metrics[key]) for each in found if key in each.metrics]
        if len(set(hashes)) > 1:
            said = ", ".join(
                f"{each.metrics[key]} ({name})"
                for name, each in zip(names, found, strict=True)
                if key in each.metrics
            )
            notes.append(f"different {what}: {said}")
    for metric in metrics:
        arguments = [_arguments(each, metric) for each in found]
        if any(each != arguments[0] for each in arguments[1:]):
            said = ", ".join(f"{each} ({name})" for name, each in zip(names, arguments, strict=True))
            notes.append(f"{metric} was measured with different arguments: {said}")
    return notes


def _differ_by_arguments(found: list[Evaluation]) -> bool:
    """Whether all are under the same rules, so that at most arguments of single metrics differ."""
    known = [each.metrics for each in found if "protocol" in each.metrics]
    rules = {str(each.get("rules", each["protocol"])) for each in known}
    explained = all(
        each.get("rules", each["protocol"]) == each["protocol"] or each.get("arguments") for each in known
    )
    return len(rules) == 1 and explained


def _arguments(found: Evaluation, metric: str) -> str:
    """The arguments of a metric that its name does not tell, such as `far=0.1`."""
    if "rules" in found.metrics or metric not in JUDGED:
        every = [str(each).partition(" ") for each in found.metrics.get("arguments") or []]
        return " ".join(given for name, _, given in every if name == metric) or "the defaults"
    rates = [name.removeprefix("tar@far=") for name in found.metrics if name.startswith("tar@far=")]
    return f"far={float(rates[0])}" if rates and float(rates[0]) != FAR else "the defaults"


def _mean(table: pl.DataFrame, metric: str) -> float:
    mean: Any = table[metric].mean()
    return math.nan if mean is None else float(mean)


def _rank(mean: float, metric: str) -> float:
    """Ascending from the best value; what has none comes last."""
    return math.inf if math.isnan(mean) else -(sign_of(metric) or 1) * mean


def _value(found: Evaluation, table: pl.DataFrame, metric: str) -> dict[str, float]:
    entry = found.metrics.get(metric)
    return entry if isinstance(entry, dict) else {"value": _mean(table, metric)}
