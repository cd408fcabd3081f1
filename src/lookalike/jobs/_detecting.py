"""Pictures that `prepare` finds faces or animals in, and crops, on the way to a dataset."""

import inspect
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from lookalike.config import build
from lookalike.data.table import Table
from lookalike.detect.cropping import Boxes, Cropping
from lookalike.detect.journal import Journal, journal
from lookalike.detect.rows import FOLDER, cropped, tasks
from lookalike.detect.work import Cut, Outcome, Task
from lookalike.errors import DataError, Problem
from lookalike.prepare.boxes import Places, placed
from lookalike.prepare.files import CRASHED, in_workers
from lookalike.prepare.naming import counted

if TYPE_CHECKING:
    from lookalike.jobs.prepare import Config

log = logging.getLogger(__name__)
AT_ONCE = 4


@dataclass(frozen=True)
class Cropped:
    """What became of the pictures.

    Attributes:
        table: a row for each crop, as it will be when `images` lies in the dataset's folder.
        problems: the pictures that have no crop, and why.
        kept: pictures in which nothing was found, and which were kept whole.
        cut: boxes that stick out of their picture, and were cut off there.
        images: the folder of the crops.
        first: the path of the first crop of each picture.
    """

    table: Table
    problems: list[Problem]
    kept: list[Problem]
    cut: list[Problem]
    images: Path
    first: Mapping[str, str]

    @property
    def moved(self) -> dict[str, Path]:
        """The folder of crops by its name in the dataset's folder."""
        return {FOLDER: self.images}

    def pairs(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Pairs of pictures as pairs of their first crops."""
        paths = pl.col("path_a", "path_b")
        return pairs.with_columns(paths.replace_strict(self.first, default=None, return_dtype=pl.String))


@contextmanager
def crops_of(table: Table, config: "Config", cropping: Cropping) -> Iterator[Cropped]:
    """Crop every picture of a table into a folder beside `out`; it goes away if the block ends well.

    If it does not, what is done stays there, and the next command with the same `detect` goes on from it.

    Raises:
        DataError: the table lacks boxes, or is one of crops.
        LookalikeError: another process does the same.
    """
    if isinstance(cropping, Boxes) and "x1" not in table.frame.columns:
        raise DataError("detect=box crops to boxes, and this source has none (columns x1 y1 x2 y2, or bbox)")
    frame, places = placed(table.frame)
    table = Table(frame, table.folder)
    work = tasks(table)
    folder = config.out.with_name(f".{config.out.name}.crops")
    with journal(folder, {"detect": config.detect, "code": _code(config.detect)}) as made:
        try:
            outcomes = _outcomes(work, made, config)
            log.info("%s", _summary(outcomes, cropping))
            made_of, first = cropped(table, outcomes, cropping.size, config.out)
            _remove_others(made.crops, made_of)
            yield Cropped(made_of, *_said(frame["path"], outcomes, places), made.crops, first)
        except BaseException as error:
            if made.empty:
                shutil.rmtree(folder)
            elif isinstance(error, DataError):
                log.info("%s keeps the crops for a command with the same detect=; else remove it", folder)
            else:
                log.info("the crops made so far are in %s; the same command goes on from there", folder)
            raise
        shutil.rmtree(folder)


def _said(
    paths: pl.Series, outcomes: list[Outcome], places: Places
) -> tuple[list[Problem], list[Problem], list[Problem]]:
    """The pictures without a crop, those kept whole, and the boxes that were cut off."""
    left_out, kept, cut = list[Problem](), list[Problem](), list[Problem]()
    for row, (path, outcome) in enumerate(zip(paths, outcomes, strict=True)):
        of_box = places.box_problem(row, path, outcome.box)
        of_image = places.problem(row, path, outcome.reason)
        if not outcome.crops:
            left_out.append(of_box if outcome.box == outcome.reason else of_image)
        elif not outcome.count:
            kept.append(of_image)
        if outcome.crops and outcome.box:
            cut.append(of_box)
    return left_out, kept, cut


def _cropping(settings: str) -> Cropping:
    return build(json.loads(settings), "detect")


def _outcomes(work: list[Task], made: Journal, config: "Config") -> list[Outcome]:
    from rich.progress import Progress

    known = [made.known(task) for task in work]
    rest = [task for task, outcome in zip(work, known, strict=True) if outcome is None]
    cut = Cut(_cropping, json.dumps(config.detect), made.crops)
    new = in_workers(rest, cut, Outcome(reason=CRASHED), config.workers, AT_ONCE)
    found: dict[str, Outcome] = {}
    with Progress(disable=not config.progress, transient=False) as progress:
        bar = progress.add_task("Finding and cropping", total=len(work), completed=len(work) - len(rest))
        for task, outcome in zip(rest, new, strict=True):
            made.add(task, outcome)
            found[task.name] = outcome
            progress.advance(bar)
    return [
        found[task.name] if outcome is None else outcome for task, outcome in zip(work, known, strict=True)
    ]


def _summary(outcomes: list[Outcome], cropping: Cropping) -> str:
    """How many pictures have how much in them, in words."""
    counts = Counter(min(one.count, 2) for one in outcomes if one.count or one.none_found)
    taken = {"all": "each of which is taken", "largest": "the largest is taken"}
    several = taken.get(cropping.which, "the one nearest to the middle is taken")
    parts = [f"found one in {counted(counts[1], 'image')}"]
    parts += [f"several in {counts[2]:,} ({several})"] if counts[2] else []
    kept = "kept whole" if cropping.missing == "keep" else "left out"
    parts += [f"none in {counts[0]:,} ({kept})"] if counts[0] else []
    return ", ".join(parts)


def _remove_others(images: Path, table: Table) -> None:
    """Remove what a run before wrote, and this one has no row for."""
    wanted = {path.removeprefix(f"{FOLDER}/") for path in table.frame["path"]}
    for file in list(images.rglob("*")):
        if file.is_file() and file.relative_to(images).as_posix() not in wanted:
            file.unlink()


def _code(node: Mapping[str, Any]) -> dict[str, str]:
    """A hash of the source behind each `_target_`: crops of an earlier version are not mixed with new."""
    from hydra.utils import get_object

    found = {}
    for value in node.values():
        if isinstance(value, Mapping):
            found |= _code(value)
    if "_target_" in node:
        module = inspect.getmodule(get_object(node["_target_"]))
        file = getattr(module, "__file__", None)
        ours = node["_target_"].startswith("lookalike.")
        files = sorted(Path(file).parent.glob("*.py")) if file and ours else [Path(file)] if file else []
        found[node["_target_"]] = sha256(b"".join(each.read_bytes() for each in files)).hexdigest()
    return found
