"""The training loop."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import get_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lookalike.training.checkpoint import Checkpoints
from lookalike.training.components import RunComponents
from lookalike.training.dry_run import dry_run
from lookalike.training.fitting import check_data
from lookalike.training.history import Row
from lookalike.training.processes import count_all_images
from lookalike.training.progress import TrainingProgress
from lookalike.training.stage import Stage
from lookalike.training.state import Result, Training
from lookalike.training.stopping import Stopped, listen_for_signals
from lookalike.training.validation import keep_best


@contextmanager
def progress_bars(enabled: bool, total: int, done: int = 0) -> Iterator[Callable[[str], None]]:
    """A bar over all steps with the time remaining; yields a function that advances it, with a note."""
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


def describe_epoch(row: Row, epochs: int, best: bool) -> str:
    """A row of the history as a line to read."""
    scores = [f"{name[4:]} {value:.3f}" for name, value in row.items() if name.startswith("val_")]
    validation = f", validation {', '.join(scores)}{' (best so far)' if best else ''}" if scores else ""
    speed = f", {row['images_per_second']:.0f} images/s"
    return f"epoch {row['epoch']} of {epochs}: loss {row['loss']:.4f}{validation}{speed}"


log = logging.getLogger(__name__)


def prepare(
    parts: RunComponents, folder: Path, result: Result, state: dict[str, Any] | None
) -> tuple[Training, TrainingProgress]:
    """Everything as it is before the next step, and where that is; writes nothing.

    Args:
        parts: the model is changed in place.
        folder: the run folder.
        result: filled epoch by epoch, so that it is right when training stops early.
        state: the checkpoint to go on from; None to begin.

    Raises:
        ConfigError: the checkpoint does not fit the values or the images, or validation cannot do what they
            ask for.
        LookalikeError: the dry run failed.
    """
    if state is not None:
        check_data(state, parts, folder)
    position = TrainingProgress.from_state(state)
    training = Training(parts, Stage(parts, position.stage, None, fresh=state is None), folder, result)
    if state is None and parts.epochs:
        dry_run(training.stage)
    training.begin_or_resume(state, position)
    return training, position


def fit(training: Training, progress: TrainingProgress, folder: Path) -> None:
    """Train stage by stage, keep the model that is best on the validation identities, and write history.

    From a checkpoint training goes on, and ends as if it had never stopped.

    Args:
        training: see `prepare`.
        progress: where it stands.
        folder: the run folder; history.csv, model/ and state/ are written to it.

    Raises:
        LookalikeError: the loss is no longer a number in step after step, or not one image of an epoch could
            be read.
        Stopped: somebody asked training to end; it can go on from the checkpoint.
    """
    parts, result = training.parts, training.result
    settings, accelerator = parts.settings, parts.accelerator
    main = accelerator.is_main_process
    checkpoints = Checkpoints(folder / "state")
    saved = started = time.monotonic()
    earlier = result.minutes
    if parts.epochs == 0 and main:
        keep_best(parts.model, None, settings.best_metric, folder / "model", result, epoch=0)

    with (
        progress_bars(settings.progress and main, training.total_steps, progress.steps) as advance,
        listen_for_signals() as stop,
    ):
        while not training.is_finished(progress):
            stage, epoch_started, num_images = training.stage, time.monotonic(), training.means.count
            for batch in stage.epoch_batches(progress):
                # --- one step
                progress.count_batch()
                advance(describe_progress(progress.epoch, parts.epochs, training.means.mean_of("loss")))
                result.skip(batch.skipped)
                if images := count_all_images(len(batch.rows), accelerator):
                    training.accumulate_gradients(batch, progress, images)
                if stage.is_step(progress):
                    training.step(progress)

                # --- save, if it is time or if we are asked to end
                result.minutes = earlier + (time.monotonic() - started) / 60
                if not stage.is_step(progress):
                    continue
                due = time.monotonic() - saved > 60 * settings.save_minutes and not training.bad.in_a_row
                if due and progress.batch < len(stage.batches):
                    training.save(checkpoints, progress)
                    saved = time.monotonic()
                if stop.stop_requested():
                    training.save(checkpoints, progress)
                    raise Stopped(stop.by, progress.epoch, progress.batch)

            # --- end of an epoch: history, validation, the best model, the next stage
            speed = (training.means.count - num_images) / (time.monotonic() - epoch_started)
            training.end_epoch(progress, speed)
            if main:
                log.info(
                    describe_epoch(
                        training.history.rows[-1], parts.epochs, result.best_epoch == progress.epoch
                    )
                )
            result.minutes = earlier + (time.monotonic() - started) / 60
            progress.next_epoch()
            if training.next_stage(progress):
                log.info("stage %d of %d begins", progress.stage + 1, len(parts.stages))
            training.save(checkpoints, progress)
            saved = time.monotonic()
