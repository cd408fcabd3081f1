"""From the rows of a source to a dataset folder: check and optionally resize images, split the rows."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from lookalike.data.table import Table, problem_frame, write_table
from lookalike.errors import Problem, list_problems
from lookalike.prepare.dataset import move_pairs, refuse_unusable, to_warn_of, with_sizes, with_split
from lookalike.prepare.files import check_by_decoding, check_files, check_header
from lookalike.prepare.identical import warn_of_identical
from lookalike.prepare.resize import FOLDER, Resizing, require_space_beside
from lookalike.prepare.splits.assigned import Split, summarise_counts

log = logging.getLogger(__name__)
NOTES = {
    "cut_boxes.csv": "boxes that extend beyond their images",
    "kept_whole.csv": "images without a detection, kept whole",
}


@dataclass(frozen=True)
class DatasetSettings:
    """How a dataset is made.

    Attributes:
        out: folder to write.
        source: origin of the rows, for messages.
        metadata: the settings that produced the dataset; plain values, written to its config.yaml.
        check: decode every image completely; otherwise read only headers.
        hashes: add a column with the perceptual hash of each image.
        shrink: shorter side, in pixels, of the resized copies; None uses the original files.
        shrink_quality: JPEG quality of these.
        max_skipped: maximum share of unusable images.
        workers: number of processes; None for one per core, 0 for this process.
        progress: whether to show a progress bar.
    """

    out: Path
    source: str
    metadata: Mapping[str, Any]
    check: bool = True
    hashes: bool = False
    shrink: int | None = None
    shrink_quality: int = 90
    max_skipped: float = 0.5
    workers: int | None = None
    progress: bool = False


@dataclass(frozen=True)
class Rows:
    """The output of a source.

    Attributes:
        table: rows that can be used, as far as known.
        problems: why other rows cannot.
        pairs: a frame of pairs of images, if the source has one.
        notes: remarks on images that are used, by the name of a CSV of `NOTES`.
        moved_folders: folders that become part of the dataset, by their names in it.
    """

    table: Table
    problems: list[Problem]
    pairs: pl.DataFrame | None = None
    notes: Mapping[str, list[Problem]] = field(default_factory=lambda: MappingProxyType({}))
    moved_folders: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))


def make_dataset(rows: Rows, split: Split, settings: DatasetSettings) -> Path:
    """Check the images of these rows, resize them if requested, split the rows, and write the dataset.

    Raises:
        DataError: too few images can be used, or the disk is full.
    """
    with require_space_beside(settings.out) if settings.shrink else nullcontext() as room:
        table, problems, cut = _check_images(rows.table, settings)
        problems = [*rows.problems, *problems]
        pairs, moved = rows.pairs, dict[str, Path]()
        if room is not None:
            table, damaged, paths = _shrink_images(table, room, settings)
            problems += damaged
            if pairs is not None:
                pairs = pairs.with_columns(pl.col("path_a", "path_b").replace(paths))
            moved = {FOLDER: room} if paths else {}
        return write_dataset(Rows(table, problems, pairs, {"cut_boxes.csv": cut}, moved), split, settings)


def write_dataset(rows: Rows, split: Split, settings: DatasetSettings) -> Path:
    """Split rows whose images have been checked, and write the dataset.

    Raises:
        DataError: too few images can be used, or the disk is full.
    """
    table, problems = rows.table, rows.problems
    refuse_unusable(table, problems, settings.max_skipped, settings.source)
    missed = to_warn_of(problems)
    if missed:
        log.warning("%d left out:%s", len(missed), list_problems(missed))
    notes = {name: content for name, content in rows.notes.items() if content}
    for name, content in notes.items():
        log.info("%s:%s", NOTES[name], list_problems(content))
    table = with_split(table, split)
    extra_files = {name: problem_frame(content) for name, content in notes.items()}
    if rows.pairs is not None:
        extra_files["pairs.csv"] = move_pairs(rows.pairs, table, settings.out)
    seal = partial(_add_hashes, settings=settings) if settings.hashes else None
    write_table(table, settings.out, settings.metadata, problems, extra_files, rows.moved_folders, seal)
    if problems:
        log.info("%s lists what was left out", settings.out / "skipped.csv")
    log.info("%s", summarise_counts(table))
    if settings.check:
        warn_of_identical(table, settings.out)
    return settings.out


def _add_hashes(folder: Path, settings: DatasetSettings) -> None:
    """Add the column `hash` to the table of a folder that has not got its name yet, but all of its images."""
    from lookalike.prepare.duplicates.signatures import hash_column, read_signatures

    file = folder / "table.parquet"
    table = Table(pl.read_parquet(file), folder)
    if "hash" in table.frame.columns:
        log.warning("hashes=true: the column 'hash' of the source is replaced by the hashes of the images")
    signatures = read_signatures(table, workers=settings.workers, progress=settings.progress)
    hashes = pl.Series("hash", hash_column(signatures), dtype=pl.String)
    table.frame.with_columns(hashes).write_parquet(file)


def _shrink_images(
    table: Table, room: Path, settings: DatasetSettings
) -> tuple[Table, list[Problem], dict[str, str]]:
    """Resized copies of the images, in `room`."""
    from rich.progress import track

    side, quality = settings.shrink or 0, settings.shrink_quality
    work = Resizing(table, room, settings.out, side, quality, settings.workers)
    for _ in track(work, "Shrinking images", total=len(work), disable=not settings.progress):
        pass
    log.info(
        "%s of %s images resized: %d px on the shorter side, JPEG quality %d",
        *(f"{len(work):,}", f"{len(table):,}", side, quality),
    )
    return work.result()


def _check_images(table: Table, settings: DatasetSettings) -> tuple[Table, list[Problem], list[Problem]]:
    """Check each file once, however many rows refer to it."""
    from rich.progress import track

    paths = table.frame["path"].to_list()
    files = {path: table.folder / path for path in paths}
    check = (
        check_by_decoding if settings.check and not settings.shrink else check_header
    )  # resizing decodes the file
    results = check_files(list(files.values()), check, settings.workers)
    bar = track(results, "Checking images", total=len(files), disable=not settings.progress)
    by_file = dict(zip(files, bar, strict=True))
    return with_sizes(table, (by_file[path] for path in paths))
