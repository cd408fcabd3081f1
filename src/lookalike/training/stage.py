"""What a stage trains with, and the parts of one step: batches, rates, forward, backward, clipping."""

import logging
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lookalike.data.images import Batch, ImageTable, collate
from lookalike.data.table import class_ids
from lookalike.losses.distillation import Distillation
from lookalike.losses.modifiers import Terms, set_progress
from lookalike.losses.sampled import samples_classes
from lookalike.losses.sharded import parameters_by_process
from lookalike.machine import choose_workers
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.accumulate import ForwardPass, depends_on_chunks
from lookalike.training.components import RunComponents
from lookalike.training.hard_negatives import HardNegatives
from lookalike.training.optimise import RowSparse, clip_gradients, shrink_images
from lookalike.training.parameters import parameter_groups, refreeze, train_mode
from lookalike.training.processes import Share, average_gradients, prepare_loss
from lookalike.training.sophia import Curvature, Sophia
from lookalike.training.stopping import leave_signals_alone

log = logging.getLogger(__name__)


@dataclass
class TrainingProgress:
    """Where training is, before its first batch by default.

    Attributes:
        stage: the stage, from 0.
        epoch: the epoch of the whole run, from 1.
        within: the epoch of the stage, from 1.
        batch: batches done in this epoch.
        step, steps: batches done in the stage, and in the run.
    """

    stage: int = 0
    epoch: int = 1
    within: int = 1
    batch: int = 0
    step: int = 0
    steps: int = 0

    @classmethod
    def from_state(cls, state: dict[str, Any] | None) -> Self:
        """The progress that a checkpoint was written at; the start without one."""
        return cls(*state["position"]) if state else cls()

    def count_batch(self) -> None:
        """Count one more batch."""
        self.batch, self.step, self.steps = self.batch + 1, self.step + 1, self.steps + 1

    def next_epoch(self) -> None:
        """Move to the start of the next epoch of the stage."""
        self.epoch, self.within, self.batch = self.epoch + 1, self.within + 1, 0

    def next_stage(self) -> None:
        """Move to the start of the next stage."""
        self.stage, self.within, self.step = self.stage + 1, 1, 0

    def state_dict(self) -> tuple[int, ...]:
        """All counts, in order."""
        return astuple(self)

    def load_state_dict(self, state: tuple[int, ...]) -> None:
        """Continue from such counts."""
        self.__dict__.update(vars(type(self)(*state)))


class Features(nn.Module):
    """The model's raw embeddings as `forward`, the only method whose gradients processes can average."""

    def __init__(self, model: EmbeddingModel):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """See `EmbeddingModel.features`."""
        return self.model.features(images)


class Stage:
    """One stage of a run: its losses, optimizer and batches, built when the stage begins.

    Args:
        parts: the model is changed in place.
        number: index of the plan, from 0.
        before: the losses of the previous stage, some of which may continue.
        fresh: start new proxies from the data; False where a checkpoint is loaded afterwards.

    Raises:
        ConfigError: the plan's values do not fit the model or the images.
    """

    def __init__(self, parts: RunComponents, number: int, before: Terms | None, fresh: bool):
        self.parts, self.plan = parts, parts.stages[number]
        plan, model, accelerator = self.plan, parts.model, parts.accelerator
        refreeze(model, parts.trainable, plan.freeze, plan.unfreeze)
        self.loss = plan.losses(before, fresh)
        has_distillation = any(isinstance(term, Distillation) for term in self.loss.losses.values())
        self.teacher = parts.teacher if has_distillation else None
        self.images = ImageTable(
            parts.train,
            plan.augment,
            class_ids(parts.train.labels),
            seed=parts.settings.seed,
            at_least=getattr(plan.augment, "at_least", None),
            cache=parts.cache,
        )
        self.batches = plan.sampler(self.images.class_ids)
        if isinstance(self.batches, HardNegatives):
            self.batches.device = accelerator.device
        optimizer = plan.optimizer(parameter_groups(model, self.loss, plan))
        needs_curvature = isinstance(optimizer, Sophia)
        self.curvature = Curvature(optimizer, self.loss, accelerator) if needs_curvature else None
        if samples_classes(self.loss):
            optimizer = RowSparse(optimizer)
        self.rates = [group["lr"] for group in optimizer.param_groups]
        accelerator.free_memory()
        features = Features(model)
        if parts.settings.compiled:
            features.compile()
        self.features, self.optimizer = accelerator.prepare(features, optimizer)
        self.hyperparameters = group_values(self.optimizer)
        self.criterion = prepare_loss(self.loss, accelerator)
        self.shards = parameters_by_process(self.loss)
        self.mixing = plan.mixing if plan.mixing else None
        self.total, self._unsynchronised = plan.epochs * len(self.batches), False
        self._forward: ForwardPass | None = None

    def epoch_batches(self, progress: TrainingProgress) -> Iterator[Batch]:
        """The remaining batches of an epoch; every process gets its share of each."""
        self.batches.set_epoch(progress.epoch)
        if progress.batch:
            self.batches.load_state_dict(self.batches.state_dict(progress.batch))
        self.images.set_epoch(progress.epoch)
        train_mode(self.parts.model, self.plan.keep_statistics)
        accelerator = self.parts.accelerator
        return iter(
            DataLoader(
                self.images,
                batch_sampler=Share(self.batches, accelerator.process_index, accelerator.num_processes),
                collate_fn=collate,
                num_workers=choose_workers(self.parts.settings.workers, accelerator.device),
                worker_init_fn=leave_signals_alone,
                pin_memory=accelerator.device.type == "cuda",
                generator=torch.Generator(),  # its own, or each epoch would take a number from the model's
            )
        )

    def set_progress(self, progress: TrainingProgress) -> None:
        """Set the learning rates, and losses that change over training, for this batch.

        Rates are those of the middle of the batch: at its start a warm-up is still at 0, which is all that a
        run of one step would ever use.
        """
        factor = self.plan.schedule(min(1.0, (progress.step - 0.5) / self.total))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        set_progress(self.loss, min(1.0, (progress.step - 1) / self.total))

    def prepare_batch(
        self, batch: Batch, epoch: int, number: int, size: int = 0
    ) -> tuple[Tensor, list[Tensor]]:
        """Images on the device, mixed and resized, and what the criterion gets besides the embeddings.

        Args:
            batch: the share of this process.
            epoch: seeds the mixing, together with `number`.
            number: of the batch in this epoch.
            size: side of the images; 0 for their own.

        Returns:
            Images [B, 3, H, W]; labels [B], or [B, 2] where images are mixed, and with a teacher its
            embeddings [B, T].
        """
        device = self.parts.accelerator.device
        images, labels = batch.images.to(device, non_blocking=True), batch.class_ids.to(device)
        self.loss.mixed_share = 1.0
        if self.mixing is not None:
            images, labels, self.loss.mixed_share = self.mixing(images, labels, epoch, number)
        targets = [labels] if self.teacher is None else [labels, self.teacher(images)]
        return shrink_images(images, size), targets

    def image_size(self, progress: TrainingProgress) -> int:
        """Side that images are reduced to in this epoch; 0 for none."""
        plan = self.plan
        return plan.small_size if progress.within <= round(plan.small_share * plan.epochs) else 0

    def update_curvature(self, images: Tensor, progress: TrainingProgress) -> None:
        """Estimate the curvature on a batch, if the optimizer is due for it and has no gradients yet."""
        is_first = (progress.batch - 1) % self.plan.accumulate == 0
        if self.curvature is not None and self.curvature.is_due and is_first:
            self.curvature.measure(self.features, images, self.plan.chunk)

    def gradient_sync(self, progress: TrainingProgress) -> AbstractContextManager[None]:
        """Context of a forward and backward pass: processes average gradients in a step's last batch."""
        self._unsynchronised = not self.is_step(progress)
        accelerator = self.parts.accelerator
        return accelerator.no_sync(self.features) if self._unsynchronised else nullcontext()

    def forward(self, images: Tensor) -> Tensor:
        """Raw embeddings [B, D] of a batch; `backward` goes with it."""
        chunk = self.plan.chunk or len(images)
        self._forward = ForwardPass(self.features, images, chunk, self.parts.accelerator)
        return self._forward.embeddings

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss of the last `forward` to all parameters."""
        if self._forward is not None:
            self._forward.backward(loss)
        self._forward = None

    def is_step(self, progress: TrainingProgress) -> bool:
        """Whether the optimizer steps after this batch, the `progress.batch`-th of its epoch."""
        return progress.batch % self.plan.accumulate == 0 or progress.batch == len(self.batches)

    def share_of_step(self, progress: TrainingProgress) -> float:
        """Weight of this batch's gradient in its step; fewer batches share the last step of an epoch."""
        first = (progress.batch - 1) // self.plan.accumulate * self.plan.accumulate
        return 1 / min(self.plan.accumulate, len(self.batches) - first)

    def clip_gradients(self) -> Tensor:
        """Scale gradients down to the norm of the plan's `clip`; returns their norm before that."""
        if self._unsynchronised:  # the batch in which processes would have averaged them was left out
            average_gradients(self.parts.model)
        self._unsynchronised = False
        self.parts.accelerator.unscale_gradients()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        return clip_gradients(parameters, self.plan.clip or math.inf, self.shards)

    def describe_step(self, progress: TrainingProgress) -> dict[str, float]:
        """Where a step is, and its learning rates."""
        location = {"step": progress.steps, "epoch": progress.epoch, "stage": progress.stage + 1}
        return {**location, **rates_by_name(self.optimizer)}

    def log_chunks(self, images: int) -> None:
        """Warn if chunks change training, which only batch statistics do."""
        chunk = self.plan.chunk
        changed = depends_on_chunks(self.parts.model) if chunk and chunk < images else []
        if changed:
            log.warning(
                "chunk=%d: %d batch normalisations (%s, …) see %d images instead of the whole batch, so "
                "training differs slightly from one pass; keep_statistics=true makes it equal",
                *(chunk, len(changed), changed[0], chunk),
            )

    def update_hyperparameters(self, before: list[dict[str, Any]]) -> None:
        """Give an optimizer that has loaded a state the values that were changed since.

        Args:
            before: `hyperparameters` when the run was started.
        """
        for group, old, new in zip(self.optimizer.param_groups, before, self.hyperparameters, strict=True):
            group.update({k: value for k, value in new.items() if k not in old or old[k] != value})


def group_values(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What each group of an optimizer was built with, apart from its parameters."""
    return [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]


def rates_by_name(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The rates now, as history columns: the highest of each name, and the lowest where layers differ."""
    by_name: dict[str, list[float]] = {}
    for group in optimizer.param_groups:
        by_name.setdefault(group["name"], []).append(group["lr"])
    highest = {f"lr_{name}": max(rates) for name, rates in by_name.items()}
    lowest = {f"lr_{name}_lowest": min(rates) for name, rates in by_name.items() if min(rates) < max(rates)}
    return {**highest, **lowest}
