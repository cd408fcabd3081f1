"""A journal of finished crops, from which an interrupted run resumes."""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from lookalike.data.shards import image_status
from lookalike.detect.work import Outcome, Task, Written
from lookalike.files import hold, parse_json, write_text

log = logging.getLogger(__name__)


class Journal:
    """Outcomes of tasks, one JSON line each. Failures are not recorded, so that they are retried.

    Attributes:
        crops: the folder of crops.
        empty: whether no task is done yet.
    """

    def __init__(self, folder: Path, lines: IO[str], done: Mapping[str, Any]):
        self.crops = folder / "images"
        self.empty = not done
        self._lines, self._done = lines, done

    def finished_outcome(self, task: Task) -> Outcome | None:
        """The outcome of a task in an earlier run; None if it is not done, or its image changed."""
        entry = self._done.get(task.name)
        if entry is None or entry["stamp"] != _file_stamp(task.file):
            return None
        values = entry["outcome"]
        crops = tuple(Written(**_tuples(crop)) for crop in values.pop("crops"))
        files_exist = all((self.crops / crop.file).is_file() for crop in crops)
        return Outcome(crops=crops, **values) if files_exist else None

    def add(self, task: Task, outcome: Outcome) -> None:
        """Record the outcome of a task."""
        if outcome.reason and not outcome.none_found:
            return
        entry = {"name": task.name, "stamp": _file_stamp(task.file), "outcome": asdict(outcome)}
        self._lines.write(json.dumps(entry) + "\n")
        self._lines.flush()
        self.empty = False


@contextmanager
def journal(folder: Path, settings: Mapping[str, Any]) -> Iterator[Journal]:
    """Open the journal of a folder, for one process at a time.

    Crops made with other settings are deleted.

    Raises:
        LookalikeError: another process is filling it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder / ".lock", f"writing crops into {folder}"):
        _start_journal(folder, json.dumps(settings, sort_keys=True, default=str))
        done = _read(folder / "done.jsonl")
        if done:
            log.info("%s: resuming after %d finished images", folder, len(done))
        with (folder / "done.jsonl").open("a", encoding="utf-8") as lines:
            yield Journal(folder, lines, done)


def _start_journal(folder: Path, settings: str) -> None:
    """Empty the folder unless its settings are the same."""
    file = folder / "settings.json"
    before = file.read_text(encoding="utf-8") if file.is_file() else None
    if before == settings:
        return
    if before is not None:
        log.warning("%s: crops of an unfinished run with other settings are deleted", folder)
    (folder / "done.jsonl").unlink(missing_ok=True)
    shutil.rmtree(folder / "images", ignore_errors=True)
    (folder / "images").mkdir()
    write_text(file, settings)


def _read(file: Path) -> dict[str, Any]:
    """Entries by name; an incomplete last line is ignored."""
    outcomes: dict[str, Any] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            entry = parse_json(line)
        except ValueError:
            continue
        outcomes[entry["name"]] = entry
    if file.is_file():  # start the next entry on a new line
        write_text(file, "".join(json.dumps(entry) + "\n" for entry in outcomes.values()))
    return outcomes


def _file_stamp(file: Path) -> list[int]:
    """File size and modification time, to detect a changed image."""
    try:
        return list(image_status(file))
    except OSError:
        return []


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
