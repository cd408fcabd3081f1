"""Datasets whose images are packed into shards: written, and copied to this machine."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from rich.progress import track

from lookalike.data.table import Table, read_table, write_table
from lookalike.errors import DataError, list_problems
from lookalike.files import refuse_existing
from lookalike.prepare.derived import Dataset, pair_files, read_source
from lookalike.prepare.download.dataset import fetch_dataset
from lookalike.prepare.download.shards import Packing, PackResult, refuse_lost, write_sums
from lookalike.prepare.download.stores import open_store
from lookalike.prepare.naming import count_noun
from lookalike.prepare.resize import require_space_beside
from lookalike.prepare.sources.public import progress_bar
from lookalike.prepare.splits.assigned import summarise_counts

log = logging.getLogger(__name__)


def pack_shards(
    dataset: Dataset,
    out: str | Path,
    *,
    megabytes: float = 512,
    max_skipped: float = 0.5,
    threads: int = 16,
    progress: bool = False,
    data_dir: str | Path = "data",
    metadata: Mapping[str, Any] | None = None,
) -> Table:
    """Write a dataset with its images packed into tar files, and return its table.

    Args:
        dataset: as in `lookalike.prepare.filter_dataset`.
        out: dataset folder to write; it must not exist.
        megabytes: maximum size of a shard; a larger image gets its own shard.
        max_skipped: fail if more than this fraction of the images cannot be read.
        threads: number of images to read in parallel.
        progress: show a progress bar.
        data_dir: folder in which datasets are looked up by name.
        metadata: what made the dataset, for its config.yaml.

    Raises:
        DataError: too many images cannot be read, or the disk is full; nothing is left there.
        LookalikeError: `out` exists.
    """
    out = Path(out)
    refuse_existing(out)
    source, folders = read_source(dataset, data_dir, files=False)
    about = metadata or {"made_by": "lookalike.prepare.pack_shards", "megabytes": megabytes}
    try:
        with require_space_beside(out) as room:
            work = Packing(source, out, room, int(megabytes * 1e6), threads)
            for _ in track(work, "Packing images", total=len(work), disable=not progress):
                pass
            packed = work.result()
            refuse_lost(packed, max_skipped, str(source.folder))
            _write_shards(packed, out, room, folders, about)
    except OSError as error:
        raise DataError(f"{out} could not be written: {error}; nothing was left there") from error
    return read_table(out, files=False)


def fetch_shards(url: str | Path, out: str | Path, *, threads: int = 4, progress: bool = False) -> Table:
    """Copy a dataset with shards to this machine, check every byte, and return its table.

    Args:
        url: folder that `pack_shards` wrote: https://…, s3://…, gs://…, or a path.
        out: dataset folder to write; it must not exist. A stopped copy is resumed.
        threads: number of files to download in parallel.
        progress: show a progress bar.

    Raises:
        DataError: a file cannot be fetched or does not have the length and checksum in shards.json.
        LookalikeError: `out` exists, or another process is fetching the dataset.
    """
    out = Path(out)
    refuse_existing(out)
    store = open_store(str(url))
    with progress_bar("Fetching", progress) as on_progress:
        fetch_dataset(store, out, threads, on_progress)
    table = read_table(out, files=False)
    log.info("%s", summarise_counts(table))
    return table


def _write_shards(
    packed: PackResult, out: Path, room: Path, folders: list[Path], metadata: Mapping[str, Any]
) -> None:
    """Write a dataset of shards that lie in `room`."""
    if packed.problems:
        log.warning("%d left out:%s", len(packed.problems), list_problems(packed.problems))
    size = sum((room / name).stat().st_size for name in packed.sums)
    write_table(
        packed.table,
        out,
        metadata,
        packed.problems,
        _packed_pairs(packed, out, folders),
        moved={name: room / name for name in packed.sums},
        sealed=partial(write_sums, checksums=packed.sums, images=packed.images),
    )
    images, shards = count_noun(packed.images, "image"), count_noun(len(packed.sums), "shard")
    log.info("%s in %s, %.1f MB", images, shards, size / 1e6)
    log.info("%s", summarise_counts(packed.table))


def _packed_pairs(packed: PackResult, out: Path, folders: list[Path]) -> dict[str, pl.DataFrame]:
    """Pairs that lie beside the dataset, with the new paths."""
    old = packed.packed_table.relative_to(out).frame["path"]
    moved = dict(zip(old, packed.table.frame["path"], strict=True))
    return {
        name: pairs.with_columns(pl.col("path_a", "path_b").replace(moved))
        for name, pairs in pair_files(packed.packed_table, out, folders).items()
    }
