"""One of several processes that `lookalike.training.launch` has started."""

import builtins
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike import errors
from lookalike.console import show_messages
from lookalike.errors import DataError, ImageError, Problem

MEETING = "LOOKALIKE_MEETING"
"""Environment variable: the folder in which the processes of a run meet, and leave word of their errors."""
ARGUMENTS_FILE, LEVEL = "given.json", "level"
KINDS = {
    name: kind
    for name, kind in [*vars(builtins).items(), *vars(errors).items()]
    if isinstance(kind, type) and issubclass(kind, BaseException)
}
"""The errors that keep their type on the way to the process that started this one."""


@dataclass(frozen=True)
class Failure:
    """What a process raised, and when."""

    error: BaseException
    time: float


class ProcessTraceback(Exception):
    """The traceback of an error in another process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def run_as_process(work: Callable[[dict[str, Any]], object]) -> None:
    """Do this process's part of the work; what it raises is left for the process that started it to raise."""
    _exit_with_parent()
    meeting, rank = Path(os.environ[MEETING]), int(os.environ["RANK"])
    try:
        arguments = json.loads((meeting / ARGUMENTS_FILE).read_text(encoding="utf-8"))
        with show_messages(arguments[LEVEL] if rank == 0 else logging.CRITICAL):
            if rank:
                warnings.simplefilter("ignore")
            work(arguments)
    except BaseException as error:
        _write_failure(meeting, rank, error)
        sys.exit(error.code if isinstance(error, SystemExit) else 1)


def read_failure(meeting: Path, rank: int) -> Failure | None:
    """What a process raised; None if it left no word."""
    file = meeting / f"{rank}.failed"
    if not file.exists():
        return None
    when, traceback_text, *chain = json.loads(file.read_text(encoding="utf-8"))
    errors = [_unpack_error(packed) for packed in chain]
    for error, cause in zip(errors, [*errors[1:], ProcessTraceback(traceback_text)], strict=True):
        error.__cause__ = cause
    return Failure(errors[0], when)


def _exit_with_parent() -> None:
    """Kill this process and its loaders when the one that started it is gone: its end of our stdin closes."""

    def watch_parent() -> None:
        os.read(0, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch_parent, daemon=True).start()


def _write_failure(meeting: Path, rank: int, error: BaseException) -> None:
    traceback_text = f"In process {rank}:\n{''.join(traceback.format_exception(error))}"
    content = json.dumps(
        [time.monotonic(), traceback_text, *(_pack_error(cause) for cause in _causes(error))]
    )
    temporary = meeting / f"{rank}.partial"
    temporary.write_text(content, encoding="utf-8")
    temporary.rename(meeting / f"{rank}.failed")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen_ids: set[int] = set()
    while error is not None and id(error) not in seen_ids:
        yield error
        seen_ids.add(id(error))
        error = error.__cause__ or error.__context__


def _pack_error(error: BaseException) -> dict[str, Any]:
    """Kind and values of an error as JSON, and its words for where those do not make it again."""
    name, values = type(error).__name__, list(error.args)
    packed: dict[str, Any] = {"words": f"{name}: {error}", "kind": None, "values": [], "problems": []}
    if KINDS.get(name) is not type(error):
        return packed
    if isinstance(error, ImageError):
        values = [error.path, error.reason]
    elif isinstance(error, DataError):
        packed["problems"] = [[problem.path, problem.reason, problem.row] for problem in error.problems]
    elif isinstance(error, OSError) and error.filename is not None:
        values.append(os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename)
    if all(value is None or isinstance(value, str | int | float) for value in values):
        packed |= {"kind": name, "values": values}
    return packed


def _unpack_error(packed: dict[str, Any]) -> BaseException:
    kind = KINDS.get(packed["kind"])
    if kind is None:
        return RuntimeError(packed["words"])
    try:
        error = kind(*packed["values"])
    except TypeError:
        return RuntimeError(packed["words"])
    if packed["problems"] and isinstance(error, DataError):
        error.problems = [Problem(*values) for values in packed["problems"]]
    return error
