"""The training loop."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import get_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lookalike.training.checkpoint import Checkpoints
from lookalike.training.epoch import check_epoch, choose_epoch, record_epoch, show_first_batch
from lookalike.training.history import Row
from lookalike.training.processes import count_all_images, equalise_parameters
from lookalike.training.state import Training
from lookalike.training.stopping import Stopped, listen_for_signals
from lookalike.training.validation import Validation, keep_best

log = logging.getLogger(__name__)


def fit(training: Training, validation: Validation) -> None:
    """Train stage by stage, keep the model that is best on the validation images, and write the history.

    A run that is resumed ends exactly as one that was never interrupted. What is saved and resumed is listed
    in `Training.saved_objects`.

    Args:
        training: from `prepare_training`; history.csv, model/ and state/ are written to its folder.
        validation: evaluates each epoch.

    Raises:
        LookalikeError: the loss or its gradients were NaN or infinite in several steps in a row, or no image
            of an epoch could be read.
        Stopped: a signal asked training to end; it can be resumed from the checkpoint.
    """
    parts, progress, result, average = training.parts, training.progress, training.result, training.average
    settings, accelerator, folder = parts.settings, parts.accelerator, training.folder
    is_main, epochs = accelerator.is_main_process, parts.epochs
    checkpoints, last_save = Checkpoints(folder / "state"), time.monotonic()
    started = last_save - 60 * result.minutes
    if epochs == 0 and is_main:
        keep_best(parts.model, None, settings.best_metric, folder / "model", result, epoch=0)

    with (
        progress_bar(settings.progress and is_main, training.total_batches, progress.steps) as advance,
        listen_for_signals() as stop,
    ):
        while not training.is_finished():
            stage, epoch_started, earlier_images = training.stage, time.monotonic(), training.means.count
            for batch in stage.epoch_batches(progress):
                progress.count_batch()
                advance(describe_progress(progress.epoch, epochs, training.means.mean_of("loss")))
                result.skip(batch.skipped)

                # --- forward, loss, backward; left out if a process has no readable image in this batch
                if num_images := count_all_images(len(batch.rows), accelerator):
                    if progress.steps == 1 and is_main:
                        show_first_batch(batch, parts, folder)
                        stage.log_chunks(len(batch.rows))
                    stage.set_progress(progress)
                    images, targets = stage.prepare_batch(
                        batch, progress.epoch, progress.batch, stage.image_size(progress)
                    )
                    stage.update_curvature(images, progress)
                    with stage.gradient_sync(progress):
                        embeddings = stage.forward(images)
                        loss = stage.criterion(embeddings, *targets)
                        stage.backward(loss * stage.share_of_step(progress))
                    training.record_batch(loss.detach(), batch, num_images)
                result.minutes = (time.monotonic() - started) / 60
                if not stage.is_step(progress):
                    continue

                # --- clip, step, average; a step that is not finite is skipped
                norm = stage.clip_gradients()
                if training.nonfinite.step_is_finite(norm, **stage.describe_step(progress)):
                    training.diagnostics.note_gradient(norm)
                    stage.optimizer.step()
                    if average is not None:
                        average.update(parts.model)
                stage.optimizer.zero_grad()

                # --- save, if it is due or training is asked to end
                is_due = time.monotonic() - last_save > 60 * settings.save_minutes
                if is_due and not training.nonfinite.in_a_row and progress.batch < len(stage.batches):
                    training.save(checkpoints)
                    last_save = time.monotonic()
                if stop.stop_requested():
                    training.save(checkpoints)
                    raise Stopped(stop.by, progress.epoch, progress.batch)

            # --- validate
            speed = (training.means.count - earlier_images) / (time.monotonic() - epoch_started)
            check_epoch(training)
            model = training.evaluated_model
            equalise_parameters([parts.model, model], stage.loss)
            embedded = validation.embed(model, stage.loss)
            uses = training.usage.state_dict()
            values, skipped_steps = {}, training.nonfinite.summary()
            if is_main:
                scores, note = validation.score(embedded, stage.loss, progress.epoch, result)
                values = record_epoch(training, scores, uses, speed, [skipped_steps, note])
                score = validation.choosing_score(scores)
                keep_best(
                    *(model, score, settings.best_metric, folder / "model", result, progress.epoch),
                    error=validation.error,
                )
                log.info(
                    describe_epoch(training.history.rows[-1], epochs, result.best_epoch == progress.epoch)
                )
            choose_epoch(training, values)

            # --- next epoch, next stage, save
            result.minutes = (time.monotonic() - started) / 60
            progress.next_epoch()
            training.next_stage()
            training.save(checkpoints)
            last_save = time.monotonic()


@contextmanager
def progress_bar(enabled: bool, total: int, done: int = 0) -> Iterator[Callable[[str], None]]:
    """A bar over all batches with the time remaining; yields a function that advances it, with a note."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    progress = Progress(*columns, console=get_console(), disable=not enabled)
    with progress:
        task = progress.add_task("training", total=total, completed=done, note="")
        yield lambda note: progress.update(task, advance=1, note=note)


def describe_progress(epoch: int, epochs: int, loss: float) -> str:
    """The text beside the progress bar; `loss` is NaN before the first batch of an epoch."""
    text = f"epoch {epoch} of {epochs}"
    return text if math.isnan(loss) else f"{text}, loss {loss:.3f}"


def describe_epoch(row: Row, epochs: int, kept: bool) -> str:
    """A row of the history as a line to read."""
    scores = [f"{name[4:]} {value:.3f}" for name, value in row.items() if name.startswith("val_")]
    validation = f", validation {', '.join(scores)}{' (kept)' if kept else ''}" if scores else ""
    speed = f", {row['images_per_second']:.0f} images/s"
    return f"epoch {row['epoch']} of {epochs}: loss {row['loss']:.4f}{validation}{speed}"
