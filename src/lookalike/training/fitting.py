"""Whether a checkpoint fits a run as it is configured now: found out before anything is changed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lookalike.errors import ConfigError
from lookalike.training.fingerprint import different_images
from lookalike.training.optimise import RowSparse
from lookalike.training.progress import TrainingProgress

if TYPE_CHECKING:
    from pathlib import Path

    from lookalike.training.components import RunComponents
    from lookalike.training.state import Training

SHOWN = 3
FORMAT = 2
"""Of checkpoints; raised when what they hold changes."""


def check_data(state: dict[str, Any], parts: "RunComponents", folder: "Path") -> None:
    """Refuse other images, another teacher, fewer stages than those that are over, and older checkpoints.

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


def check_state(state: dict[str, Any], training: "Training", progress: TrainingProgress) -> None:
    """Refuse a checkpoint whose weights, losses or optimizer are of another kind than those of now.

    Raises:
        ConfigError: naming what differs.
    """
    stage, model = training.stage, training.parts.model
    mine = state["everyone"][0]
    problems = [
        *_shapes("model", state["model"], model.state_dict()),
        *_shapes("loss", mine.get("loss", state["loss"]), stage.loss.state_dict()),
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
            f"{training.folder}: its checkpoint does not fit the new values:{listed}\nGo on with the "
            "values that it was started with, or take another out="
        )


def optimizer_kind(optimizer: torch.optim.Optimizer) -> str:
    """The class that takes the steps, whatever wraps it."""
    inner = getattr(optimizer, "optimizer", optimizer)
    inner = inner.inner if isinstance(inner, RowSparse) else inner
    return f"{type(inner).__module__}.{type(inner).__qualname__}"


def hyperparameters(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What each group of an optimizer was built with, apart from its parameters."""
    return [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]


def trained_shapes(optimizer: torch.optim.Optimizer) -> list[list[int]]:
    """Shapes of the parameters, in order."""
    return [list(p.shape) for group in optimizer.param_groups for p in group["params"]]


def apply_changes(
    optimizer: torch.optim.Optimizer, before: list[dict[str, Any]], now: list[dict[str, Any]]
) -> None:
    """Let an optimizer that has loaded a state go on with the values that were changed since.

    Args:
        optimizer: changed in place; what it counts in its groups stays.
        before: `hyperparameters` when the run was started.
        now: those of the optimizer as it was built now.
    """
    for group, old, new in zip(optimizer.param_groups, before, now, strict=True):
        group.update({name: value for name, value in new.items() if name not in old or old[name] != value})


def _shapes(owner: str, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> list[str]:
    """Tensors that are missing, new, or of other shapes; the first of them."""
    results = [f"{owner}: {name} is new" for name in new if name not in old]
    results += [f"{owner}: {name} is no longer there" for name in old if name not in new]
    results += [
        f"{owner}: {name} is {list(new[name].shape)}, was {list(old[name].shape)}"
        for name in new
        if name in old and old[name].shape != new[name].shape
    ]
    return _first(results)


def _first(problems: list[str]) -> list[str]:
    more = len(problems) - SHOWN
    return problems[:SHOWN] + ([f"… and {more} more"] if more > 0 else [])


def _optimizer(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> list[str]:
    kind = optimizer_kind(optimizer)
    if state["optimizer_kind"] != kind:
        return [f"optimizer: is {kind}, was {state['optimizer_kind']}"]
    saved = state["everyone"][0].get("optimizer", state["optimizer"])
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
    """State that a step of the optimizer wants with its values of now, and that the checkpoint lacks.

    Found by a step of a copy on one number.
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
    except Exception:  # an optimizer of the user's own; it was tried with its own values before
        return []
    return [name for name in tried.state[weight] if all(name not in each for each in saved["state"].values())]
