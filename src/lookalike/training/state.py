"""All that changes while a run trains, and the one list of it that is saved and resumed."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch.distributed as dist
from torch import Tensor

from lookalike.data.images import Batch
from lookalike.errors import ConfigError
from lookalike.losses.modifiers import Terms
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.checkpoint import Checkpoints, random_states, set_random_states
from lookalike.training.compatibility import (
    check_data,
    check_state,
    describe_run,
    describe_stage,
    saved_state,
)
from lookalike.training.components import RunComponents
from lookalike.training.diagnostics import Diagnostics
from lookalike.training.dry_run import dry_run
from lookalike.training.embedding_bank import refresh_bank
from lookalike.training.hard_negatives import HardNegatives
from lookalike.training.history import History, ImageUsage, Means, Result
from lookalike.training.nonfinite import NonFiniteSteps
from lookalike.training.optimise import Average
from lookalike.training.plateau import Plateau
from lookalike.training.stage import Stage, TrainingProgress
from lookalike.training.validation import Validation
from lookalike.training.validation_loss import LOSS

log = logging.getLogger(__name__)
DIVIDED = ("loss", "optimizer")
"""Objects that each process saves for itself where the classes are divided among the processes."""


class Stateful(Protocol):
    """An object that can be saved and resumed."""

    def state_dict(self) -> Any:
        """Tensors and plain values, in any nesting of dicts, lists and tuples."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Continue from such a state."""


@dataclass
class StateOf:
    """State whose functions have other names."""

    state_dict: Callable[[], Any]
    load_state_dict: Callable[[Any], Any]


class Training:
    """Everything that a step or an epoch changes.

    Args:
        parts: the components of the run; the model is changed in place.
        folder: the run folder.
        result: filled epoch by epoch, so that it is right when training stops early.
        progress: where training is.
        fresh: start new proxies from the data; False where a checkpoint is loaded afterwards.

    Raises:
        ConfigError: the values do not fit the model or the images.
    """

    def __init__(
        self, parts: RunComponents, folder: Path, result: Result, progress: TrainingProgress, fresh: bool
    ):
        self.parts, self.folder, self.result, self.progress = parts, folder, result, progress
        self.stage = Stage(parts, progress.stage, None, fresh)
        self.description = describe_run(parts, self.stage)
        decay = parts.settings.average
        self.average = Average(parts.model, decay) if decay else None
        self.history, self.means = History(folder / "history.csv"), Means()
        self.nonfinite = NonFiniteSteps(folder, parts.train, parts.accelerator)
        self.nonfinite.follow(parts.model, self.stage.loss)
        self.diagnostics = Diagnostics(parts.train, parts.settings.best_metric, parts.epochs)
        self.usage = ImageUsage(len(parts.train), parts.accelerator)

    def saved_objects(self) -> dict[str, Stateful | None]:
        """Everything that a checkpoint holds, by name; None for what this run does without.

        `save` and `resume` are one loop over it. To make something resumable, add it here.
        """
        stage, device = self.stage, self.parts.accelerator.device
        schedule, batches = stage.plan.schedule, stage.batches
        has_bank = isinstance(batches, HardNegatives)
        return {
            "position": self.progress,
            "model": self.parts.model,
            "loss": stage.loss,
            "optimizer": stage.optimizer,
            "hyperparameters": StateOf(lambda: stage.hyperparameters, stage.update_hyperparameters),
            "schedule": schedule if isinstance(schedule, Plateau) else None,
            "averaged": self.average,
            "scaler": self.parts.accelerator.scaler,
            "history": self.history,
            "means": self.means,
            "result": self.result,
            "bad": self.nonfinite,
            "watch": self.diagnostics,
            "uses": self.usage,
            "bank": StateOf(batches.bank_state, batches.load_bank_state) if has_bank else None,
            "random": StateOf(partial(random_states, device), partial(set_random_states, device=device)),
        }

    def save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint from the main process; the others send it what is theirs alone."""
        accelerator = self.parts.accelerator
        shared = {name: each and each.state_dict() for name, each in self.saved_objects().items()}
        process_state = {"random": shared.pop("random")}
        if self.stage.shards:
            process_state |= {name: shared[name] for name in DIVIDED}
        everyone: list[Any] = [process_state]
        if accelerator.num_processes > 1:
            everyone = [None] * accelerator.num_processes
            dist.all_gather_object(everyone, process_state)
        if accelerator.is_main_process:
            checkpoints.save(self.progress.steps, {**self.description, **shared, "everyone": everyone})
        accelerator.wait_for_everyone()

    def resume(self, state: dict[str, Any]) -> None:
        """Load a checkpoint; values that were changed since take effect.

        Raises:
            ConfigError: it does not fit the new values; nothing was changed.
        """
        accelerator, progress, stage = self.parts.accelerator, self.progress, self.stage
        check_state(state, stage, progress, self.folder)
        _check_processes(state, accelerator.num_processes)
        for name, each in self.saved_objects().items():
            saved = saved_state(state, name, accelerator.process_index)
            if each is not None and saved is not None:
                each.load_state_dict(saved)
        if self.average is not None and saved_state(state, "averaged") is None:
            self.average = Average(self.parts.model, self.average.decay)
            log.warning("average=%g: averaging starts from the current weights", self.average.decay)
        self.nonfinite.follow(self.parts.model, stage.loss)
        self._change_metric(state["best_metric"])
        progress.step = (progress.within - 1) * len(stage.batches) + progress.batch
        log.info("resuming in epoch %d, after %d batches of it", progress.epoch, progress.batch)

    def _change_metric(self, before: str) -> None:
        """Choose the best epoch by another metric than before from here on, if it was changed."""
        metric, result = self.parts.settings.best_metric, self.result
        if metric == before:
            return
        column = f"val_{metric}"
        known = {int(row["epoch"]): row.get(column) for row in self.history.rows}
        score = known.get(result.best_epoch)
        result.best_score = float(score) if isinstance(score, int | float) and math.isfinite(score) else None
        result.peak_score, result.peak_error, result.peak_epoch = result.best_score, 0.0, result.best_epoch
        result.improved_epoch, result.equal_epochs = result.best_epoch, 1
        if isinstance(self.stage.plan.schedule, Plateau):
            self.stage.plan.schedule.best, self.stage.plan.schedule.waited = -math.inf, 0
        log.warning(
            "best_metric=%s chose epoch %d so far. From here on %s chooses: %s",
            *(before, result.best_epoch, metric),
            "it starts as the best so far"
            if result.best_score is not None
            else "it was not measured in that epoch, so the next epoch replaces it",
        )

    @property
    def total_batches(self) -> int:
        """Batches of all stages."""
        current, classes = self.stage, self.stage.images.class_ids
        return sum(
            plan.epochs * len(current.batches if plan is current.plan else plan.sampler(classes))
            for plan in self.parts.stages
            if plan.epochs
        )

    @property
    def evaluated_model(self) -> EmbeddingModel:
        """The model that is validated and kept: the moving average, if there is one."""
        return self.parts.model if self.average is None else self.average.model

    def record_batch(self, loss: Tensor, batch: Batch, images: int) -> None:
        """Add a batch to the means, image counts and diagnostics of the epoch, if its loss is finite.

        Args:
            loss: of the whole batch, detached.
            batch: the share of this process.
            images: number of images of the batch in all processes.
        """
        terms = self.stage.loss
        if self.nonfinite.is_finite(loss, batch, terms.batch[0]):
            self.means.add({"loss": loss, **terms.logged_values()}, images)
            self.usage.add(batch.rows)
            self.diagnostics.update(terms)
            self.parts.trackers.log_step(loss.item, self.progress.steps)

    def is_finished(self) -> bool:
        """Whether all stages are done."""
        return self.progress.stage == len(self.parts.stages) - 1 and self._stage_is_finished()

    def next_stage(self) -> None:
        """Begin the next stage if this one is finished and there is one."""
        began, progress = False, self.progress
        while self._stage_is_finished() and progress.stage + 1 < len(self.parts.stages):
            progress.next_stage()
            old, began = self.stage, True
            self.stage = Stage(self.parts, progress.stage, old.loss, fresh=True)
            self.description |= describe_stage(self.stage)
            self._reset_best_loss(old.loss)
            if isinstance(old.batches, HardNegatives) and isinstance(self.stage.batches, HardNegatives):
                self.stage.batches.load_bank_state(old.batches.bank_state())
            self.nonfinite.follow(self.parts.model, self.stage.loss)
        if began:
            refresh_bank(self.stage.batches, progress.epoch - 1, {}, self.parts, self.result.skip)
            log.info("stage %d of %d begins", progress.stage + 1, len(self.parts.stages))

    def _reset_best_loss(self, before: Terms) -> None:
        """Forget the best loss where it chooses the best epoch and the previous stage had other losses."""
        now = self.stage.loss
        same = now.weights == before.weights and all(now.losses[n] is before.losses[n] for n in now.weights)
        if self.parts.settings.best_metric != LOSS or same or self.result.best_score is None:
            return
        self.result.best_score = None
        log.warning(
            "the losses of stage %d differ from those of the stage before, so their values cannot be "
            "compared: the best epoch is chosen anew from here on",
            self.progress.stage + 1,
        )

    def _stage_is_finished(self) -> bool:
        plan, progress = self.stage.plan, self.progress
        waited = progress.epoch - 1 - max(self.result.improved_epoch, progress.epoch - progress.within)
        return progress.within > plan.epochs or (plan.patience is not None and waited >= plan.patience)


def prepare_training(
    parts: RunComponents, folder: Path, result: Result, state: dict[str, Any] | None
) -> tuple[Training, Validation]:
    """Everything as it is before the next step; writes nothing.

    Args:
        parts: the model is changed in place.
        folder: the run folder.
        result: see `Training`.
        state: the checkpoint to resume from; None to start.

    Raises:
        ConfigError: the checkpoint does not fit the values or the images, or validation cannot support them.
        LookalikeError: the dry run failed.
    """
    if state is not None:
        check_data(state, parts, folder)
    training = Training(parts, folder, result, TrainingProgress.from_state(state), fresh=state is None)
    if state is None and parts.epochs:
        dry_run(training.stage)
    validation = Validation(parts)
    if state is not None:
        training.resume(state)
    elif parts.epochs:
        refresh_bank(training.stage.batches, 0, {}, parts, result.skip)
    return training, validation


def _check_processes(state: dict[str, Any], processes: int) -> None:
    """Warn if the number of processes has changed.

    Raises:
        ConfigError: it must not change, since each process holds a part of the classes.
    """
    before = len(state["everyone"])
    if before == processes:
        return
    if "loss" in state["everyone"][0]:
        raise ConfigError(
            f"the run was started with {before} processes that divide the classes: start as many again"
        )
    log.warning(
        "the run was started with %d processes and continues with %d: random numbers differ from here on",
        *(before, processes),
    )
