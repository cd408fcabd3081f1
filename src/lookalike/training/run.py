"""A run folder around the training loop: it says what ran, how it ended, and what was kept."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from lookalike.data.table import Table
from lookalike.embeddings import embed
from lookalike.errors import ConfigError, LookalikeError, list_problems
from lookalike.evaluation.operating_point import write_point
from lookalike.evaluation.threshold_choice import choose_operating_point
from lookalike.evaluation.validation_vectors import write_validation_vectors
from lookalike.files import replace_file, write_text
from lookalike.machine import choose_device
from lookalike.model.embedder import EmbeddingModel
from lookalike.plots.image_uses import uses_histogram
from lookalike.plots.training_curves import curves
from lookalike.trackers.group import Trackers
from lookalike.training.assemble import make_components
from lookalike.training.checkpoint import Checkpoints
from lookalike.training.components import RunComponents
from lookalike.training.history import USES, Result
from lookalike.training.loop import fit
from lookalike.training.nonfinite import BAD_BATCHES
from lookalike.training.processes import make_accelerator, peer_processes, run_on_main
from lookalike.training.resume import CONFIG, changed_values, check_may_start, lock_run_folder
from lookalike.training.settings import StageSettings, TrainSettings
from lookalike.training.state import Training, prepare_training
from lookalike.training.stopping import Stopped
from lookalike.training.validation import Validation, check_metric
from lookalike.training.workbook import write_workbook

log = logging.getLogger(__name__)


def choose_threshold(parts: RunComponents, folder: Path) -> None:
    """Choose the threshold of the model in `folder` on the validation identities, and write it there.

    Without validation identities, or with too few to choose on, there is none, and a warning is logged.
    """
    if parts.validation is None:
        log.warning("no validation identities, so the model has no threshold to tell same from different by")
        return
    try:
        model = parts.model.reload(folder, parts.accelerator.device)
        vectors = embed(model, parts.validation, workers=parts.settings.workers or 0, progress=False)
        point = choose_operating_point(
            vectors.vectors, vectors.table.labels, parts.settings.far, model.space, parts.settings.seed
        )
    except (ValueError, LookalikeError) as error:
        log.warning("the model has no threshold to tell same from different by: %s", error)
        return
    write_point(point, folder)
    write_validation_vectors(vectors.vectors, vectors.table.labels, model.space, folder)
    log.info("%s", point)


def train(
    read_tables: Callable[[], Mapping[str, Table]],
    make_model: Callable[[], EmbeddingModel],
    settings: TrainSettings,
    stages: Sequence[StageSettings],
    make_trackers: Callable[[], Trackers],
    out: Path,
    record: dict[str, Any],
) -> bool:
    """Train in this process, which may be one of several, or resume a run that was stopped.

    Args:
        read_tables: gives the datasets by name.
        make_model: gives the model as it starts; called once random numbers are seeded.
        settings: of the run.
        stages: at least one.
        make_trackers: gives what follows the run besides its folder.
        out: the run folder.
        record: all values of the run as plain values, for config.yaml and to compare with when it is resumed.

    Returns:
        Whether this is the main process.

    Raises:
        ConfigError: values do not go together, or not with the data or the run in `out`.
        LookalikeError: the data cannot be used, or training failed.
    """
    device = choose_device(settings.device)
    accelerator = make_accelerator(settings.amp, device, settings.processes)
    check_metric(settings.best_metric)
    with peer_processes(), ExitStack() as stack:
        resume = (settings.allow_changes, settings.defaults)
        if run_on_main(accelerator, lambda: check_may_start(out, record, *resume)):
            trackers = make_trackers()
            parts = make_components(read_tables, make_model, settings, stages, trackers, accelerator, out)
            run_on_main(accelerator, lambda: stack.enter_context(lock_run_folder(out)))
            run(parts, out, record)
        else:
            log.info("%s is finished: nothing to do", out)
    return accelerator.is_main_process


def run(parts: RunComponents, folder: Path, config: dict[str, Any]) -> Result:
    """Train, and fill `folder`: config.yaml, the history and its curves, summary.json, model/ and more.

    After an error, Ctrl-C or SIGTERM the folder keeps the best model so far and says that training did not
    finish; the same run goes on from its last checkpoint, in state/.

    Raises:
        LookalikeError: training stopped, and the message says what was kept; or the last checkpoint cannot be
            read, and nothing was changed.
        SystemExit: after SIGTERM, with code 0: what asks a process to end means its script, too.
    """
    result, started = Result(), time.time()
    main = parts.accelerator.is_main_process
    state = Checkpoints(folder / "state").latest()
    training, validation = _prepare_training(parts, folder, result, state, config)
    try:
        if main:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / CONFIG, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
            parts.trackers.start(folder, config, Checkpoints(folder / "state").steps())
        fit(training, validation)
        if main:
            choose_threshold(parts, folder / "model")
            _tell_of_ties(parts, result)
            _report_end(parts, folder, result, "finished", started)
        parts.trackers.finish("finished")
    except (Stopped, KeyboardInterrupt) as error:
        what_is_kept = _report_stop(parts, folder, result, started)
        parts.trackers.finish("stopped")
        if isinstance(error, Stopped) and error.by == "SIGTERM":
            log.warning("%s; %s", error, what_is_kept)
            raise SystemExit(0) from error
        words = error if isinstance(error, Stopped) else f"stopped by Ctrl-C in epoch {result.epochs + 1}"
        raise LookalikeError(f"{words}; {what_is_kept}") from error
    except ConfigError:
        _report_stop(parts, folder, result, started)
        parts.trackers.finish("failed")
        raise
    except BaseException as error:
        what_is_kept = _report_stop(parts, folder, result, started)
        parts.trackers.finish("failed")
        log.error("training failed in epoch %d; %s", min(result.epochs + 1, parts.epochs), what_is_kept)
        raise error
    return result


def _prepare_training(
    parts: RunComponents, folder: Path, result: Result, state: dict[str, Any] | None, config: dict[str, Any]
) -> tuple[Training, Validation]:
    """Everything as it is before the next step; where that fails, the folder is as before.

    Raises:
        ConfigError: values or images do not fit the checkpoint, or it is at its end and they change nothing.
    """
    try:
        training, validation = prepare_training(parts, folder, result, state)
    except BaseException:
        fresh = state is None and not (folder / "model").exists() and not (folder / BAD_BATCHES).exists()
        if fresh and parts.accelerator.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    changed = changed_values(folder, config, parts.settings.defaults) if state is not None else {}
    if changed and training.is_finished():
        raise ConfigError(
            f"{folder}: all of its {training.progress.epoch - 1} epochs are done, so nothing is left to do "
            f"with other values of {', '.join(changed)}. Train longer (epochs, stages), or take another out="
        )
    return training, validation


def _report_stop(parts: RunComponents, folder: Path, result: Result, started: float) -> str:
    """Leave the folder consistent after an early end, and say what is in it."""
    if not parts.accelerator.is_main_process:
        return "see the main process"
    goes_on = bool(Checkpoints(folder / "state").all())
    on = "run the same command again to resume" if goes_on else "it cannot be resumed"
    if not (folder / "model" / "config.json").exists():
        if goes_on:
            return f"no epoch was finished; {on}"
        if (folder / BAD_BATCHES).exists():
            return "no epoch was finished; only the batches are kept"
        shutil.rmtree(folder, ignore_errors=True)
        return "no epoch was finished, so nothing was kept"
    try:
        _report_end(parts, folder, result, "stopped", started)
    except OSError as error:
        log.error("%s could not be completed: %s", folder, error)
    return f"the model of epoch {result.best_epoch} is kept in {folder / 'model'}; {on}"


def _tell_of_ties(parts: RunComponents, result: Result) -> None:
    if (
        result.best_score is not None
        and result.peak_score is not None
        and result.best_score != result.peak_score
    ):
        log.info(
            "best_metric=%s was %.4g in epoch %d and %.4g in epoch %d; the validation identities cannot tell "
            "them apart (standard error %.2g), so the later one is kept",
            *(parts.settings.best_metric, result.peak_score, result.peak_epoch),
            *(result.best_score, result.best_epoch, result.peak_error),
        )
    elif result.best_score is not None and result.equal_epochs > 1:
        log.info(
            "best_metric=%s was equally good (%.4g) in %d epochs; the last of them, epoch %d, is kept",
            *(parts.settings.best_metric, result.best_score, result.equal_epochs, result.best_epoch),
        )


def _report_end(parts: RunComponents, folder: Path, result: Result, status: str, started: float) -> None:
    """summary.json, curves.png, uses.png, history.xlsx and skipped.csv."""
    train, validation = parts.train, parts.validation
    summary = {
        "status": status,
        "epochs": result.epochs,
        "planned_epochs": parts.epochs,
        "best_epoch": result.best_epoch,
        "best_metric": parts.settings.best_metric if validation else None,
        "best_score": result.best_score,
        "minutes": round(result.minutes, 2),
        "train_images": len(train),
        "train_classes": int(train.frame["label"].n_unique()),
        "validation_images": len(validation) if validation else 0,
        "validation_classes": int(validation.frame["label"].n_unique()) if validation else 0,
        "skipped": len(result.skipped),
        "model": parts.model.backbone.spec,
        "dim": parts.model.dim,
        "device": str(parts.accelerator.device),
        "processes": parts.accelerator.num_processes,
    }
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    if (folder / "history.csv").exists():
        history = pl.read_csv(folder / "history.csv", infer_schema_length=None)
        write_workbook(history.to_dicts(), folder / "history.xlsx")
        figure = curves(history, parts.settings.best_metric, result.best_epoch)
        replace_file(folder / "curves.png", lambda path: figure.savefig(path, format="png", dpi=150))
    if (folder / USES).exists():
        histogram = uses_histogram(pl.read_csv(folder / USES)["uses"].to_numpy())
        replace_file(folder / "uses.png", lambda path: histogram.savefig(path, format="png", dpi=150))
    if result.skipped:
        problems = list(result.skipped.values())
        rows = {"row": [p.row for p in problems], "path": [p.path for p in problems]}
        frame = pl.DataFrame({**rows, "reason": [p.reason for p in problems]})
        replace_file(folder / "skipped.csv", frame.write_csv)
        log.warning(
            "%d images could not be read and were left out:%s", len(problems), list_problems(problems)
        )
