"""The training loop."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lookalike.data.images import ImageTable, collate
from lookalike.data.table import Table, class_ids
from lookalike.errors import LookalikeError, Problem, listing
from lookalike.losses.modifiers import Terms, set_progress
from lookalike.losses.sampled import samples_classes
from lookalike.losses.sharded import sharded_parameters
from lookalike.machine import choose_workers
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.accumulate import backward_in_chunks, depends_on_chunks
from lookalike.training.freeze import train_mode
from lookalike.training.history import History, Means
from lookalike.training.judge import keep_best, validate
from lookalike.training.optimise import (
    Average,
    RowSparse,
    clip_gradients,
    named_rates,
    parameter_groups,
    set_rates,
    shrink,
)
from lookalike.training.processes import Share, prepare_loss
from lookalike.training.progress import bars, in_words

log = logging.getLogger(__name__)


class Batches(Protocol):
    """What the loop wants of a sampler: batches of row numbers, others in each epoch."""

    def __iter__(self) -> Iterator[list[int]]: ...
    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None:
        """Choose the batches of this epoch."""


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        epochs: passes over the training images.
        sampler: (class ids [N]) -> batches.
        augment: a PIL image to a uint8 tensor [3, S, S], randomly changed.
        optimizer: (parameter groups) -> optimizer.
        schedule: share of training done -> factor on every learning rate.
        lr, backbone_lr, loss_lr: learning rates of head and pooling, of the backbone, of the loss's vectors.
        chunk: images in memory at once; a larger batch goes through the model twice, in chunks of this many.
        clip: largest norm of all gradients together.
        keep_statistics: use the backbone's stored batch statistics instead of those of each batch.
        small_size, small_share: train the first share of the epochs on images of this size; 0 for none.
        average: decay of the moving average of weights that is evaluated and saved; 0 for none.
        amp: "no", "bf16" or "fp16".
        best_metric: the validation metric that chooses the model that is kept.
    """

    epochs: int
    sampler: Callable[[np.ndarray], Batches]
    augment: Callable[..., Tensor]
    optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
    schedule: Callable[[float], float]
    lr: float
    backbone_lr: float
    loss_lr: float
    chunk: int | None = None
    clip: float | None = None
    keep_statistics: bool = False
    small_size: int = 0
    small_share: float = 0.0
    average: float = 0.0
    amp: str = "no"
    best_metric: str = "map@r"
    seed: int = 0
    workers: int | None = None
    progress: bool = True


@dataclass(frozen=True)
class Parts:
    """What a run is made of: `train` to learn from, `validation` with other identities to choose by."""

    model: EmbeddingModel
    loss: Terms
    train: Table
    validation: Table | None
    plan: Plan
    accelerator: Accelerator


@dataclass
class Result:
    """What training came to: the best epoch, its score, the rows that could not be read."""

    epochs: int = 0
    best_epoch: int = 0
    best_score: float | None = None
    minutes: float = 0.0
    skipped: dict[int, Problem] = field(default_factory=dict)


class Features(nn.Module):
    """The model's raw embeddings as a forward pass, the only one that processes can share gradients of."""

    def __init__(self, model: EmbeddingModel):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """See `EmbeddingModel.features`."""
        return self.model.features(images)


def fit(parts: Parts, folder: Path, result: Result) -> None:
    """Train, keep the model that is best on the validation identities, and write history as it goes.

    Args:
        parts: model and loss are changed in place.
        folder: the run folder; history.csv and model/ are written to it.
        result: filled epoch by epoch, so that it is right when training stops early.

    Raises:
        LookalikeError: the loss is no longer a number, or not one image of an epoch could be read.
    """
    model, loss, plan, accelerator = parts.model, parts.loss, parts.plan, parts.accelerator

    # --- data: every process sees its share of each batch
    known, enough = class_ids(parts.train.labels), getattr(plan.augment, "at_least", None)
    images = ImageTable(parts.train, plan.augment, known, seed=plan.seed, at_least=enough)
    batches = plan.sampler(images.class_ids)
    share = Share(batches, accelerator.process_index, accelerator.num_processes)
    loader = DataLoader(
        images,
        batch_sampler=share,
        collate_fn=collate,
        num_workers=choose_workers(plan.workers, accelerator.device),
        pin_memory=accelerator.device.type == "cuda",
    )

    # --- model, loss, optimiser
    optimizer = plan.optimizer(parameter_groups(model, loss, plan))
    if samples_classes(loss):
        optimizer = RowSparse(optimizer)
    rates = [group["lr"] for group in optimizer.param_groups]
    features, optimizer = accelerator.prepare(Features(model), optimizer)
    criterion = prepare_loss(loss, accelerator)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    averaged = Average(model, plan.average) if plan.average else None

    if plan.epochs == 0 and accelerator.is_main_process:
        keep_best(model, None, folder / "model", result)

    # --- what is told
    history, main = History(folder / "history.csv"), accelerator.is_main_process
    total, done, started = plan.epochs * len(batches), 0, time.monotonic()

    with bars(plan.progress and main, total) as advance:
        for epoch in range(1, plan.epochs + 1):
            batches.set_epoch(epoch)
            images.set_epoch(epoch)
            train_mode(model, plan.keep_statistics)
            if plan.chunk and epoch == 1 and main:
                tell_of_chunks(model, plan.chunk)
            means, epoch_started = Means(), time.monotonic()
            small = plan.small_size if epoch <= round(plan.small_share * plan.epochs) else 0

            for batch in loader:
                # --- one step
                set_rates(optimizer, rates, plan.schedule(done / total))
                set_progress(loss, done / total)
                done += 1
                advance(f"epoch {epoch} of {plan.epochs}, loss {means.of('loss'):.3f}")
                result.skipped.update({problem.row: problem for problem in batch.skipped})
                if len(batch.rows) == 0:
                    continue
                pixels = shrink(batch.images.to(accelerator.device, non_blocking=True), small)
                labels = batch.class_ids.to(accelerator.device)
                chunk = plan.chunk or len(pixels)
                value = backward_in_chunks(features, criterion, pixels, labels, chunk, accelerator)
                if not torch.isfinite(value):
                    raise LookalikeError(
                        f"the loss became {value.item()} in epoch {epoch}. Lower the learning rates (lr, "
                        "backbone_lr, loss_lr) or clip, or train with amp=no"
                    )
                if plan.clip:
                    accelerator.unscale_gradients()
                    clip_gradients(parameters, plan.clip, sharded_parameters(loss))
                optimizer.step()
                optimizer.zero_grad()
                if averaged:
                    averaged.update(model)
                means.add({"loss": value, **terms(loss)}, len(batch.rows))

            # --- end of an epoch: history, validation, the best model
            if means.count == 0:
                raise LookalikeError(
                    "not one training image could be read" + listing([*result.skipped.values()])
                )
            seconds = time.monotonic() - epoch_started
            result.epochs = epoch
            if main:
                judged = averaged.model if averaged else model
                scores = validate(judged, parts.validation, plan.best_metric, result.skipped)
                result.minutes = (time.monotonic() - started) / 60
                history.add(
                    {"epoch": epoch, **means.all(), **named_rates(optimizer), **scores}
                    | {"images_per_second": means.count * accelerator.num_processes / seconds}
                    | {"minutes": result.minutes}
                )
                keep_best(judged, scores.get(f"val_{plan.best_metric}"), folder / "model", result)
                log.info(in_words(history.rows[-1], plan.epochs, result.best_epoch == epoch))
            accelerator.wait_for_everyone()


def tell_of_chunks(model: EmbeddingModel, chunk: int) -> None:
    """Say what a batch in chunks changes: nothing, but for batch statistics."""
    changed = depends_on_chunks(model)
    if changed:
        log.warning(
            "chunk=%d: %d batch normalisations (%s, …) see %d images instead of the whole batch, so training "
            "differs a little from one pass; keep_statistics=true makes it equal",
            *(chunk, len(changed), changed[0], chunk),
        )


def terms(loss: Terms) -> dict[str, Tensor]:
    """What the loss told about the last batch: its terms if there are several, and shares of its own."""
    single = {f"loss_{name}": value for name, value in loss.last.items()} if len(loss.last) > 1 else {}
    return {**single, **loss.details}
