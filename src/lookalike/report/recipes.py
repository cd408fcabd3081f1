"""Grouping runs that differ only in their seed into recipes, with names and variances."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from lookalike.errors import LookalikeError
from lookalike.metrics.paired_tests import Difference, holm_correction
from lookalike.report.read import Evaluation, read_yaml

NOT_RECIPE = {
    *("seed", "out", "progress", "workers", "threads", "device", "processes", "data_dir", "save_minutes"),
    *("resume", "tracker", "cache", "cache_side", "cache_gb", "keep_epochs"),
}
"""Training keys that do not affect the result, or only randomly."""


def training_config(evaluation: Evaluation) -> dict[str, Any] | None:
    """The config of the run whose model was evaluated; None if there is no such run folder.

    Raises:
        LookalikeError: its config.yaml cannot be read.
    """
    model = evaluation.config.get("model")
    embeddings = evaluation.embeddings
    models = [Path(model)] if isinstance(model, str) else []
    models += [embeddings.model] if embeddings is not None and embeddings.model is not None else []
    parents = [evaluation.folder.parent] if evaluation.folder != Path() else []
    folders = [*parents, *(folder for path in models for folder in (path, path.parent))]
    for folder in folders:
        if not (folder / "config.yaml").is_file():
            continue
        try:
            config = read_yaml(folder / "config.yaml")
        except (OSError, ValueError) as error:
            raise LookalikeError(f"{folder / 'config.yaml'} cannot be read: {error}") from error
        if {"seed", "epochs", "loss"} <= set(config):
            return config
    return None


def group_by_recipe(configs: Sequence[Mapping[str, Any] | None]) -> list[list[int]]:
    """Indices of the runs of each recipe; a run without a config is a separate recipe."""
    groups: dict[str, list[int]] = {}
    for index, config in enumerate(configs):
        recipe = {key: value for key, value in (config or {}).items() if key not in NOT_RECIPE}
        key = json.dumps(recipe, sort_keys=True, default=str) if recipe else f"run {index}"
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def recipe_names(
    names: Sequence[str], groups: Sequence[Sequence[int]], configs: Sequence[Mapping[str, Any] | None]
) -> list[str]:
    """A name for each recipe: the common part of its run names, or the keys in which the recipes differ."""
    shared = [
        names[group[0]] if len(group) == 1 else _shared_part([names[index] for index in group])
        for group in groups
    ]
    if all(shared) and len(set(shared)) == len(shared):
        return shared
    values = [_flatten(configs[group[0]] or {}) for group in groups]
    keys = [key for key in dict.fromkeys(key for each in values for key in each) if _differs(values, key)]
    result = [" ".join(f"{key}={each[key]}" for key in keys[:3] if key in each) for each in values]
    if all(result) and len(set(result)) == len(result):
        return result
    return [f"{names[group[0]]} ({len(group)} seeds)" for group in groups]


def differing_parts(names: Sequence[str]) -> list[str]:
    """Paths without common leading and trailing folders."""
    parts = [Path(name).parts for name in names]
    shortest = min(map(len, parts))
    start = 0
    while start < shortest - 1 and len({each[start] for each in parts}) == 1:
        start += 1
    end = 0
    while end < shortest - 1 - start and len({each[-1 - end] for each in parts}) == 1:
        end += 1
    return [Path(*each[start : len(each) - end]).as_posix() for each in parts]


def add_seed_variance(
    differences: Sequence[Difference], values: Sequence[Sequence[float]], identities: int
) -> list[Difference]:
    """Differences of recipes, with intervals and tests that account for identities and seeds.

    The variance of a difference of means over seeds is that of the identities plus s² / n of each recipe,
    with Satterthwaite's degrees of freedom (1946); p is the larger of that of this t statistic and that of
    the test over identities. A recipe with one seed is assumed to vary as much as the others on average.

    Args:
        differences: of the recipes, each averaged over its seeds, with intervals over identities.
        values: the metric of each run, by recipe.
        identities: number of identities.
    """
    freedom = [len(each) - 1 for each in values]
    if not sum(freedom):
        return list(differences)
    squares = [(len(each) - 1) * np.var(each, ddof=1) if len(each) > 1 else 0.0 for each in values]
    pooled = sum(squares) / sum(freedom)
    variance = [squares[index] / free / (free + 1) if free else pooled for index, free in enumerate(freedom)]
    free_of = [free or sum(freedom) for free in freedom]
    changed, chances = [], []
    for test in differences:
        normal = -stdtrit(math.inf, (1 - test.level) / 2)
        parts = [
            ((test.high - test.low) / (2 * normal)) ** 2,
            variance[test.first],
            variance[test.second],
        ]
        total, free = sum(parts), (identities - 1, free_of[test.first], free_of[test.second])
        weights = sum(part**2 / count for part, count in zip(parts, free, strict=True))
        degrees = total**2 / weights if weights else math.inf
        half = -stdtrit(degrees, (1 - test.level) / 2) * math.sqrt(total)
        chances.append(
            2 * stdtr(degrees, -abs(test.mean) / math.sqrt(total)) if total else float(not test.mean)
        )
        changed.append(
            replace(test, low=min(test.low, test.mean - half), high=max(test.high, test.mean + half))
        )
    raised = holm_correction(np.array(chances))
    return [replace(test, p=max(test.p, float(p))) for test, p in zip(changed, raised, strict=True)]


def _shared_part(names: Sequence[str]) -> str:
    """The common prefix, or else suffix, of run names, without separators and the word seed."""
    start = _common_prefix(names)
    if any(name[len(start) : len(start) + 1].isdigit() for name in names):
        start = start.rstrip("0123456789")  # the names differ within a number
    start = re.sub(r"(^|[-_/. =]+)(seed|s|run)?[-_/. =]*$", "", start, flags=re.IGNORECASE)
    end = _common_prefix([name[::-1] for name in names])[::-1]
    return start.strip("-_/. =") or re.sub(r"^\d+", "", end).strip("-_/. =")


def _common_prefix(names: Sequence[str]) -> str:
    shortest = min(names, key=len)
    length = next(
        (index for index, letter in enumerate(shortest) if any(name[index] != letter for name in names)),
        len(shortest),
    )
    return shortest[:length]


def _flatten(node: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Values by dotted key, without keys that are not part of a recipe."""
    result: dict[str, str] = {}
    for key, value in node.items():
        if not above and key in NOT_RECIPE:
            continue
        if isinstance(value, Mapping):
            result |= _flatten(value, f"{above}{key}.")
        elif key != "_target_":
            result[f"{above}{key}"] = str(value)
    return result


def _differs(values: Sequence[Mapping[str, str]], key: str) -> bool:
    return len({each.get(key) for each in values}) > 1
