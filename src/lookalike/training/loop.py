"""The training loop."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lookalike.data.images import ImageTable, collate
from lookalike.data.table import Table, class_ids
from lookalike.errors import LookalikeError
from lookalike.losses.modifiers import Terms, set_progress
from lookalike.losses.sampled import samples_classes
from lookalike.losses.sharded import sharded_parameters
from lookalike.machine import choose_workers
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.accumulate import backward_in_chunks, depends_on_chunks
from lookalike.training.checkpoint import Checkpoints
from lookalike.training.freeze import train_mode
from lookalike.training.history import History, Means
from lookalike.training.judge import keep_best
from lookalike.training.optimise import (
    Average,
    RowSparse,
    clip_gradients,
    parameter_groups,
    set_rates,
    shrink,
)
from lookalike.training.processes import Share, prepare_loss
from lookalike.training.progress import bars, in_words
from lookalike.training.state import Position, Result, Training
from lookalike.training.stopping import Stopped, leave_signals_alone, listening

log = logging.getLogger(__name__)


class Batches(Protocol):
    """What the loop wants of a sampler: batches of row numbers, others in each epoch."""

    def __iter__(self) -> Iterator[list[int]]: ...
    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None:
        """Choose the batches of this epoch."""

    def state_dict(self, done: int | None = None) -> dict[str, int]:
        """Where the epoch stands after `done` batches."""

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration go on from there."""


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
        save_minutes: a checkpoint is written at the end of each epoch, and this often in between.
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
    save_minutes: float = 10.0


@dataclass(frozen=True)
class Parts:
    """What a run is made of: `train` to learn from, `validation` with other identities to choose by."""

    model: EmbeddingModel
    loss: Terms
    train: Table
    validation: Table | None
    plan: Plan
    accelerator: Accelerator


class Features(nn.Module):
    """The model's raw embeddings as a forward pass, the only one that processes can share gradients of."""

    def __init__(self, model: EmbeddingModel):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """See `EmbeddingModel.features`."""
        return self.model.features(images)


def fit(parts: Parts, folder: Path, result: Result) -> None:  # noqa: C901 - one function, in sections
    """Train, keep the model that is best on the validation identities, and write history as it goes.

    Where `folder` holds a checkpoint, training goes on from it, and ends as if it had never stopped.

    Args:
        parts: model and loss are changed in place.
        folder: the run folder; history.csv, model/ and state/ are written to it.
        result: filled epoch by epoch, so that it is right when training stops early.

    Raises:
        LookalikeError: the loss is no longer a number, or not one image of an epoch could be read.
        Stopped: somebody asked training to end; it can go on from the checkpoint.
    """
    model, loss, plan, accelerator = parts.model, parts.loss, parts.plan, parts.accelerator
    main, device = accelerator.is_main_process, accelerator.device

    # --- data: every process sees its share of each batch
    known, enough = class_ids(parts.train.labels), getattr(plan.augment, "at_least", None)
    images = ImageTable(parts.train, plan.augment, known, seed=plan.seed, at_least=enough)
    batches = plan.sampler(images.class_ids)
    loader = DataLoader(
        images,
        batch_sampler=Share(batches, accelerator.process_index, accelerator.num_processes),
        collate_fn=collate,
        num_workers=choose_workers(plan.workers, device),
        worker_init_fn=leave_signals_alone,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # its own, or each epoch would take a number from the model's
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

    # --- what is told, and where to go on
    history, means, total = History(folder / "history.csv"), Means(), plan.epochs * len(batches)
    training = Training(model, loss, optimizer, averaged, history, means, result, accelerator)
    checkpoints = Checkpoints(folder / "state")
    at = training.resume(checkpoints, parts.train) or Position(parts.train)
    saved = started = time.monotonic()
    earlier = result.minutes
    if plan.epochs == 0 and main:
        keep_best(model, None, folder / "model", result)

    with bars(plan.progress and main, total, at.step) as advance, listening() as stop:
        for epoch in range(at.epoch, plan.epochs + 1):
            batches.set_epoch(epoch)
            if at.batch:
                batches.load_state_dict(batches.state_dict(at.batch))
            images.set_epoch(epoch)
            train_mode(model, plan.keep_statistics)
            epoch_started, seen = time.monotonic(), means.count
            small = plan.small_size if epoch <= round(plan.small_share * plan.epochs) else 0

            for batch in loader:
                # --- one step
                set_rates(optimizer, rates, plan.schedule(at.step / total))
                set_progress(loss, at.step / total)
                at.step, at.batch = at.step + 1, at.batch + 1
                advance(f"epoch {epoch} of {plan.epochs}, loss {means.of('loss'):.3f}")
                result.skipped.update({problem.row: problem for problem in batch.skipped})
                if len(batch.rows):
                    pixels = shrink(batch.images.to(device, non_blocking=True), small)
                    if at.step == 1 and main:
                        tell_of_chunks(model, plan.chunk, len(pixels))
                    value = backward_in_chunks(
                        *(features, criterion, pixels, batch.class_ids.to(device)),
                        *(plan.chunk or len(pixels), accelerator),
                    )
                    refuse_nan(value, epoch)
                    if plan.clip:
                        accelerator.unscale_gradients()
                        clip_gradients(parameters, plan.clip, sharded_parameters(loss))
                    optimizer.step()
                    optimizer.zero_grad()
                    if averaged:
                        averaged.update(model)
                    means.add({"loss": value, **terms(loss)}, len(batch.rows))

                # --- save, if it is time or if we are asked to end
                result.minutes = earlier + (time.monotonic() - started) / 60
                if at.batch < len(batches) and time.monotonic() - saved > 60 * plan.save_minutes:
                    training.save(checkpoints, at)
                    saved = time.monotonic()
                if stop.asked():
                    break
            if stop.asked():
                training.save(checkpoints, at)
                raise Stopped(stop.by, epoch, at.batch)

            # --- end of an epoch: history, validation, the best model
            result.epochs = epoch
            if main:
                speed = (means.count - seen) * accelerator.num_processes / (time.monotonic() - epoch_started)
                training.end_epoch(parts, folder, speed)
                log.info(in_words(history.rows[-1], plan.epochs, result.best_epoch == epoch))
            result.minutes = earlier + (time.monotonic() - started) / 60
            means.clear()
            at.epoch, at.batch = epoch + 1, 0
            training.save(checkpoints, at)
            saved = time.monotonic()


def refuse_nan(value: Tensor, epoch: int) -> None:
    """Stop where the loss is no number.

    Raises:
        LookalikeError: it is not; the message says what to try.
    """
    if not torch.isfinite(value):
        raise LookalikeError(
            f"the loss became {value.item()} in epoch {epoch}. Lower the learning rates (lr, backbone_lr, "
            "loss_lr) or clip, or train with amp=no"
        )


def tell_of_chunks(model: EmbeddingModel, chunk: int | None, images: int) -> None:
    """Say what a batch in chunks changes: nothing, but for batch statistics."""
    changed = depends_on_chunks(model) if chunk and chunk < images else []
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
