"""Parse one `key=value` of the command line with Hydra's grammar."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

from lookalike.errors import ConfigError

log = logging.getLogger(__name__)
Operation = Literal["set", "add", "delete"]
SPACED = re.compile(r"\s*(\+{0,2}[A-Za-z_][\w./-]*)\s*=\s*(.*?)\s*", re.DOTALL)
RESERVED = re.compile(r"[][{},:=()'\"$%\\ ]")
VARIABLE = re.compile(r"\$([A-Za-z_]\w*)(?=/|$)")
HOME = re.compile(r"~/|~$")
NUMBER = re.compile(r"[-+]?\d+(,\d+)+")
NAME = re.compile(r"(\+{0,2})([A-Za-z_][\w./-]*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Change:
    """One change to the config; `text` is the value as typed, for keys that take text."""

    key: str
    value: Any
    operation: Operation = "set"
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
    spaced = SPACED.fullmatch(argument)
    if spaced:
        argument = f"{spaced[1]}={spaced[2]}"
        if not spaced[2]:
            raise ConfigError(
                f"{argument}: has no value. Write {argument}VALUE, {argument}null for none, or omit it "
                "to use the default"
            )
        if _is_file(spaced[2]):
            return _parsed_file(spaced[1], spaced[2])
    return _expand_path(_parse_with_hydra(argument) or _literal(argument))


def from_values(values: Mapping[str, Any]) -> list[Change]:
    """Changes from Python values, which are not parsed; `+key` adds a key that no file lists."""
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


def _is_file(text: str) -> bool:
    """Whether a value with signs that the grammar reserves is a file, as `a,b.jpg` or `[1].jpg`."""
    try:
        return bool(RESERVED.search(text)) and Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _parsed_file(name: str, text: str) -> Change:
    path = home(text) if text.startswith("~") else text
    return Change(name.lstrip("+"), path, "add" if name.startswith("+") else "set", path)


def _expand_path(change: Change) -> Change:
    """`~/photos` and `$HOME/photos` as the shell reads them outside of quotes.

    Raises:
        ConfigError: the variable is not set.
    """
    if change.operation == "delete":
        return change
    value = _expanded_value(change.value, change.key)
    return change if value == change.value else replace(change, value=value, text=str(value))


def _expanded_value(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return [_expanded_value(item, key) for item in value]
    if not isinstance(value, str):
        return value
    match = VARIABLE.match(value)
    if match:
        name = match[1]
        if name not in os.environ:
            raise ConfigError(
                f"{key}={value}: the environment variable {name} is not set; a name that begins with "
                f"$ is written {key}=./{value}"
            )
        value = os.environ[name] + value[match.end() :]
        log.info("%s=%s: $%s was replaced by its value", key, value, name)
    return home(value) if value.startswith("~") else value


def home(text: str) -> str:
    """A path that begins with `~` as the shell reads it; a file of that very name comes first."""
    try:
        if not HOME.match(text) and Path(text).exists():
            return str(Path(text).absolute())
        return str(Path(text).expanduser())
    except RuntimeError as error:
        raise ConfigError(f"{text}: {error} (~NAME is the home folder of the user NAME)") from error
    except ValueError:
        return text


def _parse_with_hydra(argument: str) -> Change | None:
    """What Hydra's grammar makes of it; None where the grammar cannot read it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return None
    if override.is_sweep_override():
        if BOX.fullmatch(argument):
            return _parse_with_hydra(argument.replace("=", "=[") + "]")
        raise ConfigError(_parse_several(argument))
    if override.package is not None or not override.key_or_group:
        raise ConfigError(f"{argument}: not understood; an argument is written key=value")
    if override.is_delete():
        return Change(override.key_or_group, None, "delete")
    operation: Operation = "add" if argument.startswith("+") else "set"
    return Change(override.key_or_group, override.value(), operation, argument.partition("=")[2].strip())


def _literal(argument: str) -> Change:
    """The value as typed, unless it was meant to have a structure."""
    match = NAME.fullmatch(argument)
    if match is None:
        raise ConfigError(f"{argument}: not understood; an argument is written key=value")
    plus, key, text = match.groups()
    if text.startswith(("[", "{", "'", '"')):
        raise ConfigError(
            f"{argument}: the value cannot be read. Close every bracket and quote, and quote "
            f"text with special characters: {key}=['a (1)',b]"
        )
    return Change(key, text, "add" if plus else "set", text)


def _parse_several(argument: str) -> str:
    key, _, text = argument.lstrip("+").partition("=")
    if NUMBER.fullmatch(text):
        point, joined = text.replace(",", "."), text.replace(",", "")
        return (
            f"{argument}: numbers have a decimal point and no thousands separators: {key}={point} or "
            f"{key}={joined}; a list is written {key}=[{text}]"
        )
    listed = text if text.startswith("[") else f"[{text}]"
    return f"{argument}: a list is written {key}={listed}, and text with commas in quotes: {key}=\"'a,b'\""


def _refuse_undecodable(argument: str) -> None:
    try:
        argument.encode()
    except UnicodeEncodeError:
        printable = argument.encode(errors="replace").decode()
        raise ConfigError(f"{printable}: not valid UTF-8; rename the file or folder") from None
