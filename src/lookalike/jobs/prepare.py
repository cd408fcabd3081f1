"""The job `prepare`: folders, a table, addresses or a public set become a checked, split dataset."""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, model_validator

if TYPE_CHECKING:
    from lookalike.data.table import Table
    from lookalike.errors import Problem

log = logging.getLogger(__name__)
Share = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """The keys of `lookalike prepare`; their defaults are in conf/prepare.yaml."""

    source: dict[str, Any] = Field(description="what the images come from")
    out: Path = Field(description="dataset folder to write; one that exists is refused")
    raw: Path | None = Field(
        description="folder of a public set's archives, or of what was in them; null for raw/<source>"
    )
    download: bool = Field(description="fetch the archives of a public set that are missing in raw=")
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
    workers: int | None = Field(ge=0, description="processes that check images; null takes one a core")
    progress: bool = Field(description="show a progress bar")

    @model_validator(mode="after")
    def _shares(self) -> "Config":
        if self.val + self.test > 1 + 1e-9:
            raise ValueError(f"val={self.val:g} and test={self.test:g} add up to more than 1")
        return self


def main(config: Config) -> Path:
    """Prepare a dataset, and return its folder."""
    from lookalike.files import refuse_existing
    from lookalike.prepare.shrunk import room_beside

    refuse_existing(config.out)
    _refuse_idle(config)
    with room_beside(config.out) if config.shrink else nullcontext() as room:
        return _prepared(config, room)


def _prepared(config: Config, room: Path | None) -> Path:
    from lookalike.config import build
    from lookalike.data.table import problem_frame, write_table
    from lookalike.errors import listing
    from lookalike.prepare.dataset import moved_pairs, refuse_unusable, with_split
    from lookalike.prepare.public import Raw
    from lookalike.prepare.shrunk import FOLDER
    from lookalike.prepare.splits.assigned import summary

    split = build(config.split, "split")
    raw = Raw(config.raw, config.download, config.progress)
    found, unusable, *pairs = build(config.source, "source", raw=raw)
    table, unreadable, cut = _looked_at(found, config)
    moved: dict[str, str] = {}
    if room is not None:
        table, damaged, moved = _shrunk(table, room, config)
        unreadable += damaged
    problems = [*unusable, *unreadable]
    given = [config.source[key] for key in ("root", "file", "list") if config.source.get(key)]
    where = str(given[0] if given else found.folder)
    if problems:
        log.warning("%d left out:%s", len(problems), listing(problems))
    if cut:
        log.info("boxes that stick out of their images:%s", listing(cut))
    refuse_unusable(table, problems, config.max_skipped, where)
    table = with_split(table, split)
    beside = {"pairs.csv": moved_pairs(pairs[0], table, config.out, moved)} if pairs else {}
    if cut:
        beside["cut_boxes.csv"] = problem_frame(cut)
    folders = {FOLDER: room} if moved and room is not None else {}
    write_table(table, config.out, config.model_dump(mode="json"), problems, beside, folders)
    if problems:
        log.info("%s lists what was left out", config.out / "skipped.csv")
    log.info("%s", summary(table))
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


def _refuse_idle(config: Config) -> None:
    """Refuse keys that the source has no use for, before any work."""
    from hydra.utils import get_object

    from lookalike.config.signatures import hints
    from lookalike.errors import ConfigError

    known = hints(get_object(config.source["_target_"]))
    if known is None or "raw" in known:
        return
    given = "download=true" if config.download else f"raw={config.raw}" if config.raw else ""
    if given:
        raise ConfigError(f"{given}: only public sets and urls have raw files; this source has none")


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
