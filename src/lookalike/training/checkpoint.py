"""Checkpoints: the whole state of a training run, written so that a crash leaves the previous one intact.

A checkpoint is a folder of JSON and safetensors, without pickle. It is written under a temporary name,
flushed to the disk and renamed as a whole, so its weights, optimizer and position always belong together.
"""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lookalike.errors import LookalikeError
from lookalike.files import parse_json, replace_file

MAX_CHECKPOINTS = 2
TREE, TENSORS = "state.json", "tensors.safetensors"


class Checkpoints:
    """The checkpoints of a run, the last two of which are kept.

    Args:
        folder: holds one folder per checkpoint, named by the number of steps.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def all(self) -> list[Path]:
        """Finished checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("[0-9]*") if path.is_dir())

    def steps(self) -> int:
        """Number of steps of the newest checkpoint; 0 before the first."""
        return max((int(path.name) for path in self.all()), default=0)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps, then remove all but the last two."""
        folder = self.folder / f"{step:012d}"
        temporary = self.folder / f".{folder.name}.{os.getpid()}.partial"
        temporary.mkdir(parents=True)
        try:
            write_state(temporary, state)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
            _flush(self.folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        for old in self.all()[:-MAX_CHECKPOINTS]:
            shutil.rmtree(old)

    def latest(self) -> dict[str, Any] | None:
        """The newest state; None before the first. Incomplete checkpoints are removed.

        Raises:
            LookalikeError: the newest checkpoint cannot be read.
        """
        for partial in self.folder.glob(".*.partial"):
            shutil.rmtree(partial, ignore_errors=True)  # another process may be quicker
        folders = self.all()
        if not folders:
            return None
        try:
            return read_state(folders[-1])
        except LookalikeError as error:
            on = f"go on from {folders[-2].name}" if len(folders) > 1 else "begin anew"
            raise LookalikeError(f"{error}. Remove this folder to {on}") from error


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write nested dicts, lists and tuples of tensors and plain values as two files, flushed to the disk."""
    tensors: dict[str, Tensor] = {}
    tree = _pack(state, tensors)
    replace_file(folder / TENSORS, lambda path: save_file(tensors, path))
    (folder / TREE).write_text(json.dumps(tree), encoding="utf-8")
    for path in (folder / TENSORS, folder / TREE, folder):
        _flush(path)


def read_state(folder: Path) -> dict[str, Any]:
    """Read what `write_state` wrote; tensors are on the CPU.

    Raises:
        LookalikeError: a file is missing or damaged.
    """
    try:
        tensors = load_file(folder / TENSORS)
        return _unpack(parse_json((folder / TREE).read_text(encoding="utf-8")), tensors)
    except Exception as error:
        raise LookalikeError(f"{folder} cannot be read ({error})") from error


def random_states(device: torch.device) -> dict[str, Any]:
    """States of all random generators of this process that training may use."""
    name, keys, *numbers = np.random.get_state()  # noqa: NPY002 - what others draw from
    state = {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *numbers],
        "python": random.getstate(),
    }
    return {**state, "cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def set_random_states(state: dict[str, Any], device: torch.device) -> None:
    """Restore what `random_states` returned."""
    torch.set_rng_state(state["torch"])
    name, keys, *numbers = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *numbers))  # noqa: NPY002
    random.setstate(state["python"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def check_packable(state: Any) -> None:
    """Refuse a state that a checkpoint cannot hold.

    Raises:
        TypeError: it contains something other than tensors and plain values.
    """
    _pack(state, {})


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON; tensors go to `tensors`; types that JSON would change (keys, tuples) are marked."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_pack(key, tensors), _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_pack(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_pack(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds tensors and plain values, got {type(value).__name__}")


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_unpack(item, tensors) for item in content)
    return {_unpack(key, tensors): _unpack(item, tensors) for key, item in content}


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
