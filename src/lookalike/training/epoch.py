"""What happens in the main process around an epoch: the picture of the first batch, and the history's row."""

from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor

from lookalike.data.images import Batch
from lookalike.errors import LookalikeError, list_problems
from lookalike.files import replace_file
from lookalike.metrics.records import sign_of
from lookalike.plots.first_batch import first_batch
from lookalike.training.components import RunComponents
from lookalike.training.embedding_bank import refresh_bank
from lookalike.training.history import Row, local_time, usage_statistics, write_uses
from lookalike.training.plateau import Plateau
from lookalike.training.processes import gather_from_all
from lookalike.training.stage import rates_by_name
from lookalike.training.state import Training
from lookalike.training.validation import check_embeddings

FIRST_BATCH = "first_batch.png"


def show_first_batch(batch: Batch, parts: RunComponents, folder: Path) -> None:
    """Write first_batch.png, this process's images after augmentation with their labels, for trackers too."""
    labels = parts.train.frame["label"].gather(batch.rows.numpy()).to_list()
    images = displayable(batch.images).permute(0, 2, 3, 1).contiguous().numpy()
    picture = first_batch(images, labels, "First training batch, as augmented")
    replace_file(folder / FIRST_BATCH, lambda temporary: picture.save(temporary, format="PNG"))
    parts.trackers.log_image("first_batch", folder / FIRST_BATCH)


def displayable(images: Tensor) -> Tensor:
    """Images [B, 3, H, W] as uint8; float images, whose range is not known, are stretched to all of it."""
    if images.dtype == torch.uint8:
        return images
    low, high = images.amin(), images.amax()
    return (255 * (images - low) / (high - low).clamp_min(1e-6)).round().to(torch.uint8)


def check_epoch(training: Training) -> None:
    """Refuse an epoch without a readable image or with a model that cannot recover; all processes call this.

    Raises:
        LookalikeError: saying which, and what to do.
    """
    result = training.result
    result.skip(gather_from_all(result.skipped.values(), training.parts.accelerator))
    if training.means.count == 0:
        raise LookalikeError(
            "not one training image could be read" + list_problems([*result.skipped.values()])
        )
    check_embeddings(training.diagnostics.batch[0].float().cpu().numpy())


def record_epoch(
    training: Training, scores: dict[str, float], uses: Tensor, speed: float, notes: list[str]
) -> dict[str, float]:
    """Write the epoch's row of the history, the uses of images, and the model where all are kept.

    Args:
        training: after the last batch of the epoch.
        scores: validation losses and scores, as columns.
        uses: of each image, in all processes.
        speed: images per second.
        notes: for the row, such as that validation failed; empty ones are left out.

    Returns:
        Losses and scores by column.
    """
    parts, progress, means = training.parts, training.progress, training.means.all_means()
    stage = {"stage": progress.stage + 1} if len(parts.stages) > 1 else {}
    row: Row = {"epoch": progress.epoch, **stage, **means, "rows": training.means.count}
    row |= {**usage_statistics(uses), "images_per_second": speed, **scores}
    row |= {"validation_rows": len(parts.validation)} if parts.validation else {}
    row |= rates_by_name(training.stage.optimizer)
    row |= {"minutes": training.result.minutes, "date": local_time()}
    warnings = training.diagnostics.end_epoch(row, training.history.rows, training.stage.loss)
    training.history.add({**row, "notes": "; ".join([*filter(None, notes), *warnings])})
    parts.trackers.log_epoch(training.history.rows[-1], progress.steps)
    write_uses(training.folder, parts.train, uses)
    if parts.settings.keep_epochs == "all":
        folder = training.folder / "epochs" / f"{progress.epoch:03d}"  # names sort up to epoch 999
        training.evaluated_model.save(folder, card_text=f"The model after epoch {progress.epoch}.")
    return {name: float(value) for name, value in {**means, **scores}.items()}


def choose_epoch(training: Training, values: dict[str, float]) -> None:
    """Send the main process's choice of the best epoch to all, and what follows from losses and scores.

    Args:
        training: after the last batch of the epoch.
        values: losses and scores by column; those of the main process count.
    """
    parts, result, progress = training.parts, training.result, training.progress
    best, values = broadcast_object_list([result.best(), values])
    result.__dict__.update(best)
    result.epochs = progress.epoch
    schedule, score = training.stage.plan.schedule, values.get(f"val_{parts.settings.best_metric}")
    if isinstance(schedule, Plateau) and score is not None:
        schedule.observe(sign_of(parts.settings.best_metric) * score)
    training.means.clear()
    if progress.epoch < parts.epochs:
        refresh_bank(training.stage.batches, progress.epoch, values, parts, result.skip)
