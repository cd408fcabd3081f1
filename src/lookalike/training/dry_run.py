"""A short trial of everything that a run does, before it begins, so that errors appear at once."""

import copy
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from lookalike.data.images import Batch, collate
from lookalike.data.table import Table
from lookalike.embeddings import embed_rows
from lookalike.errors import LookalikeError
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.checkpoint import check_packable
from lookalike.training.components import StageConfig
from lookalike.training.parameters import train_mode
from lookalike.training.processes import Share, count_all_images
from lookalike.training.stage import Stage
from lookalike.training.state_preservation import preserve_state

CLOSE = 1e-3
VALIDATION_IMAGES = 8


def dry_run(stage: Stage) -> None:
    """Forward and backward on a few batches without a step, save, load, embed, and restore the state.

    With several processes, each takes its share of the batches.

    Raises:
        LookalikeError: something failed; says what.
    """
    parts = stage.parts
    with preserve_state(parts.model, stage.loss, device=parts.accelerator.device):
        batches = _read_batches(stage)
        train_mode(parts.model, stage.plan.keep_statistics)
        for batch in batches:
            _train_step(stage, batch)
        _check_checkpoint(stage)
        parts.model.eval()
        if batches:
            _save_and_load(parts.model, batches[0].images.to(parts.accelerator.device))
        if parts.validation is not None:
            _embed_validation(parts.model, parts.validation)


def _read_batches(stage: Stage) -> list[Batch]:
    """The readable images of this process in the batches to try.

    These are the first and the smallest batch of the first epoch, and one whose last chunk is a single image.
    """
    accelerator, sampler = stage.parts.accelerator, copy.deepcopy(stage.batches)
    sampler.set_epoch(1)
    rows = list(Share(sampler, accelerator.process_index, accelerator.num_processes))
    stage.images.set_epoch(1)
    chosen = [rows[0], min(rows, key=len)] if rows else []
    chunk = stage.plan.chunk
    chosen += [each for each in rows if chunk and len(each) > chunk and len(each) % chunk == 1][:1]
    batches = [collate(stage.images.__getitems__(list(each))) for each in chosen]
    return [batch for batch in batches if count_all_images(len(batch.rows), accelerator)]


def _train_step(stage: Stage, batch: Batch) -> None:
    """Forward and backward at every image size that the stage trains with."""
    plan, sides = stage.plan, [0]
    full = batch.images.shape[-1]
    if 0 < plan.small_size < full and plan.small_share > 0:
        sides.append(plan.small_size)
    for side in sides:
        at_size = f" of {side} px" if side else ""
        with _name_failure(f"a training step on {_count(len(batch.rows))}{at_size}", plan, batch, side):
            images, targets = stage.prepare_batch(batch, 1, 1, side)
            with stage.parts.accelerator.no_sync(stage.features):
                stage.backward(stage.criterion(stage.forward(images), *targets))


def _check_checkpoint(stage: Stage) -> None:
    """Check that a checkpoint can hold the state of loss and optimizer."""
    with _name_failure("writing a checkpoint of the loss"):
        check_packable(dict(stage.loss.state_dict()))
    with _name_failure("writing a checkpoint of the optimizer"):
        check_packable(stage.optimizer.state_dict())


def _save_and_load(model: EmbeddingModel, images: Tensor) -> None:
    """Check that the saved model gives the embeddings of the one in memory."""
    with tempfile.TemporaryDirectory(prefix="lookalike_") as folder:
        with _name_failure("saving the model"):
            model.save(Path(folder) / "model")
        with _name_failure("loading the saved model"):
            again = model.reload(Path(folder) / "model", images.device)
    with _name_failure("embedding images"), torch.inference_mode():
        ours, theirs = model(images), again(images)
    if ours.isfinite().all() and not torch.allclose(ours, theirs, atol=CLOSE):
        raise LookalikeError(
            "dry run before training: the saved model gives other embeddings than the one in use, by up to "
            f"{float((ours - theirs).abs().max()):.2g}"
        )


def _embed_validation(model: EmbeddingModel, validation: Table) -> None:
    with _name_failure("embedding validation images"):
        embed_rows(model, validation, range(min(VALIDATION_IMAGES, len(validation))), progress=False)


@contextmanager
def _name_failure(
    subject: str, plan: StageConfig | None = None, batch: Batch | None = None, small_size: int = 0
) -> Iterator[None]:
    """Turn an error into one that says what failed, where, and what to do.

    Raises:
        LookalikeError: for any error that is not one already.
    """
    try:
        yield
    except LookalikeError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        hint = _hint(str(error), plan, len(batch.rows), small_size) if plan and batch else ""
        raise LookalikeError(
            f"dry run before training: {subject} failed: {type(error).__name__}: {error} "
            f"({Path(frame.filename).name}, line {frame.lineno}){hint}"
        ) from error


def _hint(message: str, plan: StageConfig, images: int, small_size: int) -> str:
    """What to change, if known; empty otherwise."""
    if "more than 1 value per channel" in message:
        keep = "keep_statistics=true with another head avoids batch statistics"
        if plan.chunk and images > 1:
            return (
                f". Batch normalization needs two images or more, and a batch of {images} in chunks of "
                f"{plan.chunk} leaves one alone: take another chunk= or batch size; {keep}"
            )
        return (
            ". Batch normalization needs two images or more at a time: change the batch size "
            f"(sampler.batch_size) so that no batch, nor a process's share of it, is a single image; {keep}"
        )
    if small_size:
        return f". The model cannot read images of small_size={small_size}: set small_size=0"
    return ""


def _count(images: int) -> str:
    return "1 image" if images == 1 else f"{images} images"
