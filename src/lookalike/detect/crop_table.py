"""Crop the images of a table to the faces, animals or boxes in them."""

import inspect
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from lookalike.data.table import Table
from lookalike.detect.cropping import Boxes, Cropping
from lookalike.detect.journal import Journal, journal
from lookalike.detect.rows import FOLDER, table_of_crops, tasks
from lookalike.detect.work import CropWorker, Outcome, Task
from lookalike.errors import DataError, Problem
from lookalike.prepare.boxes import Locations, split_locations
from lookalike.prepare.files import CRASHED, run_in_workers
from lookalike.prepare.naming import count_noun

log = logging.getLogger(__name__)
AT_ONCE = 4


@dataclass(frozen=True)
class CropResult:
    """The result of cropping a table.

    Attributes:
        table: one row per crop, as it will be once `images` is in the dataset folder.
        problems: the images without a crop, and why.
        kept_whole: images without a detection that were kept whole.
        cut: boxes that extend beyond their image and were clipped.
        images: the folder of the crops.
        first: the path of the first crop of each image.
    """

    table: Table
    problems: list[Problem]
    kept_whole: list[Problem]
    cut: list[Problem]
    images: Path
    first: Mapping[str, str]

    @property
    def moved_folders(self) -> dict[str, Path]:
        """The folder of crops, by its name in the dataset folder."""
        return {FOLDER: self.images}

    def pairs(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Pairs of images as pairs of their first crops."""
        paths = pl.col("path_a", "path_b")
        return pairs.with_columns(paths.replace_strict(self.first, default=None, return_dtype=pl.String))


@dataclass(frozen=True)
class CropJob:
    """How to crop the images of a table.

    Attributes:
        out: the new dataset folder; crops are written beside it.
        settings: the nodes from which `make` builds the cropping; a resumed run must have the same.
        make: a module-level function that builds the cropping from `settings` as JSON, once per process.
        workers: number of processes; None for one per core, 0 for this process.
        progress: whether to show a progress bar.
    """

    out: Path
    settings: Mapping[str, Any]
    make: Callable[[str], Cropping]
    workers: int | None = None
    progress: bool = False


@contextmanager
def detect_and_crop(table: Table, job: CropJob) -> Iterator[CropResult]:
    """Crop every image of a table into a folder beside `job.out`, which is removed when the block ends.

    If the block raises, the crops are kept, and the next call with the same settings resumes from them.

    Raises:
        DataError: the table lacks boxes, or is one of crops.
        LookalikeError: another process is cropping into the same folder.
    """
    cropping = job.make(json.dumps(job.settings))
    if isinstance(cropping, Boxes) and "x1" not in table.frame.columns:
        raise DataError("detect=box needs boxes, and this source has none (columns x1 y1 x2 y2, or bbox)")
    frame, locations = split_locations(table.frame)
    table = Table(frame, table.folder)
    work = tasks(table)
    folder = job.out.with_name(f".{job.out.name}.crops")
    with journal(folder, {"detect": job.settings, "code": _code_hash(job.settings)}) as crop_journal:
        try:
            outcomes = _outcomes(work, crop_journal, job)
            log.info("%s", _summary(outcomes, cropping))
            made_of, first = table_of_crops(table, outcomes, cropping.size, job.out)
            _remove_other_files(crop_journal.crops, made_of)
            yield CropResult(
                made_of, *_report_outcomes(frame["path"], outcomes, locations), crop_journal.crops, first
            )
        except BaseException as error:
            if crop_journal.empty:
                shutil.rmtree(folder)
            elif isinstance(error, DataError):
                log.info(
                    "%s keeps the crops for a command with the same detect=; otherwise delete it", folder
                )
            else:
                log.info("the crops made so far are in %s; the same command resumes from there", folder)
            raise
        shutil.rmtree(folder)


def _report_outcomes(
    paths: pl.Series, outcomes: list[Outcome], locations: Locations
) -> tuple[list[Problem], list[Problem], list[Problem]]:
    """The images without a crop, those kept whole, and the clipped boxes."""
    left_out, kept_whole, cut = list[Problem](), list[Problem](), list[Problem]()
    for row, (path, outcome) in enumerate(zip(paths, outcomes, strict=True)):
        of_box = locations.box_problem(row, path, outcome.box)
        of_image = locations.problem(row, path, outcome.reason)
        if not outcome.crops:
            left_out.append(of_box if outcome.box == outcome.reason else of_image)
        elif not outcome.count:
            kept_whole.append(of_image)
        if outcome.crops and outcome.box:
            cut.append(of_box)
    return left_out, kept_whole, cut


def _outcomes(work: list[Task], crop_journal: Journal, job: CropJob) -> list[Outcome]:
    from rich.progress import Progress

    known_outcomes = [crop_journal.finished_outcome(task) for task in work]
    rest = [task for task, outcome in zip(work, known_outcomes, strict=True) if outcome is None]
    cut = CropWorker(job.make, json.dumps(job.settings), crop_journal.crops)
    new = run_in_workers(rest, cut, Outcome(reason=CRASHED), job.workers, AT_ONCE)
    outcomes: dict[str, Outcome] = {}
    with Progress(disable=not job.progress, transient=False) as progress:
        bar = progress.add_task("Detecting and cropping", total=len(work), completed=len(work) - len(rest))
        for task, outcome in zip(rest, new, strict=True):
            crop_journal.add(task, outcome)
            outcomes[task.name] = outcome
            progress.advance(bar)
    return [
        outcomes[task.name] if outcome is None else outcome
        for task, outcome in zip(work, known_outcomes, strict=True)
    ]


def _summary(outcomes: list[Outcome], cropping: Cropping) -> str:
    """The numbers of images with one, several and no detections, in words."""
    counts = Counter(min(outcome.count, 2) for outcome in outcomes if outcome.count or outcome.none_found)
    choice_text = {"all": "all of them are used", "largest": "the largest is used"}
    several = choice_text.get(cropping.which, "the one nearest to the centre is used")
    parts = [f"detections: one in {count_noun(counts[1], 'image')}"]
    parts += [f"several in {counts[2]:,} ({several})"] if counts[2] else []
    missing_text = "kept whole" if cropping.missing == "keep" else "left out"
    parts += [f"none in {counts[0]:,} ({missing_text})"] if counts[0] else []
    return ", ".join(parts)


def _remove_other_files(images: Path, table: Table) -> None:
    """Remove crops of an earlier run that have no row in this one."""
    needed_files = {path.removeprefix(f"{FOLDER}/") for path in table.frame["path"]}
    for file in list(images.rglob("*")):
        if file.is_file() and file.relative_to(images).as_posix() not in needed_files:
            file.unlink()


def _code_hash(node: Mapping[str, Any]) -> dict[str, str]:
    """A hash of the source code of each `_target_`, so that crops of an older version are not reused."""
    from hydra.utils import get_object

    hashes = {}
    for value in node.values():
        if isinstance(value, Mapping):
            hashes |= _code_hash(value)
    if "_target_" in node:
        module = inspect.getmodule(get_object(node["_target_"]))
        file = getattr(module, "__file__", None)
        ours = node["_target_"].startswith("lookalike.")
        files = sorted(Path(file).parent.glob("*.py")) if file and ours else [Path(file)] if file else []
        hashes[node["_target_"]] = sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return hashes
