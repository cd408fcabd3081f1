"""All that changes while training runs, as one state to save and to go on from."""

import logging
import math
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import broadcast_object_list
from torch import Tensor

from lookalike.data.images import Batch
from lookalike.data.table import Table
from lookalike.errors import ConfigError, LookalikeError, Problem, list_problems
from lookalike.files import replace_file
from lookalike.losses.modifiers import Terms
from lookalike.losses.sharded import parameters_by_process
from lookalike.metrics.records import sign_of
from lookalike.model.embedder import EmbeddingModel
from lookalike.plots.first_batch import first_batch
from lookalike.training.checkpoint import Checkpoints, random_states, set_random_states
from lookalike.training.components import RunComponents
from lookalike.training.diagnostics import Diagnostics
from lookalike.training.embedding_bank import gather_bank, load_bank, refresh_bank
from lookalike.training.fingerprint import fingerprint
from lookalike.training.fitting import (
    FORMAT,
    apply_changes,
    check_state,
    hyperparameters,
    optimizer_kind,
    trained_shapes,
)
from lookalike.training.groups import rates_by_name
from lookalike.training.history import History, Means, Row, local_time
from lookalike.training.image_usage import ImageUsage, usage_statistics, write_uses
from lookalike.training.nonfinite import NonFiniteSteps
from lookalike.training.optimise import Average
from lookalike.training.plateau import Plateau
from lookalike.training.processes import Embedded, embed_together, equalise_parameters, gather_from_all
from lookalike.training.progress import TrainingProgress
from lookalike.training.stage import Stage
from lookalike.training.validation import (
    LOSS,
    Support,
    check_alive,
    keep_best,
    support,
    uses_length,
    validate,
)

FILE = "first_batch.png"


def epoch_folder(run: Path, epoch: int) -> Path:
    """Model folder of an epoch in a run folder, where all are kept; names sort up to epoch 999."""
    return run / "epochs" / f"{epoch:03d}"


def displayable(images: Tensor) -> Tensor:
    """Images [B, 3, H, W] as uint8; float images, whose range nobody knows, are stretched over all of it."""
    if images.dtype == torch.uint8:
        return images
    low, high = images.amin(), images.amax()
    return (255 * (images - low) / (high - low).clamp_min(1e-6)).round().to(torch.uint8)


def show_first_batch(batch: Batch, table: Table, folder: Path) -> Path:
    """Write first_batch.png: this process's images after augmentation, under their labels."""
    labels = table.frame["label"].gather(batch.rows.numpy()).to_list()
    images = displayable(batch.images).permute(0, 2, 3, 1).contiguous().numpy()
    picture = first_batch(images, labels, "First training batch, as augmented")
    replace_file(folder / FILE, lambda temporary: picture.save(temporary, format="PNG"))
    return folder / FILE


log = logging.getLogger(__name__)


@dataclass
class Result:
    """What training came to: the best epoch, its score, the rows that could not be read.

    Attributes:
        epochs: how many are finished.
        improved_epoch: the last one with a better score than all before it.
        equal_epochs: how many epochs have the best score.
    """

    epochs: int = 0
    best_epoch: int = 0
    best_score: float | None = None
    improved_epoch: int = 0
    equal_epochs: int = 0
    minutes: float = 0.0
    skipped: dict[str, Problem] = field(default_factory=dict)

    def skip(self, problems: Iterable[Problem]) -> None:
        """Note rows that could not be read, each once."""
        self.skipped.update({str(problem): problem for problem in problems})

    def best(self) -> dict[str, Any]:
        """Which epoch is kept, and why."""
        names = ("best_epoch", "best_score", "improved_epoch", "equal_epochs")
        return {name: getattr(self, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "skipped": [astuple(problem) for problem in self.skipped.values()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        problems = [Problem(*values) for values in state["skipped"]]
        self.__dict__.update({**state, "skipped": {}})
        self.skip(problems)


class Training:
    """Everything that a step or an epoch changes.

    Args:
        parts: what the run is made of.
        stage: the stage that training is in.
        folder: the run folder.
        result: what training has come to.
    """

    def __init__(self, parts: RunComponents, stage: Stage, folder: Path, result: Result):
        self.parts, self.stage, self.folder, self.result = parts, stage, folder, result
        decay = parts.settings.average
        self.averaged = Average(parts.model, decay) if decay else None
        self.history, self.means = History(folder / "history.csv"), Means()
        self.bad = NonFiniteSteps(folder, parts.train, parts.accelerator)
        self.bad.follow(parts.model, stage.loss)
        self.watch = Diagnostics(parts.train, parts.settings.best_metric, parts.epochs)
        self.support = Support()
        self.built_with = hyperparameters(stage.optimizer)
        self.tables: dict[str, Any] = {}
        self.uses = ImageUsage(len(parts.train))

    @property
    def total_steps(self) -> int:
        """Batches of all stages."""
        current, classes = self.stage, self.stage.images.class_ids
        return sum(
            plan.epochs * len(current.batches if plan is current.plan else plan.sampler(classes))
            for plan in self.parts.stages
            if plan.epochs
        )

    def accumulate_gradients(self, batch: Batch, progress: TrainingProgress, images: int) -> None:
        """Add the gradient of a batch, and note what it tells if its loss is a number.

        Args:
            batch: the share of this process.
            progress: counts the batch already.
            images: of the batch in all processes.
        """
        parts, loss = self.parts, self.stage.loss
        if progress.steps == 1 and parts.accelerator.is_main_process:
            parts.trackers.log_image("first_batch", show_first_batch(batch, parts.train, self.folder))
        value = self.stage.backward(batch, progress)
        if self.bad.is_finite(value, batch, loss.batch[0]):
            self.means.add({"loss": value, **loss.logged_values()}, images)
            self.uses.add(batch.rows)
            self.watch.update(loss)
            parts.trackers.log_step(value.item, progress.steps)

    def step(self, progress: TrainingProgress) -> None:
        """One step of the optimiser; none if the gradients are no numbers.

        Raises:
            LookalikeError: they were none in one step after the other.
        """
        location = {"step": progress.steps, "epoch": progress.epoch, "stage": progress.stage + 1}
        gradient = self.stage.clip()
        if not self.bad.step_is_finite(gradient, **location, **rates_by_name(self.stage.optimizer)):
            self.stage.drop()
            return
        self.watch.note_gradient(gradient)
        self.stage.update()
        if self.averaged:
            self.averaged.update(self.parts.model)

    def end_epoch(self, progress: TrainingProgress, speed: float) -> None:
        """Judge the model, keep it if it is the best so far, and write the epoch's row of the history.

        Raises:
            LookalikeError: not one image of the epoch could be read.
        """
        accelerator, model = self.parts.accelerator, self.parts.model
        self.result.skip(gather_from_all(self.result.skipped.values(), accelerator))
        if self.means.count == 0:
            raise LookalikeError(
                "not one training image could be read" + list_problems([*self.result.skipped.values()])
            )
        judged = self.averaged.model if self.averaged else model
        check_alive(self.watch.batch[0].float().cpu().numpy())
        equalise_parameters([model, judged], self.stage.loss)
        embedded, notes = self._embed_validation(judged), [self.bad.summary()]
        rows, uses, logged = self.means.count, self.uses.total(accelerator), {}
        if accelerator.is_main_process:
            scores = self._scores(progress, embedded, notes)
            used = {"rows": rows, **usage_statistics(uses)}
            logged = self._record(progress, judged, scores, {**used, "images_per_second": speed}, notes)
            write_uses(self.folder, self.parts.train, uses)
        best, logged = broadcast_object_list([self.result.best(), logged])
        self.result.__dict__.update(best)
        self.result.epochs = progress.epoch
        metric = self.parts.settings.best_metric
        score = logged.get(f"val_{metric}")
        if isinstance(self.stage.plan.schedule, Plateau) and score is not None:
            self.stage.plan.schedule.observe(sign_of(metric) * score)
        self.means.clear()
        if progress.epoch < self.parts.epochs:
            refresh_bank(self.stage.batches, progress.epoch, logged, self.parts, self.result.skip)

    def begin_or_resume(self, state: dict[str, Any] | None, progress: TrainingProgress) -> None:
        """Take over a checkpoint if there is one, else do what the first epoch needs before it."""
        self._check_validation()
        parts = self.parts
        self.tables = {"training": fingerprint(parts.train), "validation": fingerprint(parts.validation)}
        if state is not None:
            self.resume(state, progress)
        elif self.parts.epochs:
            refresh_bank(self.stage.batches, progress.epoch - 1, {}, self.parts, self.result.skip)

    def _check_validation(self) -> None:
        """Find out what the validation images can tell, and say what follows if they cannot choose a model.

        Raises:
            ConfigError: they support other metrics than the one asked for, or the schedule waits for a score.
        """
        validation, metric = self.parts.validation, self.parts.settings.best_metric
        patience = any(plan.patience is not None for plan in self.parts.stages)
        if validation is None:
            if patience:
                log.warning("patience is ignored: there are no validation images to judge an epoch by")
            return
        self.support = support(validation.labels)
        reason = self.support.reason(metric)
        if not reason:
            return
        plateau = any(isinstance(plan.schedule, Plateau) for plan in self.parts.stages)
        if plateau or not (self.support.problem or metric in self.support.constant):
            waits = "scheduler=plateau waits for it: take another scheduler or more validation images. "
            choices = ", ".join(self.support.metrics) or "none"
            raise ConfigError(
                f"best_metric={metric}: {reason}. {waits if plateau else ''}These {len(validation)} "
                f"validation images support {choices}"
            )
        log.warning(
            "validation cannot choose an epoch: %s. The last epoch is kept%s. Use more validation identities "
            "with two images or more each (split=val in the table, or val_share)",
            *(reason, ", and patience is ignored" if patience else ""),
        )

    def _embed_validation(self, judged: EmbeddingModel) -> Embedded | str | None:
        """Vectors of the validation images, or why there are none; None where nothing can be evaluated."""
        if self.support.problem and self.support.complete:
            return None
        return embed_together(
            judged, self.parts.validation, self.parts.accelerator, uses_length(self.stage.loss)
        )

    def _scores(
        self, progress: TrainingProgress, embedded: Embedded | str | None, notes: list[str]
    ) -> dict[str, float]:
        """Losses and scores of an epoch; none, and a note, where evaluation fails.

        Raises:
            LookalikeError: training has diverged.
        """
        settings, problem = self.parts.settings, embedded
        if embedded is None:
            return {}
        if not isinstance(embedded, str):
            self.result.skip(embedded.embeddings.skipped)
            check_alive(embedded.embeddings.vectors)
            try:
                return validate(
                    embedded, self.stage.loss, settings.best_metric, settings.seed, len(self.watch.names)
                )
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                log.debug("validation failed", exc_info=True)
        notes.append(f"validation failed: {problem}")
        log.warning(
            "epoch %d: validation failed, so this epoch has no scores and training continues: %s",
            *(progress.epoch, problem),
        )
        return {}

    def _record(
        self,
        progress: TrainingProgress,
        judged: EmbeddingModel,
        scores: dict[str, float],
        measured: Row,
        notes: list[str],
    ) -> dict[str, float]:
        """Write the epoch's row, keep the model if it is the best, and return losses and scores."""
        parts, result, metric = self.parts, self.result, self.parts.settings.best_metric
        stage = {"stage": progress.stage + 1} if len(parts.stages) > 1 else {}
        row: Row = {"epoch": progress.epoch, **stage, **self.means.all_means(), **measured, **scores}
        row |= {"validation_rows": len(parts.validation)} if parts.validation else {}
        row |= rates_by_name(self.stage.optimizer)
        row |= {"minutes": result.minutes, "date": local_time()}
        warnings = self.watch.end_epoch(row, self.history.rows, self.stage.loss)
        self.history.add({**row, "notes": "; ".join([*filter(None, notes), *warnings])})
        parts.trackers.log_epoch(self.history.rows[-1], progress.steps)
        score = None if self.support.reason(metric) else scores.get(f"val_{metric}")
        keep_best(judged, score, metric, self.folder / "model", result, progress.epoch)
        if parts.settings.keep_epochs == "all":
            folder = epoch_folder(self.folder, progress.epoch)
            judged.save(folder, card_text=f"The model after epoch {progress.epoch}.")
        return {name: float(value) for name, value in {**self.means.all_means(), **scores}.items()}

    def is_finished(self, progress: TrainingProgress) -> bool:
        """Whether all stages are done."""
        return progress.stage == len(self.parts.stages) - 1 and self._stage_is_finished(progress)

    def next_stage(self, progress: TrainingProgress) -> bool:
        """Begin the next stage if this one is over and there is one; whether one began."""
        began = False
        while self._stage_is_finished(progress) and progress.stage + 1 < len(self.parts.stages):
            progress.next_stage()
            before, began, old = self.stage.batches, True, self.stage.loss
            self.stage = Stage(self.parts, progress.stage, self.stage.loss, fresh=True)
            self.built_with = hyperparameters(self.stage.optimizer)
            self._forget_losses(progress, old)
            load_bank(gather_bank(before), self.stage.batches)
            self.bad.follow(self.parts.model, self.stage.loss)
        if began:
            refresh_bank(self.stage.batches, progress.epoch - 1, {}, self.parts, self.result.skip)
        return began

    def _forget_losses(self, progress: TrainingProgress, before: Terms) -> None:
        """Choose the best epoch anew where it is chosen by the loss, and the stage before had another one."""
        now = self.stage.loss
        same = now.weights == before.weights and all(now.losses[n] is before.losses[n] for n in now.weights)
        if self.parts.settings.best_metric != LOSS or same or self.result.best_score is None:
            return
        self.result.best_score = None
        log.warning(
            "stage %d has other losses than the stage before, whose values cannot be compared: the "
            "best epoch is chosen anew from here on",
            progress.stage + 1,
        )

    def _stage_is_finished(self, progress: TrainingProgress) -> bool:
        plan = self.stage.plan
        waited = progress.epoch - 1 - max(self.result.improved_epoch, progress.epoch - progress.within)
        return progress.within > plan.epochs or (plan.patience is not None and waited >= plan.patience)

    def save(self, checkpoints: Checkpoints, progress: TrainingProgress) -> None:
        """Write a checkpoint from the main process; the others send what only they know."""
        accelerator, loss, optimizer = self.parts.accelerator, self.stage.loss, self.stage.optimizer
        own_state = {"random": random_states(accelerator.device)}
        if parameters_by_process(loss):
            own_state |= {"loss": dict(loss.state_dict()), "optimizer": optimizer.state_dict()}
        everyone: list[Any] = [own_state]
        if accelerator.num_processes > 1:
            everyone = [None] * accelerator.num_processes
            dist.all_gather_object(everyone, own_state)
        uses = self.uses.total(accelerator)
        if accelerator.is_main_process:
            checkpoints.save(progress.steps, self._state(progress, everyone, uses))
        accelerator.wait_for_everyone()

    def resume(self, state: dict[str, Any], progress: TrainingProgress) -> None:
        """Take over a checkpoint, with the values that were changed since.

        Raises:
            ConfigError: it does not fit the values of now; nothing was changed.
        """
        check_state(state, self, progress)
        accelerator = self.parts.accelerator
        everyone, rank = state["everyone"], accelerator.process_index
        if len(everyone) != accelerator.num_processes:
            if "loss" in everyone[0]:
                raise ConfigError(
                    f"the run was started with {len(everyone)} processes that divide the classes: "
                    "start as many again"
                )
            log.warning(
                "the run was started with %d processes and goes on with %d: random numbers differ from here",
                *(len(everyone), accelerator.num_processes),
            )
        mine = everyone[min(rank, len(everyone) - 1)]
        self.parts.model.load_state_dict(state["model"])
        self.stage.loss.load_state_dict(mine.get("loss", state["loss"]))
        self.stage.optimizer.load_state_dict(mine.get("optimizer", state["optimizer"]))
        apply_changes(self.stage.optimizer, state["hyperparameters"], self.built_with)
        if isinstance(self.stage.plan.schedule, Plateau) and state["schedule"] is not None:
            self.stage.plan.schedule.load_state_dict(state["schedule"])
        if self.averaged is not None and state["averaged"] is not None:
            self.averaged.model.load_state_dict(state["averaged"]["model"])
            self.averaged.steps = state["averaged"]["steps"]
        elif self.averaged is not None:
            self.averaged = Average(self.parts.model, self.averaged.decay)
            log.warning("average=%g: the average begins with the weights of now", self.averaged.decay)
        if accelerator.scaler is not None and state["scaler"]:
            accelerator.scaler.load_state_dict(state["scaler"])
        self.history.rows = state["history"]
        self.means.load_state_dict(state["means"])
        self.result.load_state_dict(state["result"])
        self.bad.load_state_dict(state["bad"])
        self.bad.follow(self.parts.model, self.stage.loss)
        self.watch.load_state_dict(state["watch"])
        self.uses.load_total(state["uses"], accelerator)
        load_bank(state["bank"], self.stage.batches)
        set_random_states(mine["random"], accelerator.device)
        self._change_metric(state["best_metric"])
        progress.step = (progress.within - 1) * len(self.stage.batches) + progress.batch
        log.info("going on from epoch %d, after %d batches of it", progress.epoch, progress.batch)

    def _change_metric(self, before: str) -> None:
        """Let another metric than before choose the best epoch from here on."""
        metric, result = self.parts.settings.best_metric, self.result
        if metric == before:
            return
        column = f"val_{metric}"
        known = {int(row["epoch"]): row.get(column) for row in self.history.rows}
        score = known.get(result.best_epoch)
        result.best_score = float(score) if isinstance(score, int | float) and math.isfinite(score) else None
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

    def _teacher_space(self) -> str | None:
        return None if self.parts.teacher is None else self.parts.teacher.space

    def _state(self, progress: TrainingProgress, everyone: list[Any], uses: Tensor) -> dict[str, Any]:
        averaged, scaler = self.averaged, self.parts.accelerator.scaler
        schedule = self.stage.plan.schedule
        return {
            "format": FORMAT,
            "position": astuple(progress),
            "tables": self.tables,
            "best_metric": self.parts.settings.best_metric,
            "batches": len(self.stage.batches),
            "hyperparameters": self.built_with,
            "trained": trained_shapes(self.stage.optimizer),
            "optimizer_kind": optimizer_kind(self.stage.optimizer),
            "teacher": self._teacher_space(),
            "model": dict(self.parts.model.state_dict()),
            "loss": dict(self.stage.loss.state_dict()),
            "optimizer": self.stage.optimizer.state_dict(),
            "schedule": schedule.state_dict() if isinstance(schedule, Plateau) else None,
            "averaged": averaged and {"model": dict(averaged.model.state_dict()), "steps": averaged.steps},
            "scaler": scaler and scaler.state_dict(),
            "history": self.history.rows,
            "means": self.means.state_dict(),
            "result": self.result.state_dict(),
            "bad": self.bad.state_dict(),
            "watch": self.watch.state_dict(),
            "uses": uses,
            "bank": gather_bank(self.stage.batches),
            "everyone": everyone,
        }
