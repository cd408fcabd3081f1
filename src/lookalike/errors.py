"""The errors that users see: each says what is wrong, where, and what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Control characters: cursor movement, colours and line ends."""
LISTED = 20
"""Maximum number of problems shown in a message."""


class LookalikeError(Exception):
    """A job cannot go on, for a reason the user can act on. The command line prints it and exits 1."""


class ConfigError(LookalikeError):
    """A key or value of the command line or config is wrong. The command line prints it and exits 2."""


class PeerError(LookalikeError):
    """Another process of the same run failed, and reports the reason itself."""


@dataclass(frozen=True)
class Problem:
    """One problem of the user's data: location and reason."""

    path: str
    reason: str
    row: int | None = None

    def __str__(self) -> str:
        location = self.path if self.row is None else f"{self.path}, row {self.row}"
        return CONTROL.sub(lambda match: repr(match[0])[1:-1], f"{location}: {self.reason}")


class DataError(LookalikeError):
    """The user's data cannot be used as it is. Holds every problem found; prints the first 20."""

    def __init__(self, message: str, problems: Iterable[Problem] = ()):
        self.problems = list(problems)
        super().__init__(message + list_problems(self.problems))


class ImageError(DataError):
    """One image file cannot be read."""

    def __init__(self, path: str | Path, reason: str):
        self.path, self.reason = str(path), reason
        super().__init__(f"{path}: {reason}")

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.path, self.reason)


def one_per_row(problems: Iterable[Problem]) -> list[Problem]:
    """Merge the problems of each row of a file into one; those without a row are unchanged."""
    results: dict[object, Problem] = {}
    for problem in problems:
        key = (problem.path, problem.row) if problem.row is not None else len(results)
        known = results.get(key)
        if known is None:
            results[key] = problem
        elif problem.reason not in known.reason.split("; also "):
            results[key] = Problem(known.path, f"{known.reason}; also {problem.reason}", known.row)
    return list(results.values())


def list_problems(problems: Sequence[Problem], limit: int = LISTED) -> str:
    """The problems, one per line, truncated after `limit` with a count of the rest."""
    lines = [f"\n  {problem}" for problem in problems[:limit]]
    if len(problems) > limit:
        lines.append(f"\n  … and {len(problems) - limit} more")
    return "".join(lines)


def check_finite(owner: str, **numbers: float) -> None:
    """Reject arguments that are not finite numbers; other checks are up to the owner.

    Raises:
        ValueError: naming the owner, the argument and its value.
    """
    for name, value in numbers.items():
        if not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError(f"{owner} {name} {value}: {name} must be a finite number")


@contextmanager
def advise_on_stages(number: int) -> Iterator[None]:
    """Name the stage in an error, and how to train without stages that do not fit the model or loss.

    `number` counts from 1; with 0 the run has no stages, and errors stay as they are.
    """
    try:
        yield
    except ConfigError as error:
        if not number:
            raise
        prefix = f"stages: stage {number}: "
        raise ConfigError(
            f"{prefix}{str(error).removeprefix(prefix)}\nIf the stages of a recipe do not fit your backbone "
            "or loss: stages=[] trains in one stage of epochs=…, and stages=[{epochs: 4, freeze: "
            "[backbone]},{epochs: 8}] are stages for any model"
        ) from error
