"""Datasets made from datasets: a new split, a selection of rows, the union of several."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from lookalike.data.datasets import folders_of, join_tables, read_datasets, read_tables
from lookalike.data.table import Table, read_table, write_table
from lookalike.errors import ConfigError
from lookalike.files import refuse_existing
from lookalike.prepare.dataset import move_pairs
from lookalike.prepare.filter import Filters, filter_table
from lookalike.prepare.merge import Choices, merge_tables
from lookalike.prepare.patch.dataset import carry_over_pairs
from lookalike.prepare.splits.assigned import (
    Split,
    count_images,
    order_columns,
    split_again,
    summarise_counts,
    warn_of_shared,
)

log = logging.getLogger(__name__)
PAIRS = "pairs.csv"
Dataset = str | Path | Table | Sequence[str | Path]
SplitName = Literal["train", "val", "test"]


def split_dataset(
    dataset: Dataset,
    out: str | Path,
    split: Split,
    *,
    of: Sequence[SplitName] | None = None,
    data_dir: str | Path = "data",
    metadata: Mapping[str, Any] | None = None,
) -> Table:
    """Write a dataset with a new split, and return its table.

    Args:
        dataset: folder, table file or name under `data_dir`; a list of these, whose rows are joined; or a
            `Table`.
        out: dataset folder to write; it must not exist.
        split: a function from table to table, such as those in `lookalike.prepare.splits`.
        of: splits to divide again; the others stay unchanged; None divides all.
        data_dir: folder in which datasets are looked up by name.
        metadata: what made the dataset, for its config.yaml.

    Raises:
        LookalikeError: the dataset cannot be read or split, or `out` exists.
    """
    refuse_existing(Path(out))
    source, folders = read_source(dataset, data_dir)
    table = split_again(source, split, of)
    warn_of_shared(table.frame)
    about = metadata or {"made_by": "lookalike.prepare.split_dataset", "split": repr(split)}
    return _write_derived(table, Path(out), folders, about, {"counts.csv": count_images(table)})


def filter_dataset(
    dataset: Dataset,
    out: str | Path,
    *,
    keep: str | Path | None = None,
    drop: str | Path | None = None,
    min_side: int = 0,
    dedup: int | None = None,
    min_images: int = 1,
    max_images: int | None = None,
    of: Sequence[SplitName] | None = None,
    seed: int = 0,
    workers: int | None = 0,
    progress: bool = False,
    data_dir: str | Path = "data",
    metadata: Mapping[str, Any] | None = None,
) -> Table:
    """Write a dataset with some of the rows, and return its table; left_out.csv lists the others.

    Args:
        dataset: folder, table file or name under `data_dir`; a list of these, whose rows are joined; or a
            `Table`.
        out: dataset folder to write; it must not exist.
        keep: file with the labels or paths to keep (.txt, .csv, …); everything else is removed.
        drop: file with the labels or paths to remove.
        min_side: minimum length in pixels of the shorter side of an image or its box.
        dedup: keep only the largest of several copies of a photo in a class: the number of bits of the 64-bit
            hash in which candidates may differ, such as 10; None keeps copies.
        min_images: minimum number of images per class; smaller classes are removed.
        max_images: maximum number of images per class, chosen at random; None keeps all.
        of: splits to filter; the others stay unchanged; None filters all.
        seed: random seed for choosing images.
        workers: number of processes that read images for `dedup`; 0 for this process, None for one per core.
        progress: show a progress bar.
        data_dir: folder in which datasets are looked up by name.
        metadata: what made the dataset, for its config.yaml.

    Raises:
        ConfigError: there is nothing to filter by, a list does not exist, or the limits contradict.
        DataError: the dataset or a list cannot be read, or no row is left.
        LookalikeError: `out` exists.
    """
    refuse_existing(Path(out))
    if max_images is not None and max_images < min_images:
        raise ConfigError(f"max_images={max_images} is less than min_images={min_images}")
    lists = {name: Path(file) for name, file in {"keep": keep, "drop": drop}.items() if file is not None}
    reading = {"workers": workers, "progress": progress}
    filters = Filters(
        lists.get("keep"), lists.get("drop"), min_side, dedup, min_images, max_images, seed, **reading
    )
    if filters == Filters(seed=seed, **reading):
        raise ConfigError(
            "nothing to filter by; give keep=, drop=, min_side=, dedup=, min_images= or max_images="
        )
    for name, file in lists.items():
        if not file.is_file():
            raise ConfigError(f"{name}={file}: there is no such file")
    source, folders = read_source(dataset, data_dir)
    table, left_out = filter_table(source, filters, of)
    extra_files = {"counts.csv": count_images(table)} | ({"left_out.csv": left_out} if len(left_out) else {})
    values = {name: str(value) for name, value in vars(filters).items() if value is not None}
    about = metadata or {"made_by": "lookalike.prepare.filter_dataset", **values}
    return _write_derived(table, Path(out), folders, about, extra_files)


def merge_datasets(
    datasets: Sequence[str | Path],
    out: str | Path,
    *,
    prefixes: Sequence[str] = (),
    labels: Literal["refuse", "same"] = "refuse",
    files: Literal["refuse", "first"] = "refuse",
    contents: bool = True,
    dedup: int | None = None,
    workers: int | None = 0,
    progress: bool = False,
    data_dir: str | Path = "data",
    metadata: Mapping[str, Any] | None = None,
) -> Table:
    """Write the union of several datasets, and return its table; clashes.csv lists what clashes.

    Args:
        datasets: at least two folders, table files or names under `data_dir`, in order of precedence.
        out: dataset folder to write; it must not exist.
        prefixes: prefix for the labels and groups of each dataset, such as ["a/", "b/"].
        labels: what to do with a label that is in two datasets: raise an error, or treat it as one identity.
        files: what to do with a file that is in two datasets: raise an error, or keep only the row of the
            first dataset.
        contents: compare file contents as well as paths.
        dedup: of copies of a photo with the same label in several datasets, keep only the largest: the number
            of bits of the 64-bit hash in which candidates may differ, such as 10; None keeps all.
        workers: number of processes that read images for `dedup`; 0 for this process, None for one per core.
        progress: show a progress bar.
        data_dir: folder in which datasets are looked up by name.
        metadata: what made the dataset, for its config.yaml.

    Raises:
        ConfigError: there are fewer than two datasets, or not one prefix for each.
        DataError: labels, files or columns clash; all clashes are listed.
        LookalikeError: `out` exists.
    """
    out, names = Path(out), [str(dataset) for dataset in datasets]
    refuse_existing(out)
    if isinstance(datasets, str) or len(names) < 2:
        raise ConfigError("dataset: merging needs at least two datasets, [a,b]")
    if prefixes and len(prefixes) != len(names):
        raise ConfigError(f"prefixes: {len(prefixes)} for {len(names)} datasets; one for each")
    tables = read_tables(names, Path(data_dir))
    table, clashes = merge_tables(
        tables, out, Choices(prefixes, labels, files, contents, dedup, workers, progress)
    )
    table = order_columns(table)
    warn_of_shared(table.frame)
    extra_files = {"clashes.csv": clashes} if len(clashes) else {}
    extra_files |= carry_over_pairs(folders_of(names, Path(data_dir)), table, out)
    about = metadata or {"made_by": "lookalike.prepare.merge_datasets", "dataset": names}
    write_table(table, out, about, extra_files=extra_files)
    log.info("%s", summarise_counts(table))
    return read_table(out, files=False)


def read_source(dataset: Dataset, data_dir: str | Path, files: bool = True) -> tuple[Table, list[Path]]:
    """The rows of a dataset, and the folders that they come from."""
    if isinstance(dataset, Table):
        return dataset, [dataset.folder]
    names = str(dataset) if isinstance(dataset, str | Path) else [str(name) for name in dataset]
    table = (
        read_datasets(names, Path(data_dir))
        if files
        else join_tables(read_tables(names, Path(data_dir), files=False))
    )
    return table, folders_of(names, Path(data_dir))


def _write_derived(
    table: Table,
    out: Path,
    folders: list[Path],
    metadata: Mapping[str, Any],
    extra_files: Mapping[str, pl.DataFrame],
) -> Table:
    """Write the table as a dataset folder, with the pairs that lie beside its sources."""
    write_table(table, out, metadata, extra_files={**extra_files, **pair_files(table, out, folders)})
    log.info("%s", summarise_counts(table))
    return read_table(out, files=False)


def pair_files(table: Table, out: Path, folders: list[Path]) -> dict[str, pl.DataFrame]:
    """The pairs that lie beside the sources of a table, for a table in `out`, by the names of their files."""
    files: dict[str, pl.DataFrame] = {}
    pairs = table.folder / PAIRS
    if len(folders) == 1 and pairs.is_file():
        pair_frame = pl.read_csv(pairs, schema_overrides={"path_a": pl.String, "path_b": pl.String})
        if {"path_a", "path_b"} <= set(pair_frame.columns):
            files[PAIRS] = move_pairs(pair_frame, table, out)
    return files | carry_over_pairs(folders, table, out)
