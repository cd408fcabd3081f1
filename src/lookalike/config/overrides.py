"""One `key=value` of the command line, read with Hydra's grammar."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

from lookalike.errors import ConfigError

How = Literal["set", "add", "delete"]
NAME = re.compile(r"(\+{0,2})([A-Za-z_][\w./-]*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Change:
    """What one argument asks for; `text` is the value as typed, for keys that take text."""

    key: str
    value: Any
    how: How = "set"
    text: str | None = None


def read(argument: str) -> Change:
    """Read `key=value`, `+key=value` (a key that no file lists) or `~key` (take it away).

    A plain value with signs that Hydra reserves, as in `image=photo (1).jpg`, is taken as it stands.

    Raises:
        ConfigError: it is none of these.
    """
    _refuse_undecodable(argument)
    if "=" not in argument and not argument.startswith("~"):
        raise ConfigError(f"{argument}: every argument is written key=value")
    return _parsed(argument) or _literal(argument)


def from_values(values: Mapping[str, Any]) -> list[Change]:
    """The same for values given in Python, where nothing is parsed; `+key` adds one that no file lists."""
    return [
        Change(
            key.lstrip("+"),
            fspath(value) if isinstance(value, PathLike) else value,
            "add" if key.startswith("+") else "set",
        )
        for key, value in values.items()
    ]


BOX = re.compile(r"box=\s*-?[\d.]+(\s*,\s*-?[\d.]+){3}\s*")
"""A box as `box=x1,y1,x2,y2`; other lists need brackets."""


def _parsed(argument: str) -> Change | None:
    """What Hydra's grammar makes of it; None where the grammar cannot read it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return None
    if override.is_sweep_override():
        if BOX.fullmatch(argument):
            return _parsed(argument.replace("=", "=[") + "]")
        raise ConfigError(_several(argument))
    if override.package is not None or not override.key_or_group:
        raise ConfigError(f"{argument}: not understood; an argument is written key=value")
    if override.is_delete():
        return Change(override.key_or_group, None, "delete")
    how: How = "add" if argument.startswith("+") else "set"
    return Change(override.key_or_group, override.value(), how, argument.partition("=")[2].strip())


def _literal(argument: str) -> Change:
    """The value as typed, unless it was meant to have a structure."""
    match = NAME.fullmatch(argument)
    if match is None:
        raise ConfigError(f"{argument}: not understood; an argument is written key=value")
    plus, key, text = match.groups()
    if text.startswith(("[", "{", "'", '"')):
        raise ConfigError(
            f"{argument}: the value cannot be read. Close every bracket and quote, and put quotes around "
            f"texts with unusual signs: {key}=['a (1)',b]"
        )
    text = str(Path(text).expanduser()) if text.startswith("~/") else text
    return Change(key, text, "add" if plus else "set", text)


def _several(argument: str) -> str:
    key, _, text = argument.lstrip("+").partition("=")
    listed = text if text.startswith("[") else f"[{text}]"
    return f"{argument}: a list is written {key}={listed}, and a text with commas in quotes: {key}=\"'a,b'\""


def _refuse_undecodable(argument: str) -> None:
    try:
        argument.encode()
    except UnicodeEncodeError:
        printable = argument.encode(errors="replace").decode()
        raise ConfigError(f"{printable}: not valid UTF-8; rename the file or folder") from None
