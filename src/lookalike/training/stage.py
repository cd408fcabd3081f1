"""What a stage trains with: its losses, optimiser, rates and batches, made new when it begins."""

import logging
import math
from collections.abc import Iterator
from contextlib import nullcontext

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
from lookalike.training.accumulate import backward_in_chunks, depends_on_chunks
from lookalike.training.components import RunComponents
from lookalike.training.curvature import Curvature
from lookalike.training.freeze import refreeze, train_mode
from lookalike.training.groups import parameter_groups, set_rates
from lookalike.training.hard_negatives import HardNegatives
from lookalike.training.optimise import RowSparse, clip_gradients, shrink_images
from lookalike.training.processes import Share, average_gradients, prepare_loss
from lookalike.training.progress import TrainingProgress
from lookalike.training.stopping import leave_signals_alone

log = logging.getLogger(__name__)


class Features(nn.Module):
    """The model's raw embeddings as a forward pass, the only one that processes can share gradients of."""

    def __init__(self, model: EmbeddingModel):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """See `EmbeddingModel.features`."""
        return self.model.features(images)


class Stage:
    """One stage of a run while it is trained.

    Args:
        parts: the model is changed in place.
        number: which plan, from 0.
        before: the losses of the stage before, some of which may go on.
        fresh: start new proxies from the data; not wanted where a checkpoint follows.

    Raises:
        ConfigError: the plan's values do not fit model or images.
    """

    def __init__(self, parts: RunComponents, number: int, before: Terms | None, fresh: bool):
        self.parts, self.plan = parts, parts.stages[number]
        plan, model, accelerator = self.plan, parts.model, parts.accelerator
        refreeze(model, parts.trainable, plan.freeze, plan.unfreeze)
        self.loss = plan.losses(before, fresh)
        taught = any(isinstance(term, Distillation) for term in self.loss.losses.values())
        self.teacher = parts.teacher if taught else None
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
        self.curvature = Curvature(optimizer, self.loss, accelerator)
        if samples_classes(self.loss):
            optimizer = RowSparse(optimizer)
        self.rates = [group["lr"] for group in optimizer.param_groups]
        accelerator.free_memory()
        features = Features(model)
        if parts.settings.compiled:
            features.compile()
        self.features, self.optimizer = accelerator.prepare(features, optimizer)
        self.criterion = prepare_loss(self.loss, accelerator)
        self.total, self.losses_apart = plan.epochs * len(self.batches), False

    def epoch_batches(self, progress: TrainingProgress) -> Iterator[Batch]:
        """The rest of an epoch's batches; every process sees its share of each."""
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

    def is_step(self, progress: TrainingProgress) -> bool:
        """Whether the optimiser steps after this batch, the `progress.batch`-th of its epoch."""
        return progress.batch % self.plan.accumulate == 0 or progress.batch == len(self.batches)

    def backward(self, batch: Batch, progress: TrainingProgress) -> Tensor:
        """Add the gradient of a batch, and return its loss; `progress` counts this batch already."""
        plan, accelerator = self.plan, self.parts.accelerator
        self.set_progress(progress)
        images = batch.images.to(accelerator.device, non_blocking=True)
        labels = batch.class_ids.to(accelerator.device)
        images, labels, self.loss.mixed_share = plan.mixing(images, labels, progress.epoch, progress.batch)
        extra_tensors = [labels] if self.teacher is None else [labels, self.teacher(images)]
        small = plan.small_size if progress.within <= round(plan.small_share * plan.epochs) else 0
        pixels = shrink_images(images, small)
        if progress.steps == 1 and accelerator.is_main_process:
            log_chunks(self.parts.model, plan.chunk, len(pixels))
        if self.curvature.is_due and (progress.batch - 1) % plan.accumulate == 0:
            self.curvature.measure(self.features, pixels, plan.chunk)
        self.losses_apart = not self.is_step(progress)
        with accelerator.no_sync(self.features) if self.losses_apart else nullcontext():
            return backward_in_chunks(
                *(self.features, self.criterion, pixels, extra_tensors),
                *(plan.chunk or len(pixels), accelerator, 1 / self._window_size(progress)),
            )

    def rehearse(self, batch: Batch, size: int) -> None:
        """A forward and a backward pass of this process alone that set no rates; the caller undoes the rest.

        Args:
            batch: this process's images; all processes call this together, since the loss sees all images.
            size: side of the images, as `small_size`; 0 for their own.
        """
        plan, accelerator = self.plan, self.parts.accelerator
        images, labels, self.loss.mixed_share = plan.mixing(
            batch.images.to(accelerator.device), batch.class_ids.to(accelerator.device), 1, 1
        )
        known = [labels] if self.teacher is None else [labels, self.teacher(images)]
        pixels = shrink_images(images, size)
        chunk = plan.chunk or len(pixels)
        with accelerator.no_sync(self.features):
            backward_in_chunks(self.features, self.criterion, pixels, known, chunk, accelerator)

    def set_progress(self, progress: TrainingProgress) -> None:
        """Rates, and losses that change over training, as they are at this batch.

        Rates are those of the middle of the batch: at its start a warm-up is still at 0, which is all that a
        run of one step would ever see.
        """
        middle = min(1.0, (progress.step - 0.5) / self.total)
        set_rates(self.optimizer, self.rates, self.plan.schedule(middle))
        set_progress(self.loss, min(1.0, (progress.step - 1) / self.total))

    def clip(self) -> Tensor:
        """Limit the gradients that are there; their length before."""
        if self.losses_apart:  # the batch that should have brought processes together was left out
            average_gradients(self.parts.model)
        self.losses_apart = False
        self.parts.accelerator.unscale_gradients()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        return clip_gradients(parameters, self.plan.clip or math.inf, parameters_by_process(self.loss))

    def update(self) -> None:
        """One step of the optimiser with the gradients that are there."""
        self.optimizer.step()
        self.optimizer.zero_grad()

    def drop(self) -> None:
        """Forget the gradients that are there."""
        self.optimizer.zero_grad()

    def _window_size(self, progress: TrainingProgress) -> int:
        """How many batches share this batch's step: fewer at the end of an epoch."""
        first = (progress.batch - 1) // self.plan.accumulate * self.plan.accumulate
        return min(self.plan.accumulate, len(self.batches) - first)


def log_chunks(model: EmbeddingModel, chunk: int | None, images: int) -> None:
    """Say what a batch in chunks changes: nothing, but for batch statistics."""
    changed = depends_on_chunks(model) if chunk and chunk < images else []
    if changed:
        log.warning(
            "chunk=%d: %d batch normalisations (%s, …) see %d images instead of the whole batch, so training "
            "differs a little from one pass; keep_statistics=true makes it equal",
            *(chunk, len(changed), changed[0], chunk),
        )
