"""The job `prepare shards`: the images of a dataset packed into a few large tar files."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from lookalike.cli._derived import DATA_DIR, DATASET, OUT, Names

if TYPE_CHECKING:
    import polars as pl

    from lookalike.data.table import Table
    from lookalike.prepare.download.shards import PackResult

log = logging.getLogger(__name__)


class Config(BaseModel):
    """The keys of `lookalike prepare shards`; their defaults are in conf/prepare-shards.yaml."""

    dataset: Names = DATASET
    out: Path = OUT
    megabytes: Annotated[float, Field(gt=0)] = Field(
        description="maximum size of a shard in megabytes; a larger image gets its own shard"
    )
    max_skipped: Annotated[float, Field(ge=0, le=1)] = Field(
        description="fail if more than this fraction of the images cannot be read"
    )
    threads: Annotated[int, Field(ge=1, le=256)] = Field(
        description="number of images to read in parallel; raise it for slow storage such as a network disk"
    )
    progress: bool = Field(description="show a progress bar")
    data_dir: Path = DATA_DIR


def main(config: Config) -> Path:
    """Write the dataset with its shards, and return its folder."""
    from lookalike.data.datasets import join_tables, read_tables
    from lookalike.errors import DataError
    from lookalike.files import refuse_existing
    from lookalike.prepare.resize import require_space_beside

    refuse_existing(config.out)
    table = join_tables(read_tables(config.dataset, config.data_dir, files=False))
    try:
        with require_space_beside(config.out) as room:
            _write(table, room, config)
    except OSError as error:
        raise DataError(f"{config.out} could not be written: {error}; nothing was left there") from error
    return config.out


def _write(table: "Table", room: Path, config: Config) -> None:
    """Pack the images in `room`, which then becomes part of the dataset folder."""
    from functools import partial

    from rich.progress import track

    from lookalike.data.table import write_table
    from lookalike.errors import list_problems
    from lookalike.prepare.download.shards import Packing, refuse_lost, write_sums
    from lookalike.prepare.naming import count_noun
    from lookalike.prepare.splits.assigned import summarise_counts

    work = Packing(table, config.out, room, int(config.megabytes * 1e6), config.threads)
    for _ in track(work, "Packing images", total=len(work), disable=not config.progress):
        pass
    packed = work.result()
    refuse_lost(packed, config.max_skipped, str(table.folder))
    if packed.problems:
        log.warning("%d left out:%s", len(packed.problems), list_problems(packed.problems))
    size = sum((room / name).stat().st_size for name in packed.sums)
    write_table(
        packed.table,
        config.out,
        config.model_dump(mode="json"),
        packed.problems,
        _packed_pairs(packed, config),
        moved={name: room / name for name in packed.sums},
        sealed=partial(write_sums, checksums=packed.sums, images=packed.images),
    )
    log.info(
        "%s in %s, %.1f MB",
        count_noun(packed.images, "image"),
        count_noun(len(packed.sums), "shard"),
        size / 1e6,
    )
    log.info("%s", summarise_counts(packed.table))


def _packed_pairs(packed: "PackResult", config: Config) -> "dict[str, pl.DataFrame]":
    """Pairs that lie beside the dataset, with the new paths."""
    import polars as pl

    from lookalike.prepare.derived import pair_files

    old = packed.packed_table.relative_to(config.out).frame["path"]
    moved = dict(zip(old, packed.table.frame["path"], strict=True))
    files = pair_files(packed.packed_table, config.out, config.dataset, config.data_dir)
    return {
        name: pairs.with_columns(pl.col("path_a", "path_b").replace(moved)) for name, pairs in files.items()
    }
