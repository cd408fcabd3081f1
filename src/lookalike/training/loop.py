"""The training loop."""

import logging
import time
from pathlib import Path
from typing import Any

from lookalike.training.checkpoint import Checkpoints
from lookalike.training.dry_run import dry_run
from lookalike.training.fitting import check_data
from lookalike.training.judge import keep_best
from lookalike.training.plan import Parts
from lookalike.training.position import Position
from lookalike.training.processes import images_of_all
from lookalike.training.progress import bars, in_words
from lookalike.training.stage import Stage
from lookalike.training.state import Result, Training
from lookalike.training.stopping import Stopped, listening

log = logging.getLogger(__name__)


def prepare(
    parts: Parts, folder: Path, result: Result, state: dict[str, Any] | None
) -> tuple[Training, Position]:
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
    at = Position.of(state)
    training = Training(parts, Stage(parts, at.stage, None, fresh=state is None), folder, result)
    if state is None and parts.epochs:
        dry_run(training.stage)
    training.begin(state, at)
    return training, at


def fit(training: Training, at: Position, folder: Path) -> None:
    """Train stage by stage, keep the model that is best on the validation identities, and write history.

    From a checkpoint training goes on, and ends as if it had never stopped.

    Args:
        training: see `prepare`.
        at: where it stands.
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

    with bars(settings.progress and main, training.steps, at.steps) as advance, listening() as stop:
        while not training.over(at):
            stage, epoch_started, seen = training.stage, time.monotonic(), training.means.count
            for batch in stage.epoch(at):
                # --- one step
                at.count()
                advance(f"epoch {at.epoch} of {parts.epochs}, loss {training.means.of('loss'):.3f}")
                result.skip(batch.skipped)
                if images := images_of_all(len(batch.rows), accelerator):
                    training.learn(batch, at, images)
                if stage.steps(at):
                    training.step(at)

                # --- save, if it is time or if we are asked to end
                result.minutes = earlier + (time.monotonic() - started) / 60
                if not stage.steps(at):
                    continue
                due = time.monotonic() - saved > 60 * settings.save_minutes and not training.bad.in_a_row
                if due and at.batch < len(stage.batches):
                    training.save(checkpoints, at)
                    saved = time.monotonic()
                if stop.asked():
                    training.save(checkpoints, at)
                    raise Stopped(stop.by, at.epoch, at.batch)

            # --- end of an epoch: history, validation, the best model, the next stage
            speed = (training.means.count - seen) / (time.monotonic() - epoch_started)
            training.end_epoch(at, speed)
            if main:
                log.info(in_words(training.history.rows[-1], parts.epochs, result.best_epoch == at.epoch))
            result.minutes = earlier + (time.monotonic() - started) / 60
            at.next_epoch()
            if training.next_stage(at):
                log.info("stage %d of %d begins", at.stage + 1, len(parts.plans))
            training.save(checkpoints, at)
            saved = time.monotonic()
