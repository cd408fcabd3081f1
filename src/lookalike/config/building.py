"""Build objects from checked nodes of the config."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lookalike.config.signatures import hints, wants_path
from lookalike.errors import ConfigError, LookalikeError


def build(node: Mapping[str, Any], key: str = "", /, **offered: Any) -> Any:
    """Make the object that the node's `_target_` names, from the node's values and what the job has to offer.

    Args:
        node: `_target_` and its arguments; nodes inside it are built first. With `_partial_: true` the result
            is a callable that waits for its remaining arguments.
        key: where the node stands in the config, for messages.
        offered: what only the job knows (`num_classes`, `params`, …); the target gets those that it names.

    Raises:
        ConfigError: the target refuses its arguments, now or when the callable is called.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if "_target_" not in node:
        leave = f"; ~{key} removes it, if another choice replaces it" if key else ""
        raise ConfigError(f"{key or 'config'}: has no _target_, so nothing can be built from it{leave}")
    owner, keys = key or str(node["_target_"]).rpartition(".")[2], set(node) if key else set()
    try:
        make = instantiate({**node, "_partial_": True}, _convert_="all")
    except InstantiationException as error:
        raise ConfigError(f"{owner}: {_reason(error)}") from error
    accepted = {name: value for name, value in offered.items() if name in _parameters(make.func)}
    later = partial(_call_target, owner, keys, make, **{**_paths(make.func, node), **accepted})
    return later if node.get("_partial_") else later()


def _call_target(owner: str, keys: set[str], make: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    try:
        return make(*arguments, **named)
    except (ValueError, TypeError) as error:
        between = "." if str(error).partition("=")[0] in keys else ": "
        raise ConfigError(f"{owner}{between}{error}") from error


def _paths(target: Any, node: Mapping[str, Any]) -> dict[str, Path]:
    """The arguments that are text in the config and paths in Python, as paths."""
    path_arguments = [name for name, hint in (hints(target) or {}).items() if wants_path(hint)]
    return {name: Path(node[name]) for name in path_arguments if isinstance(node.get(name), str)}


def _parameters(target: Any) -> set[str]:
    try:
        return set(inspect.signature(target).parameters)
    except ValueError:
        return set()


def _reason(error: Exception) -> str:
    """The error that a nested target raised, without Hydra's wrapper."""
    cause = error.__cause__
    text = cause if isinstance(cause, ValueError | TypeError | LookalikeError) else error
    return " ".join(str(text).split())
