"""Arguments of `evaluate` as users bring them, checked and brought to one form."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import polars as pl
import yaml

from lookalike.errors import ConfigError
from lookalike.evaluation.protocols.base import Rules
from lookalike.metrics.selection import required_inputs

CONF = Path(__file__).parents[1] / "conf"
Function = Callable[..., Any]
Metrics = str | Function | Sequence[str | Function] | Mapping[str, Function]


def rules_of(protocol: str | Rules | None) -> Rules | None:
    """A protocol by its name, as in conf/protocol.

    Raises:
        ValueError: there is none of this name, or it needs values of its own.
    """
    if protocol is None or isinstance(protocol, Rules):
        return protocol
    node = _node("protocol", protocol)
    missing = [name for name, value in node.items() if value == "???"]
    if missing:
        target = node["_target_"]
        raise ValueError(
            f"protocol={protocol}: needs {', '.join(missing)}; give an object in place of the name: "
            f"{target}({', '.join(f'{name}=…' for name in missing)})"
        )
    return _build_node(node)()


def functions_of(metrics: Metrics | None) -> Mapping[str, Function] | None:
    """Metrics by their names, as in conf/metric; functions are named as in Python.

    Raises:
        ValueError: there is none of this name.
    """
    if metrics is None or isinstance(metrics, Mapping):
        return metrics
    results: dict[str, Function] = {}
    for item in [metrics] if isinstance(metrics, str) or callable(metrics) else metrics:
        if callable(item):
            function = item.func if isinstance(item, partial) else item
            results[getattr(function, "__name__", type(function).__name__)] = item
        else:
            results.update({key: _build_node(node) for key, node in _node("metric", item).items()})
    return results


def rules_of_node(node: Mapping[str, Any]) -> Rules:
    """The protocol that a node of a config file names, with its values.

    A protocol of ours whose module was renamed since the file was written is found by the name of its class.

    Raises:
        ConfigError: there is no such protocol, or it refuses the values.
    """
    node = {**node, "_target_": _current_path("protocol", str(node.get("_target_")))}
    try:
        return _build_node(node)()
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        raise ConfigError(
            f"protocol {node['_target_']}: cannot be built ({error}); the evaluation was written by another "
            "version of Lookalike, or by code that is not installed here. Evaluate again to plot it"
        ) from error


def _current_path(group: str, path: str) -> str:
    """The dotted path of a choice of a group; the path itself where it is no choice of ours."""
    paths = [
        str(yaml.safe_load(file.read_text(encoding="utf-8")).get("_target_"))
        for file in sorted((CONF / group).glob("*.yaml"))
    ]
    same_class = [each for each in paths if each.rpartition(".")[2] == path.rpartition(".")[2]]
    return same_class[0] if path.startswith("lookalike.") and path not in paths and same_class else path


def functions_of_nodes(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, Function]:
    """The functions that the nodes of `metric` in a config name, with their values.

    Raises:
        ConfigError: a node names no function, or its function is not a metric.
    """
    functions = {}
    for name, node in nodes.items():
        if "_target_" not in node:
            raise ConfigError(f"metric.{name}: has no _target_, so there is no function to call")
        try:
            functions[name] = _build_node(node)
            required_inputs(functions[name])
        except (ValueError, AttributeError, ImportError) as error:
            raise ConfigError(f"metric.{name}: {error}") from error
    return functions


def whole_numbers(values: Any, name: str, least: int = 1) -> list[int]:
    """Whole numbers, of which there may be only one; without those that are there twice.

    Raises:
        ValueError: there is none, or one is something else or too small.
    """
    items = list(values) if np.ndim(_plain(values)) else [values]
    message = f"{name}={[_plain(item) for item in items]}"
    if not items:
        raise ValueError(f"{message}: must be at least 1 long")
    results = [_plain(item) for item in items]
    if not all(isinstance(item, int) and not isinstance(item, bool) for item in results):
        raise ValueError(f"{message}: each must be a whole number")
    if min(results) < least:
        raise ValueError(f"{message}: each must be at least {least}")
    return list(dict.fromkeys(results))


def whole_number(value: Any, name: str, least: int) -> int:
    """A whole number.

    Raises:
        ValueError: it is something else or too small.
    """
    plain = _plain(value)
    if not isinstance(plain, int) or isinstance(plain, bool):
        raise ValueError(f"{name}={plain!r}: must be a whole number")
    if plain < least:
        raise ValueError(f"{name}={plain}: must be at least {least}")
    return plain


def rates_of(far: Any) -> list[float]:
    """False accept rates, of which there may be only one; without those that are there twice.

    Raises:
        ValueError: a value is not a number from 0 up to 1.
    """
    items = list(far) if np.ndim(_plain(far)) else [far]
    results = [number(item, "far") for item in items]
    for rate in results:
        if rate < 0:
            raise ValueError(f"far={rate:g}: must be at least 0")
        if rate >= 1:
            raise ValueError(f"far={rate:g}: must be less than 1")
    return list(dict.fromkeys(results))


def number(value: Any, name: str) -> float:
    """A finite number; one of 32 bits is the decimal number that was meant.

    Raises:
        ValueError: it is none.
    """
    plain = float(str(value)) if isinstance(value, np.float32 | np.float16) else _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, int | float) or not math.isfinite(plain):
        raise ValueError(f"{name}={plain!r}: must be a number")
    return float(plain)


def names_of(by: str | Sequence[str]) -> list[str]:
    """Names of columns, of which there may be only one."""
    return [by] if isinstance(by, str) else list(by)


def frame_of(frame: Any) -> pl.DataFrame:
    """A frame of polars or pandas, a table, or columns by name, as a frame of polars.

    Raises:
        ValueError: it is something else, or its columns are of different lengths.
    """
    if frame is None:
        return pl.DataFrame()
    if hasattr(frame, "frame"):
        frame = frame.frame
    if isinstance(frame, pl.DataFrame):
        return frame
    if not hasattr(frame, "columns") and not isinstance(frame, Mapping):
        raise ValueError(f"frame: columns by name or a data frame is needed, got {type(frame).__name__}")
    names = list(frame.columns) if hasattr(frame, "columns") else list(frame)
    columns = {str(name): [_plain(value) for value in _as_list(frame[name])] for name in names}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        message = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"frame: columns of different lengths: {message}")
    return pl.DataFrame(columns, strict=False)


def _as_list(values: Any) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _plain(value: Any) -> Any:
    """A number of NumPy or torch as one of Python, a missing value of pandas as None."""
    if value is not None and type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if value is None or not hasattr(value, "item"):
        return value
    return value.item() if np.ndim(value) == 0 else value


def _node(group: str, name: str) -> dict[str, Any]:
    file = CONF / group / f"{name}.yaml"
    if not file.is_file():
        choices = ", ".join(sorted(each.stem for each in (CONF / group).glob("*.yaml")))
        raise ValueError(f"{group}={name}: no such {group}. Choices: {choices}")
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _build_node(node: Mapping[str, Any]) -> Function:
    """The function or class that a node names, with its values."""
    values = {key: value for key, value in node.items() if not key.startswith("_")}
    return partial(resolve_name(str(node["_target_"])), **values)
