"""Compares several evaluations of the same test."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lookalike.errors import ConfigError, LookalikeError
from lookalike.evaluation.result import Evaluation as Result
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.inputs import factorise
from lookalike.metrics.paired_tests import Difference, paired_differences
from lookalike.metrics.records import is_share, sign_of
from lookalike.report.compare_table import Comparison, conclusion
from lookalike.report.matching import match_identities, match_queries
from lookalike.report.read import Evaluation, find_evaluation
from lookalike.report.recipes import (
    add_seed_variance,
    differing_parts,
    group_by_recipe,
    recipe_names,
    training_config,
)
from lookalike.report.same_test import differing_tests, refuse_differing

NOT_METRICS = {"row", "path", "label", "to_find", "neighbours", "scores"}


def compare(
    evaluations: Mapping[str, Result | str | Path],
    metrics: str | Sequence[str] = ("map@r", "recall@1"),
    *,
    force: bool = False,
    group: bool = True,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Test each pair of evaluations, print the verdict in one sentence, and return the comparison.

    Printed, the comparison is a table; `to_frame()` gives it as a data frame.

    Args:
        evaluations: name to the result of `lookalike.evaluate`, or to an evaluation or run folder.
        metrics: as in `compare_evaluations`; so are the others.
        force: see there.
        group: see there.
        resamples: see there.
        level: see there.
        seed: see there.

    Raises:
        ConfigError: fewer than two evaluations, a metric that not all of them have, or a value out of range.
        LookalikeError: a folder is no evaluation, or they are not of the same protocol and queries.
    """
    if not isinstance(evaluations, Mapping) or len(evaluations) < 2:
        raise ConfigError('compare needs two evaluations or more: compare({"ours": result, "theirs": other})')
    if not 0.5 < level < 1:
        raise ConfigError(f"level={level:g}: must be greater than 0.5 and less than 1")
    if resamples < 100:
        raise ConfigError(f"resamples={resamples}: must be at least 100")
    chosen = [metrics] if isinstance(metrics, str) else list(metrics)
    names, read = list(evaluations), [_as_read(each) for each in evaluations.values()]
    matched = _match(names, read, chosen, force)
    comparison = _compare_matched(names, matched, group, resamples, level, seed)
    print(conclusion(comparison))
    return comparison


def _as_read(evaluation: Result | str | Path) -> Evaluation:
    """An evaluation from its folder, or converted from a result in memory."""
    if not isinstance(evaluation, Result):
        return find_evaluation(evaluation)
    return Evaluation(
        folder=Path(),
        metrics=evaluation.to_dict(),
        per_query=evaluation.per_query if evaluation.per_query.height else None,
        per_identity=evaluation.per_identity if evaluation.per_identity.width > 1 else None,
        embeddings=evaluation.embeddings,
    )


def compare_evaluations(
    folders: Sequence[str | Path],
    metrics: Sequence[str],
    *,
    force: bool = False,
    group: bool = True,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Test each pair of evaluations on their common queries, or identities for metrics of all pairs.

    Args:
        folders: evaluation folders, or run folders that contain one.
        metrics: columns of per_query.parquet and per_identity.parquet; the first one determines the order.
        force: compare evaluations under different protocols, or of different queries, anyway.
        group: group runs that differ only in their seed, and compare recipes.
        resamples: of the bootstrap.
        level: confidence of the verdicts.
        seed: of the bootstrap.

    Raises:
        ConfigError: fewer than two folders, one twice, or a metric that not all of them have.
        LookalikeError: a folder is no evaluation, or they are not of the same protocol and queries.
    """
    names = [str(folder) for folder in folders]
    if len(names) < 2:
        raise ConfigError("compare needs two evaluations or more: lookalike compare eval/a eval/b")
    if len({Path(name).resolve() for name in names}) < len(names):
        raise ConfigError(f"compare: a folder occurs twice in {', '.join(names)}")
    evaluations = [find_evaluation(folder) for folder in folders]
    matched = _match(names, evaluations, metrics, force)
    return _compare_matched(differing_parts(names), matched, group, resamples, level, seed)


def _compare_matched(
    names: list[str], matched: "_Matched", group: bool, resamples: int, level: float, seed: int
) -> Comparison:
    """Test the runs, or the recipes if there are several and one has several seeds."""
    configs = [training_config(evaluation) for evaluation in matched.evaluations]
    groups = group_by_recipe(configs) if group else []
    if len(groups) < 2:  # without a second recipe the runs are compared
        groups = [[index] for index in range(len(names))]
    labels = recipe_names(names, groups, configs)
    return _test_groups(labels, names, groups, matched, resamples, level, seed)


@dataclass(frozen=True)
class _Matched:
    """Evaluations of one test, and per metric the tables [run] of what they are compared by, in one order."""

    evaluations: list[Evaluation]
    metrics: list[str]
    of_queries: list[str]
    queries: list[pl.DataFrame]
    tables: dict[str, list[pl.DataFrame]]
    notes: list[str]


def _match(names: list[str], evaluations: list[Evaluation], metrics: Sequence[str], force: bool) -> _Matched:
    """Restrict the evaluations to common queries and identities.

    Raises:
        LookalikeError: they are not of the same test, and `force` is not given.
    """
    of_queries = _check_metrics(names, evaluations, metrics)
    notes = differing_tests(names, evaluations, metrics)
    tables: dict[str, list[pl.DataFrame]] = {}
    queries: list[pl.DataFrame] = []
    if all(evaluation.per_query is not None for evaluation in evaluations):
        queries, passed = match_queries(names, evaluations, of_queries)
        tables.update(dict.fromkeys(of_queries, queries))
        notes += passed
    for metric in metrics:
        if metric not in of_queries:
            tables[metric], passed = match_identities(names, evaluations, metric)
            notes += passed
    if not force:
        refuse_differing(notes, "comparing them does not compare the models", "compare")
    return _Matched(evaluations, list(metrics), of_queries, queries, tables, list(dict.fromkeys(notes)))


def _test_groups(
    labels: list[str],
    names: list[str],
    groups: list[list[int]],
    matched: _Matched,
    resamples: int,
    level: float,
    seed: int,
) -> Comparison:
    """Test every two groups of runs, the best first."""
    first = matched.metrics[0]
    means = [
        float(np.mean([_mean(matched.tables[first][index], first) for index in group])) for group in groups
    ]
    order = sorted(range(len(groups)), key=lambda index: _rank(means[index], first))
    groups = [groups[index] for index in order]
    values, differences = {}, {}
    for metric in matched.metrics:
        tables = [_mean_table([matched.tables[metric][index] for index in group], metric) for group in groups]
        of_runs = [[_mean(matched.tables[metric][index], metric) for index in group] for group in groups]
        tests = _test_models(tables, metric, resamples, seed, level)
        identities = int(tables[0].drop_nulls(metric)["label"].n_unique())
        differences[metric] = add_seed_variance(tests, of_runs, identities)
        values[metric] = [
            _value(matched.evaluations[group[0]], table, metric)
            if len(group) == 1
            else _value_over_seeds(table, metric, runs, seed)
            for group, table, runs in zip(groups, tables, of_runs, strict=True)
        ]
    compared = matched.tables[first][groups[0][0]].drop_nulls(first)
    return Comparison(
        names=[labels[index] for index in order],
        evaluations=[matched.evaluations[group[0]] for group in groups],
        tables=[matched.queries[group[0]] for group in groups] if matched.queries else [],
        metrics=matched.metrics,
        values=values,
        differences=differences,
        queries=len(compared) if first in matched.of_queries else 0,
        identities=int(compared["label"].n_unique()),
        notes=matched.notes,
        runs=[[names[index] for index in group] for group in groups],
    )


def _mean_table(tables: list[pl.DataFrame], metric: str) -> pl.DataFrame:
    """The table of one run, or of several with the mean of the metric over them."""
    if len(tables) == 1:
        return tables[0]
    mean = np.mean([_as_numpy(table, metric) for table in tables], axis=0)
    return tables[0].with_columns(pl.Series(metric, mean).fill_nan(None))


def _value_over_seeds(table: pl.DataFrame, metric: str, runs: list[float], seed: int) -> dict[str, float]:
    """Mean and standard deviation over the seeds, and the interval of the mean over identities."""
    value = {"value": float(np.mean(runs)), "sd": float(np.std(runs, ddof=1)), "seeds": len(runs)}
    known = table.drop_nulls(metric)
    codes = factorise(known["label"].to_list(), len(known))[1]
    of_queries = "key" in known.columns
    try:
        low, high = bootstrap_interval(
            _as_numpy(known, metric)[:, None], codes, seed=seed, shares=of_queries and is_share(metric)
        )
    except ValueError:
        return value
    return {**value, "low": float(low[0]), "high": float(high[0])}


def _as_numpy(table: pl.DataFrame, metric: str) -> np.ndarray:
    return table[metric].cast(pl.Float64).fill_null(np.nan).to_numpy()


def _test_models(
    tables: list[pl.DataFrame], metric: str, n: int, seed: int, level: float
) -> list[Difference]:
    values = np.stack([_as_numpy(table, metric) for table in tables], axis=1)
    try:
        differences = paired_differences(values, tables[0]["label"].to_numpy(), n, seed, level)
    except ValueError as error:
        raise LookalikeError(f"{metric}: {error}") from error
    return [replace(difference, sign=sign_of(metric)) for difference in differences]


def _check_metrics(names: list[str], evaluations: list[Evaluation], metrics: Sequence[str]) -> list[str]:
    """The metrics that have one value per query.

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
        raise LookalikeError(f"{reason}, so there is nothing to compare")
    missing = [metric for metric in metrics if metric not in [*available[0], *available[1]]]
    if missing or not metrics:
        raise ConfigError(
            f"metric={','.join(missing)}: not a per-query or per-identity metric of all evaluations; these "
            f"are: "
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


def _mean(table: pl.DataFrame, metric: str) -> float:
    mean: Any = table[metric].mean()
    return math.nan if mean is None else float(mean)


def _rank(mean: float, metric: str) -> float:
    """Sort key: best value first; missing values last."""
    return math.inf if math.isnan(mean) else -(sign_of(metric) or 1) * mean


def _value(evaluation: Evaluation, table: pl.DataFrame, metric: str) -> dict[str, float]:
    entry = evaluation.metrics.get(metric)
    return entry if isinstance(entry, dict) else {"value": _mean(table, metric)}
