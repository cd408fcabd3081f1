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
from lookalike.evaluation.evaluate import FAR, JUDGED
from lookalike.metrics.paired_tests import Difference, paired_differences, swap_models
from lookalike.metrics.records import sign_of
from lookalike.report.matching import match_identities, match_queries
from lookalike.report.read import Evaluation, read_evaluation, require_existing

NOT_METRICS = {"row", "path", "label", "to_find", "neighbours", "scores"}


@dataclass(frozen=True)
class Comparison:
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

    def test_against(self, metric: str, index: int, other: int = 0) -> Difference | None:
        """The evaluation at `index` tested against the one at `other`; None for itself."""
        for difference in self.differences[metric]:
            if (difference.first, difference.second) == (other, index):
                return difference
            if (difference.first, difference.second) == (index, other):
                return swap_models(difference)
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
        return [index for index in range(len(self.names)) if index not in beaten]


def find_evaluation(folder: str | Path) -> Evaluation:
    """The evaluation in a folder: itself, or `evaluation` in a run folder.

    Raises:
        LookalikeError: there is none; says how to make one.
    """
    folder = require_existing(folder, "run")
    for candidate in (folder, folder / "evaluation"):
        if (candidate / "metrics.json").is_file():
            return read_evaluation(candidate)
    raise LookalikeError(
        f"{folder}: neither an evaluation nor a run that was evaluated. Make one: lookalike evaluate "
        f"model={folder}/model dataset=… out={folder}/evaluation"
    )


def evaluations_of_one_test(folders: Sequence[str | Path], force: bool = False) -> list[Evaluation]:
    """The evaluations in some folders, which are of the same protocol, data and queries, or `force` is given.

    Raises:
        LookalikeError: a folder is no evaluation, or they are not of the same test.
    """
    names, evaluations = [str(folder) for folder in folders], [find_evaluation(folder) for folder in folders]
    if force:
        return evaluations
    notes = _differing_tests(names, evaluations, [])
    if all(evaluation.per_query is not None for evaluation in evaluations):
        try:
            notes += match_queries(names, evaluations, [])[1]
        except LookalikeError as error:
            notes.append(str(error))
    _refuse_differing(notes, "one figure of them says nothing about the models", "draw")
    return evaluations


def compare_evaluations(
    folders: Sequence[str | Path],
    metrics: Sequence[str],
    *,
    force: bool = False,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
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
    evaluations = [find_evaluation(folder) for folder in folders]
    of_queries = _check_metrics(names, evaluations, metrics)
    notes = _differing_tests(names, evaluations, metrics)
    tables: dict[str, list[pl.DataFrame]] = {}
    matched: list[pl.DataFrame] = []
    if all(evaluation.per_query is not None for evaluation in evaluations):
        matched, passed = match_queries(names, evaluations, of_queries)
        tables.update(dict.fromkeys(of_queries, matched))
        notes += passed
    for metric in metrics:
        if metric not in of_queries:
            tables[metric], passed = match_identities(names, evaluations, metric)
            notes += passed
    if not force:
        _refuse_differing(notes, "comparing them says nothing about the models", "compare")
    means = [_mean(table, metrics[0]) for table in tables[metrics[0]]]
    order = sorted(range(len(names)), key=lambda index: _rank(means[index], metrics[0]))
    evaluations = [evaluations[index] for index in order]
    tables = {metric: [evaluation[index] for index in order] for metric, evaluation in tables.items()}
    first = tables[metrics[0]][0].drop_nulls(metrics[0])
    return Comparison(
        names=[strip_common_folder(names)[index] for index in order],
        evaluations=evaluations,
        tables=[matched[index] for index in order] if matched else [],
        metrics=list(metrics),
        values={
            metric: [
                _value(*evaluation, metric) for evaluation in zip(evaluations, tables[metric], strict=True)
            ]
            for metric in metrics
        },
        differences={
            metric: _test_models(tables[metric], metric, resamples, seed, level) for metric in metrics
        },
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


def strip_common_folder(names: list[str]) -> list[str]:
    """Without the folder that all of them are in."""
    if len({Path(name).is_absolute() for name in names}) > 1:
        return names
    common = os.path.commonpath([Path(name).parent for name in names])
    return [os.path.relpath(name, common or ".") for name in names]


def _test_models(
    tables: list[pl.DataFrame], metric: str, n: int, seed: int, level: float
) -> list[Difference]:
    values = np.stack(
        [table[metric].cast(pl.Float64).fill_null(np.nan).to_numpy() for table in tables], axis=1
    )
    try:
        differences = paired_differences(values, tables[0]["label"].to_numpy(), n, seed, level)
    except ValueError as error:
        raise LookalikeError(f"{metric}: {error}") from error
    return [replace(difference, sign=sign_of(metric)) for difference in differences]


def _check_metrics(names: list[str], evaluations: list[Evaluation], metrics: Sequence[str]) -> list[str]:
    """Those of the metrics that have one value a query.

    Raises:
        ConfigError: one that not all of them have.
    """
    available = [
        _common_columns([evaluation.per_query for evaluation in evaluations]),
        _common_columns([evaluation.per_identity for evaluation in evaluations]),
    ]
    if not any(available):
        lacking = [
            name for name, evaluation in zip(names, evaluations, strict=True) if evaluation.per_query is None
        ]
        reason = (
            f"{', '.join(lacking)}: has no per_query.parquet" if lacking else "no metric is in all of them"
        )
        raise LookalikeError(f"{reason}, so there is nothing to pair")
    missing = [metric for metric in metrics if metric not in [*available[0], *available[1]]]
    if missing or not metrics:
        raise ConfigError(
            f"metric={','.join(missing)}: not a value of each query or identity in all of them; those are: "
            f"{', '.join([*available[0], *available[1]])}"
        )
    return [metric for metric in metrics if metric in available[0]]


def _common_columns(tables: Sequence[pl.DataFrame | None]) -> list[str]:
    """The metrics that all tables have."""
    names_by_table = [set() if table is None else set(table.columns) for table in tables]
    first = [] if tables[0] is None else tables[0].columns
    return [
        name for name in first if name not in NOT_METRICS and all(name in names for names in names_by_table)
    ]


def _differing_tests(names: list[str], evaluations: list[Evaluation], metrics: Sequence[str]) -> list[str]:
    """In what the evaluations differ beside the model, as far as these metrics depend on it."""
    keys = {"data": "queries or galleries"}
    if not _differ_by_arguments(evaluations):
        keys = {"protocol": "protocols", **keys}
    notes = []
    for key, subject in keys.items():
        hashes = [str(evaluation.metrics[key]) for evaluation in evaluations if key in evaluation.metrics]
        if len(set(hashes)) > 1:
            hashes_text = ", ".join(
                f"{evaluation.metrics[key]} ({name})"
                for name, evaluation in zip(names, evaluations, strict=True)
                if key in evaluation.metrics
            )
            notes.append(f"different {subject}: {hashes_text}")
    for metric in metrics:
        arguments = [_arguments(evaluation, metric) for evaluation in evaluations]
        if any(evaluation != arguments[0] for evaluation in arguments[1:]):
            hashes_text = ", ".join(
                f"{evaluation} ({name})" for name, evaluation in zip(names, arguments, strict=True)
            )
            notes.append(f"{metric} was measured with different arguments: {hashes_text}")
    return notes


def _differ_by_arguments(result: list[Evaluation]) -> bool:
    """Whether all are under the same rules, so that at most arguments of single metrics differ."""
    known = [each.metrics for each in result if "protocol" in each.metrics]
    rules = {str(each.get("rules", each["protocol"])) for each in known}
    explained = all(
        each.get("rules", each["protocol"]) == each["protocol"] or each.get("arguments") for each in known
    )
    return len(rules) == 1 and explained


def _arguments(evaluation: Evaluation, metric: str) -> str:
    """The arguments of a metric that its name does not tell, such as `far=0.1`."""
    if "rules" in evaluation.metrics or metric not in JUDGED:
        every = [str(each).partition(" ") for each in evaluation.metrics.get("arguments") or []]
        return " ".join(provided for name, _, provided in every if name == metric) or "the defaults"
    rates = [name.removeprefix("tar@far=") for name in evaluation.metrics if name.startswith("tar@far=")]
    return f"far={float(rates[0])}" if rates and float(rates[0]) != FAR else "the defaults"


def _mean(table: pl.DataFrame, metric: str) -> float:
    mean: Any = table[metric].mean()
    return math.nan if mean is None else float(mean)


def _rank(mean: float, metric: str) -> float:
    """Ascending from the best value; what has none comes last."""
    return math.inf if math.isnan(mean) else -(sign_of(metric) or 1) * mean


def _value(evaluation: Evaluation, table: pl.DataFrame, metric: str) -> dict[str, float]:
    entry = evaluation.metrics.get(metric)
    return entry if isinstance(entry, dict) else {"value": _mean(table, metric)}
