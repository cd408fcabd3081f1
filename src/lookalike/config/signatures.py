"""What a target's signature says about its arguments."""

import inspect
import typing
from pathlib import Path
from typing import Any


def hints(target: Any) -> dict[str, Any] | None:
    """Type hints by argument, `Any` where there is none; None for a target that takes anything."""
    try:
        parameters = inspect.signature(target).parameters
        type_hints = typing.get_type_hints(
            target.__init__ if inspect.isclass(target) else target, include_extras=True
        )
    except (ValueError, TypeError, NameError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return {name: type_hints.get(name, Any) for name in parameters}


def wants_path(hint: Any) -> bool:
    """Whether text for this argument is a path: `Path`, `Path | None`."""
    return hint is Path or Path in typing.get_args(hint)
