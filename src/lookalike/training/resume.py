"""A run folder that exists: is it the same run, to go on with, or another one, to leave alone."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lookalike.errors import ConfigError, LookalikeError
from lookalike.files import hold, refuse_existing
from lookalike.model.embedder import check_readable

CONFIG = "config.yaml"
FREE = {"out", "progress", "workers", "data_dir", "save_minutes", "resume", "tracker", "processes"}
"""Keys that change nothing in what is trained."""


def check_may_start(
    folder: Path, config: dict[str, Any], allow: Sequence[str] = (), defaults: Mapping[str, Any] | None = None
) -> bool:
    """Whether there is anything to do: False where this very run is finished.

    Args:
        folder: the run folder; it may hold a run with the same config that was stopped.
        config: all values of the run.
        allow: keys that may differ from those that the run was started with.
        defaults: as in `differences`.

    Raises:
        LookalikeError: the folder holds something else than a run.
        ConfigError: it holds a run with other values; they are listed.
    """
    file, state = folder / CONFIG, folder / "state"
    if not state.is_dir() or not file.is_file():
        if file.is_file() and not _is_run_config(file):
            refuse_existing(folder)
        if file.is_file() or (state.is_dir() and any(map(_is_result, folder.rglob("*")))):
            missing = "its checkpoints, state/," if file.is_file() else f"its {CONFIG}"
            raise LookalikeError(
                f"{folder} holds a run without {missing} so it cannot go on; take another out="
            )
        if not folder.is_dir() or any(map(_is_result, folder.rglob("*"))):
            refuse_existing(folder)
        return True
    if not any((folder / "state").glob("[0-9]*")) and not (folder / "model").exists():
        return True
    changed = changed_values(folder, config, defaults)
    unknown = [key for key in allow if key.split(".")[0] not in config]
    if unknown:
        raise ConfigError(f"resume.allow: {', '.join(unknown)}: train has no such key")
    refused = {key: both for key, both in changed.items() if not _is_allowed(key, allow)}
    if refused:
        listed = "".join(f"\n  {key}: {old} then, {new} now" for key, (old, new) in refused.items())
        raise ConfigError(
            f"{folder} holds a run with other values:{listed}\nTake another out=, or go on with the new "
            f"values by resume.allow=[{','.join(sorted({key.split('.')[0] for key in refused}))}]"
        )
    return bool(changed) or not is_finished(folder)


def changed_values(
    folder: Path, config: dict[str, Any], defaults: Mapping[str, Any] | None = None
) -> dict[str, tuple[Any, Any]]:
    """`differences` from the run in a folder.

    Raises:
        LookalikeError: its config is damaged.
    """
    then = "so what the run is is not known; take another out="
    return differences(_read(folder / CONFIG, yaml.safe_load, then), config, defaults)


def is_finished(folder: Path) -> bool:
    """Whether the run in `folder` came to its end.

    Raises:
        LookalikeError: it did, and its model or summary is damaged.
    """
    file = folder / "summary.json"
    if not file.is_file():
        return False
    summary = _read(file, json.loads, "so whether the run is finished is not known; take another out=")
    if summary.get("status") != "finished":
        return False
    try:
        check_readable(folder / "model")
    except LookalikeError as error:
        raise LookalikeError(
            f"{folder} is finished, but its model cannot be read: {error}. Take another out= to train again"
        ) from error
    return True


def _read(file: Path, parse: Callable[[str], Any], then: str) -> dict[str, Any]:
    """A mapping from a file of the run folder.

    Raises:
        LookalikeError: it is damaged; says `then` what follows.
    """
    try:
        content = parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise LookalikeError(f"{file} is damaged ({' '.join(str(error).split())}), {then}") from error
    if not isinstance(content, dict):
        raise LookalikeError(f"{file} is damaged (empty, or no mapping), {then}")
    return content


def differences(
    before: dict[str, Any], now: dict[str, Any], defaults: Mapping[str, Any] | None = None
) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with both; keys that change nothing in training are left out.

    A key that `before` lacks has its default: the run was written before the key existed. An argument of
    something that is built has one only if `before` builds the same from it.

    Args:
        before: values of the run in the folder.
        now: values of this run.
        defaults: by dotted key.
    """
    old, new = (
        _flatten_tree({key: v for key, v in tree.items() if key not in FREE}) for tree in (before, now)
    )
    for key, value in (defaults or {}).items():
        target = f"{key.rpartition('.')[0]}._target_"
        if key in new and old.get(target) == new.get(target):
            old.setdefault(key, value)
    return {key: (old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)}


@contextmanager
def lock_run_folder(folder: Path) -> Iterator[None]:
    """Keep a second process from training into the same folder.

    Raises:
        LookalikeError: one is there already.
    """
    state_folder = folder / "state"
    state_folder.mkdir(parents=True, exist_ok=True)
    with hold(state_folder / ".lock", f"training into {folder}"):
        yield


def _is_run_config(file: Path) -> bool:
    """Whether a config.yaml is that of a run, and not of a dataset or evaluation; a damaged one may be."""
    try:
        return "epochs" in (yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except (OSError, ValueError, yaml.YAMLError, TypeError):
        return True


def _is_result(path: Path) -> bool:
    """Whether this is more than what a run leaves that is killed as it begins."""
    return path.is_file() and path.name != ".lock" and path.suffix != ".partial"


def _flatten_tree(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flatten_tree(value, f"{prefix}{key}.")
            if isinstance(value, dict) and value
            else {prefix + key: value}
        )
    return flat


def _is_allowed(key: str, allow: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in allow)
