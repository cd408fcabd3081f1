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

    source: dict[str, Any] = Field(description="what the images come from")
    detect: dict[str, Any] = Field(
        description="what to find in each image; it is cropped, turned upright, and written into the dataset"
    )
    out: Path = Field(description="dataset folder to write; one that exists is refused")
    patch: Path | list[Path] | None = Field(
        description="patch for dataset=, as `lookalike explore` saves it, or several, [a,b]; no source "
        "is needed"
    )
    dataset: str | None = Field(description="with patch: dataset folder, table file, or name under data_dir")
    undo: bool = Field(description="take the changes of patch= back instead")
    data_dir: Path = Field(description="folder in which datasets are found by name")
    raw: Path | None = Field(
        description="folder of a public set's archives, or of what was in them; null for raw/<source>"
    )
    download: bool = Field(description="fetch the archives of a public set that are missing in raw=")
    private: bool = Field(
        description="also fetch from addresses of this machine and its network, which are refused otherwise: "
        "a list from elsewhere, or a redirect, could ask for what only you can reach"
    )
    split: dict[str, Any] = Field(description="what is divided, and how, where the data brings no split")
    val: Share = Field(description="share of the identities to choose the best model by")
    test: Share = Field(
        description="share of the identities to measure it on; 1 for all, to judge a finished model"
    )
    seed: int = Field(ge=0, description="another seed, another split")
    check: bool = Field(
        description="decode every image to the last pixel; false reads headers only, much faster"
    )
    shrink: int | None = Field(
        ge=16,
        le=8192,
        description="store images made small once, so many pixels on the shorter side, such as 256: "
        "training reads them faster; null leaves images where they are",
    )
    shrink_quality: Annotated[int, Field(ge=1, le=100)] = Field(
        description="JPEG quality of the images that shrink stores"
    )
    max_skipped: Share = Field(description="fail if a larger share of the images cannot be used")
    workers: int | None = Field(
        ge=0, description="processes that check or crop images; null takes one a core"
    )
    progress: bool = Field(description="show a progress bar")

    @model_validator(mode="after")
    def _shares(self) -> "Config":
        if self.val + self.test > 1 + 1e-9:
            raise ValueError(f"val={self.val:g} and test={self.test:g} add up to more than 1")
        return self

    @model_validator(mode="after")
    def _patching(self) -> "Config":
        if self.patch is not None and self.dataset is None:
            raise ValueError(f"patch={self.patch}: needs dataset=…, the data set to change")
        if self.patch is None and (self.dataset is not None or self.undo):
            given = f"dataset={self.dataset}" if self.dataset is not None else "undo=true"
            raise ValueError(f"{given}: is for patch=…; images come from source=…")
        return self


def main(config: Config) -> Path:
    """Prepare a dataset, and return its folder."""
    from lookalike.config import build
    from lookalike.errors import ConfigError
    from lookalike.files import refuse_existing
    from lookalike.prepare.public import Raw

    refuse_existing(config.out)
    if config.patch is not None:
        return _patched(config, config.patch)
    _refuse_idle(config)
    split, cropping = build(config.split, "split"), build(config.detect, "detect")
    if cropping is not None and config.shrink:
        raise ConfigError(
            f"shrink={config.shrink}: detect looks at the images as they are, and its crops have the size "
            f"that they are to have: detect.size={config.shrink} instead of shrink"
        )
    raw = Raw(config.raw, config.download, config.progress, config.private)
    found, unusable, *pairs = build(config.source, "source", raw=raw)
    if cropping is None:
        return _uncropped(config, split, found, unusable, pairs)
    from lookalike.jobs._detecting import crops_of

    with crops_of(found, config, cropping) as made:
        problems = [*unusable, *made.problems]
        moved = [made.pairs(each) for each in pairs]
        also = {"cut_boxes.csv": made.cut, "kept_whole.csv": made.kept}
        return _written(config, split, made.table, problems, moved, also, made.moved)


def _uncropped(
    config: Config, split: Any, found: "Table", unusable: "list[Problem]", pairs: "list[pl.DataFrame]"
) -> Path:
    """Images as they are, or made small."""
    import polars as pl

    from lookalike.prepare.shrunk import FOLDER, room_beside

    with room_beside(config.out) if config.shrink else nullcontext() as room:
        table, problems, cut = _looked_at(found, config)
        problems = [*unusable, *problems]
        moved: dict[str, Path] = {}
        if room is not None:
            table, damaged, paths = _shrunk(table, room, config)
            problems += damaged
            pairs = [each.with_columns(pl.col("path_a", "path_b").replace(paths)) for each in pairs]
            moved = {FOLDER: room} if paths else {}
        return _written(config, split, table, problems, pairs, {"cut_boxes.csv": cut}, moved)


def _written(
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
    from lookalike.errors import listing
    from lookalike.prepare.dataset import moved_pairs, refuse_unusable, to_warn_of, with_split
    from lookalike.prepare.identical import warn_of_identical
    from lookalike.prepare.splits.assigned import summary

    given = [config.source[key] for key in ("root", "file", "list") if config.source.get(key)]
    where = str(given[0] if given else table.folder)
    refuse_unusable(table, problems, config.max_skipped, where)
    missed = to_warn_of(problems)
    if missed:
        log.warning("%d left out:%s", len(missed), listing(missed))
    notes = {name: found for name, found in also.items() if found}
    for name, found in notes.items():
        log.info("%s:%s", NOTES[name], listing(found))
    table = with_split(table, split)
    beside = {"pairs.csv": moved_pairs(pairs[0], table, config.out)} if pairs else {}
    beside |= {name: problem_frame(found) for name, found in notes.items()}
    write_table(table, config.out, config.model_dump(mode="json"), problems, beside, moved)
    if problems:
        log.info("%s lists what was left out", config.out / "skipped.csv")
    log.info("%s", summary(table))
    if config.check:
        warn_of_identical(table, config.out)
    return config.out


def _shrunk(table: "Table", room: Path, config: Config) -> "tuple[Table, list[Problem], dict[str, str]]":
    """Images made small, in `room`."""
    from rich.progress import track

    from lookalike.prepare.shrunk import Shrinking

    side, quality = config.shrink or 0, config.shrink_quality
    work = Shrinking(table, room, config.out, side, quality, config.workers)
    for _ in track(work, "Shrinking images", total=len(work), disable=not config.progress):
        pass
    log.info(
        "%s of %s images stored smaller: %d px on the shorter side, JPEG quality %d",
        *(f"{len(work):,}", f"{len(table):,}", side, quality),
    )
    return work.result()


def _patched(config: Config, patch: Path | list[Path]) -> Path:
    from lookalike.jobs._datasets import read_datasets
    from lookalike.prepare.patched import patch_dataset

    table = read_datasets(config.dataset or [], config.data_dir)
    about = {"job": "prepare", **config.model_dump(mode="json", include={"patch", "dataset", "undo", "out"})}
    return patch_dataset(table, patch if isinstance(patch, list) else [patch], config.out, about, config.undo)


def _refuse_idle(config: Config) -> None:
    """Refuse keys that the source has no use for, before any work."""
    from hydra.utils import get_object

    from lookalike.config.signatures import hints
    from lookalike.errors import ConfigError

    known = hints(get_object(config.source["_target_"]))
    if known is None or "raw" in known:
        return
    given = {
        "download=true": config.download,
        "private=true": config.private,
        f"raw={config.raw}": config.raw,
    }
    for one in (key for key, used in given.items() if used):
        raise ConfigError(f"{one}: only public sets and urls have raw files; this source has none")


def _looked_at(table: "Table", config: Config) -> "tuple[Table, list[Problem], list[Problem]]":
    """Every file looked at once, however many rows it has."""
    from rich.progress import track

    from lookalike.prepare.dataset import with_sizes
    from lookalike.prepare.files import decoded, glanced, look_at

    paths = table.frame["path"].to_list()
    files = {path: table.folder / path for path in paths}
    look = decoded if config.check and not config.shrink else glanced  # shrinking decodes what it shrinks
    found = look_at(list(files.values()), look, config.workers)
    bar = track(found, "Checking images", total=len(files), disable=not config.progress)
    seen = dict(zip(files, bar, strict=True))
    return with_sizes(table, (seen[path] for path in paths))
