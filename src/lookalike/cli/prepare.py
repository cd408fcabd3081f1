"""The job `prepare`: folders, a table, addresses or a public set become a dataset; a patch changes one."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, model_validator

if TYPE_CHECKING:
    import polars as pl

    from lookalike.data.table import Table
    from lookalike.errors import Problem

log = logging.getLogger(__name__)
Share = Annotated[float, Field(ge=0, le=1)]
NOTES = {
    "cut_boxes.csv": "boxes that stick out of their images",
    "kept_whole.csv": "images in which nothing was found, kept whole",
}


class Config(BaseModel):
    """The keys of `lookalike prepare`; their defaults are in conf/prepare.yaml."""

    source: dict[str, Any] = Field(description="where the images come from")
    detect: dict[str, Any] = Field(
        description="object to detect in each image; it is cropped, rotated upright and stored in the dataset"
    )
    out: Path = Field(description="dataset folder to write; must not exist yet")
    patch: Path | list[Path] | None = Field(
        description="patch file saved by `lookalike explore`, or several, [a,b]; applied to dataset= in "
        "place of a source"
    )
    dataset: str | None = Field(
        description="with patch=: dataset folder, table file, or name of a dataset in data_dir"
    )
    undo: bool = Field(description="revert the changes of patch= instead of applying them")
    data_dir: Path = Field(description="folder in which datasets are looked up by name")
    raw: Path | None = Field(
        description="folder with the archives of a public dataset, or their extracted content; null uses "
        "raw/SOURCE"
    )
    download: bool = Field(description="download the archives of a public dataset that are missing in raw=")
    private: bool = Field(
        description="allow downloads from this machine and its local network, which are rejected by "
        "default because a foreign list or a redirect could request resources that only you "
        "can reach"
    )
    split: dict[str, Any] = Field(description="how to split the dataset if the data defines no split")
    val: Share = Field(description="fraction of the identities for validation")
    test: Share = Field(
        description="fraction of the identities for testing; 1 uses all, to evaluate an existing model"
    )
    seed: int = Field(ge=0, description="random seed for the split")
    check: bool = Field(
        description="decode every image completely; false reads only the headers, which is much faster"
    )
    shrink: int | None = Field(
        ge=16,
        le=8192,
        description="store resized copies with this shorter side in pixels, such as 256, which load "
        "faster; null keeps the original files",
    )
    shrink_quality: Annotated[int, Field(ge=1, le=100)] = Field(
        description="JPEG quality of the resized copies"
    )
    max_skipped: Share = Field(description="fail if more than this fraction of the images cannot be used")
    workers: int | None = Field(
        ge=0, description="number of processes that check or crop images; null uses one per core"
    )
    progress: bool = Field(description="show a progress bar")

    @model_validator(mode="after")
    def _shares(self) -> "Config":
        if self.val + self.test > 1 + 1e-9:
            raise ValueError(f"val={self.val:g} and test={self.test:g} add up to more than 1")
        return self

    @model_validator(mode="after")
    def _check_patching(self) -> "Config":
        if self.patch is not None and self.dataset is None:
            raise ValueError(f"patch={self.patch}: needs dataset=…, the data set to change")
        if self.patch is None and (self.dataset is not None or self.undo):
            given_key = f"dataset={self.dataset}" if self.dataset is not None else "undo=true"
            raise ValueError(f"{given_key}: is for patch=…; images come from source=…")
        return self


def main(config: Config) -> Path:
    """Prepare a dataset, and return its folder."""
    from lookalike.config import build
    from lookalike.errors import ConfigError
    from lookalike.files import refuse_existing
    from lookalike.prepare.sources.public import Raw

    refuse_existing(config.out)
    if config.patch is not None:
        return _apply_patch(config, config.patch)
    _refuse_unused(config)
    split, cropping = build(config.split, "split"), build(config.detect, "detect")
    if cropping is not None and config.shrink:
        raise ConfigError(
            f"shrink={config.shrink}: detect looks at the images as they are, and its crops have the size "
            f"that they are to have: detect.size={config.shrink} instead of shrink"
        )
    raw = Raw(config.raw, config.download, config.progress, config.private)
    table, unusable, *pairs = build(config.source, "source", raw=raw)
    if cropping is None:
        return _prepare_uncropped(config, split, table, unusable, pairs)
    from lookalike.cli._detecting import detect_and_crop

    with detect_and_crop(table, config, cropping) as cropped:
        problems = [*unusable, *cropped.problems]
        moved = [cropped.pairs(pair_frame) for pair_frame in pairs]
        also = {"cut_boxes.csv": cropped.cut, "kept_whole.csv": cropped.kept_whole}
        return _write_dataset(config, split, cropped.table, problems, moved, also, cropped.moved_folders)


def _prepare_uncropped(
    config: Config, split: Any, source_table: "Table", unusable: "list[Problem]", pairs: "list[pl.DataFrame]"
) -> Path:
    """Images as they are, or made small."""
    import polars as pl

    from lookalike.prepare.resize import FOLDER, require_space_beside

    with require_space_beside(config.out) if config.shrink else nullcontext() as room:
        table, problems, cut = _check_files(source_table, config)
        problems = [*unusable, *problems]
        moved: dict[str, Path] = {}
        if room is not None:
            table, damaged, paths = _shrink_dataset(table, room, config)
            problems += damaged
            pairs = [
                pair_frame.with_columns(pl.col("path_a", "path_b").replace(paths)) for pair_frame in pairs
            ]
            moved = {FOLDER: room} if paths else {}
        return _write_dataset(config, split, table, problems, pairs, {"cut_boxes.csv": cut}, moved)


def _write_dataset(
    config: Config,
    split: Any,
    table: "Table",
    problems: "list[Problem]",
    pairs: "list[pl.DataFrame]",
    also: "Mapping[str, list[Problem]]",
    moved: "Mapping[str, Path]" = MappingProxyType({}),
) -> Path:
    """Split the table, and write it with all that belongs to it.

    Args:
        config: the job's.
        split: what was built from its key.
        table: what can be used.
        problems: what cannot.
        pairs: none, or one frame of pairs of images.
        also: what else is said of images that are used, by the name of a CSV of `NOTES`.
        moved: folders that become part of the dataset.
    """
    from lookalike.data.table import problem_frame, write_table
    from lookalike.errors import list_problems
    from lookalike.prepare.dataset import move_pairs, refuse_unusable, to_warn_of, with_split
    from lookalike.prepare.identical import warn_of_identical
    from lookalike.prepare.splits.assigned import summarise_counts

    sources = [config.source[key] for key in ("root", "file", "list") if config.source.get(key)]
    source = str(sources[0] if sources else table.folder)
    refuse_unusable(table, problems, config.max_skipped, source)
    missed = to_warn_of(problems)
    if missed:
        log.warning("%d left out:%s", len(missed), list_problems(missed))
    notes = {name: content for name, content in also.items() if content}
    for name, content in notes.items():
        log.info("%s:%s", NOTES[name], list_problems(content))
    table = with_split(table, split)
    extra_files = {"pairs.csv": move_pairs(pairs[0], table, config.out)} if pairs else {}
    extra_files |= {name: problem_frame(content) for name, content in notes.items()}
    write_table(table, config.out, config.model_dump(mode="json"), problems, extra_files, moved)
    if problems:
        log.info("%s lists what was left out", config.out / "skipped.csv")
    log.info("%s", summarise_counts(table))
    if config.check:
        warn_of_identical(table, config.out)
    return config.out


def _shrink_dataset(
    table: "Table", room: Path, config: Config
) -> "tuple[Table, list[Problem], dict[str, str]]":
    """Images made small, in `room`."""
    from rich.progress import track

    from lookalike.prepare.resize import Resizing

    side, quality = config.shrink or 0, config.shrink_quality
    work = Resizing(table, room, config.out, side, quality, config.workers)
    for _ in track(work, "Shrinking images", total=len(work), disable=not config.progress):
        pass
    log.info(
        "%s of %s images stored smaller: %d px on the shorter side, JPEG quality %d",
        *(f"{len(work):,}", f"{len(table):,}", side, quality),
    )
    return work.result()


def _apply_patch(config: Config, patch: Path | list[Path]) -> Path:
    from lookalike.cli._datasets import read_datasets
    from lookalike.prepare.patch.dataset import patch_dataset

    table = read_datasets(config.dataset or [], config.data_dir)
    metadata = {
        "job": "prepare",
        **config.model_dump(mode="json", include={"patch", "dataset", "undo", "out"}),
    }
    return patch_dataset(
        table, patch if isinstance(patch, list) else [patch], config.out, metadata, config.undo
    )


def _refuse_unused(config: Config) -> None:
    """Refuse keys that the source has no use for, before any work."""
    from hydra.utils import get_object

    from lookalike.config.signatures import hints
    from lookalike.errors import ConfigError

    known_hints = hints(get_object(config.source["_target_"]))
    if known_hints is None or "raw" in known_hints:
        return
    given_keys = {
        "download=true": config.download,
        "private=true": config.private,
        f"raw={config.raw}": config.raw,
    }
    for key in (key for key, used in given_keys.items() if used):
        raise ConfigError(f"{key}: only public sets and urls have raw files; this source has none")


def _check_files(table: "Table", config: Config) -> "tuple[Table, list[Problem], list[Problem]]":
    """Every file looked at once, however many rows it has."""
    from rich.progress import track

    from lookalike.prepare.dataset import with_sizes
    from lookalike.prepare.files import check_by_decoding, check_files, check_header

    paths = table.frame["path"].to_list()
    files = {path: table.folder / path for path in paths}
    look = (
        check_by_decoding if config.check and not config.shrink else check_header
    )  # shrinking decodes what it shrinks
    checked = check_files(list(files.values()), look, config.workers)
    bar = track(checked, "Checking images", total=len(files), disable=not config.progress)
    by_file = dict(zip(files, bar, strict=True))
    return with_sizes(table, (by_file[path] for path in paths))
