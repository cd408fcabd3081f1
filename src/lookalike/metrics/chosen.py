"""The metrics that were asked for: told apart by what they take, named by their rates and ranks."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lookalike.metrics.estimate import Estimate, Spread
from lookalike.metrics.retrieval import (
    average_precision,
    map_at_r,
    precision_at,
    r_precision,
    recall_at,
)

Function = Callable[..., Any]
OFFERED = ("ranking", "neighbours", "pairs", "unit", "codes")
SHALLOW = ("map_at_r", "r_precision")
"""Beside those of some k: metrics that look no deeper than the number of relevant rows."""

DEFAULT: dict[str, Function] = {
    "recall_at_k": recall_at,
    "precision_at_k": precision_at,
    "map_at_r": map_at_r,
    "r_precision": r_precision,
    "map": average_precision,
}


def expanded(
    metrics: Mapping[str, Function], ks: Sequence[int], fars: Sequence[float]
) -> dict[str, Function]:
    """One function a number: `recall_at_k` becomes recall@1, recall@5, …; `dir_at_far` dir@far=0.01, ….

    Args:
        metrics: functions of some of `OFFERED`, by name; of `k` if the name ends in `_at_k`, of `far` if in
        `_at_far`.
        ks: the k asked for.
        fars: the false accept rates asked for.
    """
    found: dict[str, Function] = {}
    for name, function in metrics.items():
        if name.endswith("_at_k"):
            found.update({f"{name[:-5]}@{k}": partial(function, k=k) for k in ks})
        elif name.endswith("_at_far"):
            found.update({f"{name[:-7]}@far={far:g}": partial(function, far=far) for far in fars})
        else:
            found[name.replace("_at_r", "@r")] = function
    return found


def takes(function: Function) -> set[str]:
    """Which of `OFFERED` a metric is a function of.

    Raises:
        ValueError: none of them.
    """
    found = {name for name in inspect.signature(function).parameters if name in OFFERED}
    if not found:
        raise ValueError(
            f"metric {function}: takes none of {', '.join(OFFERED)}, so there is nothing to give it"
        )
    return found


def depth(metrics: Mapping[str, Function], ks: Sequence[int]) -> int | None:
    """How deep the metrics of a ranking look; None for all of it."""
    ranked = [name for name, function in metrics.items() if "ranking" in takes(function)]
    shallow = all(name.endswith("_at_k") or name in SHALLOW for name in ranked)
    return max(ks) if shallow else None


def measured(functions: Mapping[str, Function], offered: Mapping[str, Any]) -> tuple[
    dict[str, np.ndarray], dict[str, float], list[str]
]:  # fmt: skip
    """What the functions give: columns with one value a query, numbers, and what is absent and why."""
    columns: dict[str, np.ndarray] = {}
    numbers: dict[str, float] = {}
    absent: list[str] = []
    for name, function in functions.items():
        try:
            found = function(**{key: offered[key] for key in takes(function)})
        except ValueError as error:
            absent.append(f"no {name}: {error}")
            continue
        if isinstance(found, Mapping):
            numbers.update({key: _number(value) for key, value in found.items()})
        elif np.ndim(found):
            columns[name] = np.asarray(found, np.float64)
        else:
            numbers[name] = _number(found)
    nowhere = [name for name, value in numbers.items() if not np.isfinite(value)]
    absent += [f"no {name}: it is not defined here" for name in nowhere]
    numbers = {name: value for name, value in numbers.items() if name not in nowhere}
    return columns, numbers, absent


def width(functions: Mapping[str, Function], least: int) -> int:
    """How many neighbours of each query the metrics look at; halves of the gallery need more than k."""
    looking = [each for each in functions.values() if "neighbours" in takes(each)]
    signatures = [inspect.signature(each).parameters for each in looking]
    asked = [
        each["k"].default * (3 if "halves" in each else 1)
        for each in signatures
        if "k" in each and isinstance(each["k"].default, int)
    ]
    return max([least, *asked])


def _number(value: Any) -> float:
    return value if isinstance(value, Estimate | Spread) else float(value)
