"""One pass through the life of a run before it begins, so that what would fail late fails at once."""

import copy
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from lookalike.data.images import Batch, collate
from lookalike.errors import LookalikeError
from lookalike.model.embedder import EmbeddingModel, load
from lookalike.training.freeze import train_mode
from lookalike.training.stage import Stage
from lookalike.training.state_preservation import preserve_state

CLOSE = 1e-3


def dry_run(stage: Stage) -> None:
    """Two batches forward and backward, then save, load and embed; everything is as before afterwards.

    The batches are the first and the smallest of the first epoch. Several processes leave it out.

    Raises:
        LookalikeError: something failed; says what.
    """
    model, device = stage.parts.model, stage.parts.accelerator.device
    if stage.parts.accelerator.num_processes > 1:
        return
    with preserve_state(model, stage.loss, device=device):
        batches = _batches(stage)
        train_mode(model, stage.plan.keep_statistics)
        for batch in batches:
            with _name_failure(f"a training step on {_count(len(batch.rows))}", _hint(batch)):
                stage.rehearse(batch)
        model.eval()
        if batches:
            _save_and_load(model, batches[0].images.to(device))


def _batches(stage: Stage) -> list[Batch]:
    """The first and the smallest batch of the first epoch, as far as they can be read."""
    sampler = copy.deepcopy(stage.batches)
    sampler.set_epoch(1)
    rows = list(sampler)
    stage.images.set_epoch(1)
    chosen = [rows[0], min(rows, key=len)] if rows else []
    read = [collate(stage.images.__getitems__(list(each))) for each in chosen]
    return [batch for batch in read if len(batch.rows)]


def _save_and_load(model: EmbeddingModel, images: Tensor) -> None:
    """The saved model must give the embeddings of the one in memory."""
    with tempfile.TemporaryDirectory(prefix="lookalike_") as folder:
        with _name_failure("saving the model"):
            model.save(Path(folder) / "model")
        with _name_failure("loading the saved model"):
            again = load(Path(folder) / "model", images.device)
    with _name_failure("embedding images"), torch.inference_mode():
        ours, theirs = model(images), again(images)
    if ours.isfinite().all() and not torch.allclose(ours, theirs, atol=CLOSE):
        raise LookalikeError(
            "dry run before training: the saved model gives other embeddings than the one in use, by up to "
            f"{float((ours - theirs).abs().max()):.2g}"
        )


@contextmanager
def _name_failure(subject: str, hint: str = "") -> Iterator[None]:
    """Say what failed, where, and what to do.

    Raises:
        LookalikeError: instead of any error that is not already one.
    """
    try:
        yield
    except LookalikeError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise LookalikeError(
            f"dry run before training: {subject} failed: {type(error).__name__}: {error} "
            f"({Path(last.filename).name}, line {last.lineno}){hint}"
        ) from error


def _hint(batch: Batch) -> str:
    if len(batch.rows) > 1:
        return ""
    return (
        ". Batch normalisation needs two images: change sampler.batch_size so that the last batch has more, "
        "or set keep_statistics=true and another head"
    )


def _count(images: int) -> str:
    return "1 image" if images == 1 else f"{images} images"
