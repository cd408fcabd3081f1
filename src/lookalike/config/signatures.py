"""Type hints of the arguments of a target."""

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


def defaults(path: str) -> dict[str, Any]:
    """Defaults of the arguments of a target, as a config holds them; none for one that cannot be imported."""
    from hydra.utils import get_object

    try:
        parameters = inspect.signature(get_object(path)).parameters.values()
    except Exception:  # its import may raise anything; building it says what is wrong
        return {}
    values = {each.name: each.default for each in parameters if each.default is not each.empty}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def wants_path(hint: Any) -> bool:
    """Whether text for this argument is a path: `Path`, `Path | None`."""
    return hint is Path or Path in typing.get_args(hint)
