"""Whether a checkpoint fits the run as it is configured now; checked before anything is changed."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lookalike.data.checking import BOX
from lookalike.data.shards import parse_member
from lookalike.data.table import Table
from lookalike.errors import ConfigError
from lookalike.training.components import RunComponents
from lookalike.training.optimise import RowSparse
from lookalike.training.stage import Stage, TrainingProgress

MAX_LISTED = 3
FORMAT = 2
"""Version of the contents of checkpoints; raise it when they change."""
SIZES, CONTENTS, PIECE = 100_000, 1024, 1 << 20
"""Files whose size is hashed, files whose content is, and how many bytes of it at each end."""


def describe_run(parts: RunComponents, stage: Stage) -> dict[str, Any]:
    """What a checkpoint says of the run besides its state, for the checks of this module."""
    return {
        "format": FORMAT,
        "tables": {"training": fingerprint(parts.train), "validation": fingerprint(parts.validation)},
        "best_metric": parts.settings.best_metric,
        "teacher": None if parts.teacher is None else parts.teacher.space,
        **describe_stage(stage),
    }


def describe_stage(stage: Stage) -> dict[str, Any]:
    """The part of it that changes with the stage."""
    return {
        "batches": len(stage.batches),
        "trained": trained_shapes(stage.optimizer),
        "optimizer_kind": optimizer_kind(stage.optimizer),
    }


def saved_state(state: dict[str, Any], name: str, rank: int = 0) -> Any:
    """The state of an object in a checkpoint: that of this process, or else the one that all share.

    Args:
        state: a checkpoint.
        name: of the object, see `Training.saved_objects`.
        rank: of the process; a process that had no counterpart takes the state of the last.
    """
    of_process = state["everyone"][min(rank, len(state["everyone"]) - 1)]
    return of_process[name] if name in of_process else state.get(name)


def check_data(state: dict[str, Any], parts: RunComponents, folder: Path) -> None:
    """Refuse other images, another teacher, fewer stages than are finished, and other versions' checkpoints.

    Raises:
        ConfigError: naming what differs.
    """
    if state.get("format") != FORMAT:
        raise ConfigError(
            f"{folder}: its checkpoint was written by another version of Lookalike and cannot be resumed by "
            f"this one. Finish the run with that version, or take another out=; {folder / 'model'}, if it is "
            "there, can still be used"
        )
    for split, table in (("training", parts.train), ("validation", parts.validation)):
        for problem in different_images(state["tables"][split], table, split):
            raise ConfigError(
                f"{folder} was started with other {split} images ({problem}); take another out="
            )
    if state["teacher"] != (None if parts.teacher is None else parts.teacher.space):
        raise ConfigError(f"{folder} was started with another teacher; take another out=")
    stage = TrainingProgress.from_state(state).stage
    if stage >= len(parts.stages):
        raise ConfigError(
            f"stages: {folder} was stopped in stage {stage + 1}, and there are {len(parts.stages)} now; take "
            "another out="
        )


def check_state(state: dict[str, Any], stage: Stage, progress: TrainingProgress, folder: Path) -> None:
    """Refuse a checkpoint whose weights, losses or optimizer differ in kind or shape from those of the stage.

    Raises:
        ConfigError: naming what differs.
    """
    problems = [
        *_shapes("model", saved_state(state, "model"), stage.parts.model.state_dict()),
        *_shapes("loss", saved_state(state, "loss"), stage.loss.state_dict()),
        *_optimizer(state, stage.optimizer),
    ]
    if progress.batch and state["batches"] != len(stage.batches):
        problems.append(
            f"an epoch has {len(stage.batches)} batches, it had {state['batches']}, and the run was stopped "
            "within one: finish the epoch with the old values first"
        )
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise ConfigError(
            f"{folder}: its checkpoint does not fit the new values:{listed}\nGo on with the "
            "values that it was started with, or take another out="
        )


def optimizer_kind(optimizer: torch.optim.Optimizer) -> str:
    """Dotted name of the optimizer's class, without wrappers."""
    inner = getattr(optimizer, "optimizer", optimizer)
    inner = inner.inner if isinstance(inner, RowSparse) else inner
    return f"{type(inner).__module__}.{type(inner).__qualname__}"


def trained_shapes(optimizer: torch.optim.Optimizer) -> list[list[int]]:
    """Shapes of the trained parameters, in order."""
    return [list(p.shape) for group in optimizer.param_groups for p in group["params"]]


def _shapes(owner: str, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> list[str]:
    """The first tensors that are missing, new, or of another shape."""
    results = [f"{owner}: {name} is new" for name in new if name not in old]
    results += [f"{owner}: {name} is no longer there" for name in old if name not in new]
    results += [
        f"{owner}: {name} is {list(new[name].shape)}, was {list(old[name].shape)}"
        for name in new
        if name in old and old[name].shape != new[name].shape
    ]
    return _first(results)


def _first(problems: list[str]) -> list[str]:
    more = len(problems) - MAX_LISTED
    return problems[:MAX_LISTED] + ([f"… and {more} more"] if more > 0 else [])


def _optimizer(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> list[str]:
    kind = optimizer_kind(optimizer)
    if state["optimizer_kind"] != kind:
        return [f"optimizer: is {kind}, was {state['optimizer_kind']}"]
    saved = saved_state(state, "optimizer")
    sizes = [[len(g["params"]) for g in groups] for groups in (saved["param_groups"], optimizer.param_groups)]
    if sizes[0] != sizes[1]:
        return [
            f"optimizer: {sum(sizes[1])} trained tensors in {len(sizes[1])} groups, there were "
            f"{sum(sizes[0])} in {len(sizes[0])} (freeze, unfreeze, layer_decay, rates, stages)"
        ]
    if state["trained"] != trained_shapes(optimizer):
        return ["optimizer: other tensors are trained than before (freeze, unfreeze, rates, stages)"]
    return _first([f"optimizer: {name} has no state yet" for name in _missing(saved, optimizer)])


def _missing(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the state that the optimizer needs with its new values and that the checkpoint lacks.

    Found by letting an optimizer of the same kind step on a small tensor.
    """
    if not saved["state"]:
        return []
    inner = getattr(optimizer, "optimizer", optimizer)
    inner = inner.inner if isinstance(inner, RowSparse) else inner
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones_like(weight)
    group = {k: v for k, v in inner.param_groups[0].items() if k not in ("params", "fused")}
    try:
        tried = type(inner)([{**group, "params": [weight]}])  # type: ignore[call-arg]  # pyrefly: ignore
        tried.step()
    except Exception:  # an optimizer of the user's own; `check_optimizer` has tried it with its own values
        return []
    return [name for name in tried.state[weight] if all(name not in each for each in saved["state"].values())]


def fingerprint(table: Table | None) -> dict[str, str] | None:
    """Hashes of a table's rows and of its files; None without a table.

    In large tables, only files evenly spread over the rows are hashed. Modification times do not matter, so a
    dataset may be copied.
    """
    if table is None:
        return None
    columns = [name for name in ("path", "label", *BOX) if name in table.frame.columns]
    rows = table.frame.select(columns).write_csv()
    files = [os.fspath(table.folder / path) for path in table.frame["path"].to_list()]
    sizes, contents = hashlib.sha256(), hashlib.sha256()
    for file in _spread(files, SIZES):
        sizes.update(f"{_size(file)}\n".encode())
    for file in _spread(files, CONTENTS):
        contents.update(_content(file))
    result = {"rows": hashlib.sha256(rows.encode()), "files": sizes, "contents": contents}
    return {name: value.hexdigest() for name, value in result.items()}


def different_images(before: dict[str, str] | None, table: Table | None, split: str) -> list[str]:
    """What has changed in the images of a split since `before`, their `fingerprint`."""
    now = fingerprint(table)
    if before == now:
        return []
    if before is None or now is None:
        return ["there were none" if before is None else "there are none now"]
    if before["rows"] != now["rows"]:
        return [f"other {split} images: rows, labels or boxes differ"]
    return [f"the files of {split} images were changed"]


def _spread(files: list[str], count: int) -> list[str]:
    return [
        files[row] for row in np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).astype(int))
    ]


def _size(file: str) -> int:
    """Bytes of a file; -1 where they are not known, as in a shard."""
    try:
        return Path(file).stat().st_size
    except OSError:
        return -1


def _content(file: str) -> bytes:
    """The first and the last bytes of a file; nothing where it cannot be read, as in a shard."""
    if parse_member(file) is not None:
        return b""
    try:
        with Path(file).open("rb") as handle:
            first = handle.read(PIECE)
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(len(first), size - PIECE))
            return hashlib.sha256(first + handle.read()).digest()
    except OSError:
        return b""
