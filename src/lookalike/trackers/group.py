"""The group of trackers of a run, and handling of their failures."""

import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from lookalike.errors import ConfigError, LookalikeError
from lookalike.files import parse_json, write_text

log = logging.getLogger(__name__)

TRACKER_FILE = "trackers.json"
Status = Literal["finished", "stopped", "failed"]


class Tracker(Protocol):
    """The interface of trackers, in the order of calls. Steps are finished batches.

    Attributes:
        every: logging interval of the training loss, in steps.
    """

    every: int

    def start(self, folder: Path, config: dict[str, Any], step: int, run_id: str | None) -> str | None:
        """Start a run, or resume the one whose name an earlier `start` returned."""

    def log_numbers(self, values: Mapping[str, float], step: int) -> None:
        """Finite numbers by name, such as `step/loss` and `epoch/val_map@r`."""

    def log_text(self, name: str, text: str, step: int) -> None:
        """A remark."""

    def log_image(self, name: str, file: Path, step: int) -> None:
        """A PNG."""

    def finish(self, status: Status) -> None:
        """End the run; everything is written or sent when this returns."""


class Trackers:
    """Forwards calls to all trackers. One that fails during training is disabled with a warning.

    Args:
        trackers: by name; may be empty.
    """

    def __init__(self, trackers: Mapping[str, Tracker]):
        self.trackers = dict(trackers)
        self._live: dict[str, Tracker] = {}

    def start(self, folder: Path, config: dict[str, Any], step: int = 0) -> None:
        """Start runs, or resume those recorded in `folder`.

        Args:
            folder: the run folder; its trackers.json stores what is needed to resume.
            config: all values of the run.
            step: number of finished batches.

        Raises:
            LookalikeError: a tracker cannot start.
        """
        if not self.trackers:
            return
        file = folder / TRACKER_FILE
        run_ids = parse_json(file.read_text(encoding="utf-8")) if file.is_file() else {}
        for name, tracker in self.trackers.items():
            try:
                run_ids[name] = tracker.start(folder, config, step, run_ids.get(name))
            except Exception as error:
                raise LookalikeError(f"tracker={name} cannot start: {_words(error)}") from error
            self._live[name] = tracker
        write_text(file, json.dumps(run_ids, indent=2) + "\n")

    def log_step(self, loss: Callable[[], float], step: int) -> None:
        """Log the loss of a batch, fetched from the device only if a tracker needs it now."""
        due = [name for name, tracker in self._live.items() if step % tracker.every == 0]
        if due:
            value = loss()
            if math.isfinite(value):
                self._call_trackers(due, "log_numbers", {"step/loss": value}, step)

    def log_epoch(self, row: Mapping[str, float | int | str], step: int) -> None:
        """Log a row of the history: its numbers and notes."""
        numbers = {
            f"epoch/{name}": float(value)
            for name, value in row.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        self._call_trackers(list(self._live), "log_numbers", numbers, step)
        if row.get("notes"):
            self._call_trackers(list(self._live), "log_text", "notes", str(row["notes"]), step)

    def log_image(self, name: str, file: Path, step: int = 0) -> None:
        """A PNG."""
        self._call_trackers(list(self._live), "log_image", name, file, step)

    def finish(self, status: Status) -> None:
        """End all runs."""
        self._call_trackers(list(self._live), "finish", status)
        self._live.clear()

    def _call_trackers(self, names: list[str], method: str, *values: Any) -> None:
        for name in names:
            try:
                getattr(self._live[name], method)(*values)
            except Exception as error:
                del self._live[name]
                log.warning(
                    "tracker=%s failed and is disabled for the rest of the run: %s", name, _words(error)
                )


def require_package(module: str, tracker: str) -> None:
    """Reject a tracker whose package is missing, without importing it.

    Raises:
        ConfigError: it is missing; the message says what to install.
    """
    if find_spec(module) is None:
        raise ConfigError(f"tracker={tracker} requires additional packages: pip install 'lookalike[track]'")


def check_every(tracker: str, every: int) -> None:
    """Reject intervals below 1.

    Raises:
        ValueError: `every` is below 1.
    """
    if every < 1:
        raise ValueError(f"tracker {tracker} every={every}: must be at least 1")


def plain_value(name: str) -> str:
    """A name for trackers that allow only letters, digits and `-_./ `: recall@1 becomes recall_at_1."""
    return re.sub(r"[^-\w./ ]", "_", name.replace("@", "_at_"), flags=re.ASCII)


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key."""
    flat_values: dict[str, Any] = {}
    for key, value in config.items():
        inside = isinstance(value, Mapping) and value
        flat_values |= flatten_config(value, f"{prefix}{key}.") if inside else {f"{prefix}{key}": value}
    return flat_values


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
