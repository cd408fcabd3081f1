"""The metrics that were asked for: told apart by what they take, named by their rates and ranks."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lookalike.metrics.estimate import Estimate, Spread
from lookalike.metrics.records import general_name, rate_name
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


def expand_metrics(
    metrics: Mapping[str, Function], ks: Sequence[int], fars: Sequence[float], coarse: bool = False
) -> dict[str, Function]:
    """One function a number: `recall_at_k` becomes recall@1, recall@5, …; `dir_at_far` dir@far=0.01, ….

    Args:
        metrics: functions of some of `OFFERED`, by name; of `k` if the name ends in `_at_k`, of `far` if in
        `_at_far`.
        ks: the k asked for.
        fars: the false accept rates asked for.
        coarse: given to functions that take it: whether a rate may be finer than the pairs can show.
    """
    functions: dict[str, Function] = {}
    for name, function in metrics.items():
        if name.endswith("_at_k"):
            functions.update({f"{name[:-5]}@{k}": partial(function, k=k) for k in ks})
        elif name.endswith("_at_far"):
            options = {"coarse": coarse} if "coarse" in inspect.signature(function).parameters else {}
            functions.update(
                {f"{name[:-7]}@far={rate_name(far)}": partial(function, far=far, **options) for far in fars}
            )
        else:
            functions[name.replace("_at_r", "@r")] = function
    return functions


def required_inputs(function: Function) -> set[str]:
    """Which of `OFFERED` a metric is a function of.

    Raises:
        ValueError: none of them.
    """
    inputs = {name for name in inspect.signature(function).parameters if name in OFFERED}
    if not inputs:
        raise ValueError(
            f"metric {function}: takes none of {', '.join(OFFERED)}, so there is nothing to give it"
        )
    return inputs


def changed_arguments(name: str, function: Function) -> dict[str, Any]:
    """The arguments that a metric of this name was given, where neither the name nor the default tells them.

    They are part of the hash of the protocol, since they change values. A function from outside the package
    also names itself, as its name may be that of another metric.
    """
    provided: dict[str, Any] = {}
    while isinstance(function, partial):
        parameters = list(inspect.signature(function.func).parameters)
        provided = {**dict(zip(parameters, function.args, strict=False)), **function.keywords, **provided}
        function = function.func
    defaults = {key: each.default for key, each in inspect.signature(function).parameters.items()}
    logged = {"@k": ("k",), "@far=F": ("far", "coarse")}.get(
        general_name(name)[len(name.split("@")[0]) :], ()
    )
    results = {
        key: _plain(value)
        for key, value in provided.items()
        if key not in logged and not _equal(value, defaults.get(key))
    }
    if not getattr(function, "__module__", "").startswith("lookalike."):
        results["function"] = _plain(function)
    return results


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except ValueError:  # arrays
        return False


def _plain(value: Any) -> Any:
    """As JSON has it; a function or object by its name, which does not change from run to run."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(each) for each in value]
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def required_depth(metrics: Mapping[str, Function], ks: Sequence[int]) -> int | None:
    """How deep the metrics of a ranking look; None for all of it."""
    ranked = [name for name, function in metrics.items() if "ranking" in required_inputs(function)]
    shallow = all(name.endswith("_at_k") or name in SHALLOW for name in ranked)
    return max(ks) if shallow else None


def compute_metrics(functions: Mapping[str, Function], offered: Mapping[str, Any]) -> tuple[
    dict[str, np.ndarray], dict[str, float], list[str], dict[str, str]
]:  # fmt: skip
    """What the functions give: columns with one value a query, numbers, what is absent and why, and sources.

    The sources name the function of each number.
    """
    columns: dict[str, np.ndarray] = {}
    numbers: dict[str, float] = {}
    absent: list[str] = []
    sources: dict[str, str] = {}
    for name, function in functions.items():
        try:
            result = function(**{key: offered[key] for key in required_inputs(function)})
        except ValueError as error:
            absent.append(f"no {name}: {error}")
            continue
        if isinstance(result, Mapping):
            numbers.update({key: _number(value) for key, value in result.items()})
            sources.update(dict.fromkeys(result, name))
        elif np.ndim(result):
            columns[name] = np.asarray(result, np.float64)
        else:
            numbers[name] = _number(result)
    nowhere = [name for name, value in numbers.items() if not np.isfinite(value)]
    absent += [f"no {name}: it is not defined here" for name in nowhere]
    numbers = {name: value for name, value in numbers.items() if name not in nowhere}
    return columns, numbers, absent, sources


def required_neighbours(functions: Mapping[str, Function], least: int) -> int:
    """How many neighbours of each query the metrics look at; halves of the gallery need more than k."""
    looking = [function for function in functions.values() if "neighbours" in required_inputs(function)]
    signatures = [inspect.signature(function).parameters for function in looking]
    depths = [
        function["k"].default * (3 if "halves" in function else 1)
        for function in signatures
        if "k" in function and isinstance(function["k"].default, int)
    ]
    return max([least, *depths])


def _number(value: Any) -> float:
    return value if isinstance(value, Estimate | Spread) else float(value)
