"""Datasets by folder, file or name; joining several; holding out identities for validation."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from lookalike.data.class_sizes import drop_small_classes
from lookalike.data.reading import READERS
from lookalike.data.table import Table, read_table
from lookalike.errors import ConfigError, DataError

log = logging.getLogger(__name__)
FEWEST = 2


def read_datasets(dataset: str | list[str], data_dir: Path) -> Table:
    """One table from a folder, a table file, a prepared dataset under `data_dir`, or a list of these.

    Raises:
        ConfigError: there is no such dataset.
        DataError: a table is invalid, or a label occurs in two of the tables.
    """
    return join_tables(read_tables(dataset, data_dir))


def read_tables(dataset: str | list[str], data_dir: Path, *, files: bool = True) -> dict[str, Table]:
    """The tables of `read_datasets` before joining, by name; `files` as in `read_table`."""
    names = [dataset] if isinstance(dataset, str) else dataset
    if not names:
        raise ConfigError("dataset=[]: give at least one dataset")
    if len(set(names)) < len(names):
        raise ConfigError(f"dataset=[{','.join(names)}]: a dataset is listed twice")
    return {name: read_table(_find_dataset(name, data_dir), files=files) for name in names}


def folders_of(dataset: str | list[str], data_dir: Path) -> list[Path]:
    """The folder of each of these datasets."""
    paths = [_find_dataset(name, data_dir) for name in ([dataset] if isinstance(dataset, str) else dataset)]
    return [path if path.is_dir() else path.parent for path in paths]


def dataset_title(dataset: str | list[str]) -> str:
    """The names of datasets, without their folders and endings."""
    paths = [Path(name).absolute() for name in ([dataset] if isinstance(dataset, str) else dataset)]
    return "+".join(path.stem if path.suffix.lower() in READERS else path.name for path in paths)


def join_tables(tables: Mapping[str, Table]) -> Table:
    """One table: all rows with absolute paths and labels as text, or a single table as it is.

    Raises:
        DataError: a label occurs in two of the tables, or a column has incompatible types.
    """
    if len(tables) == 1:
        return next(iter(tables.values()))
    refuse_shared_labels(tables)
    frames = [
        table.frame.with_columns(
            path=pl.Series([str(table.file(row).absolute()) for row in range(len(table))], dtype=pl.String),
            label=pl.col("label").cast(pl.String),
        )
        for table in tables.values()
    ]
    try:
        return Table(pl.concat(frames, how="diagonal_relaxed"), Path())
    except pl.exceptions.PolarsError as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{', '.join(tables)}: their columns cannot be combined: {first_line}") from error


def refuse_shared_labels(tables: Mapping[str, Table]) -> None:
    """Check that no label occurs in two tables.

    Raises:
        DataError: one does.
    """
    owners = _owners(tables)
    for name, table in tables.items():
        for label in table.frame["label"].unique().cast(pl.String).to_list():
            if owners[label] != name:
                raise DataError(
                    f"label {label!r} is in both {name} and {owners[label]}; if they are two identities, "
                    "rename the labels of one table, for instance with a prefix"
                )


def origins(tables: Mapping[str, Table], table: Table) -> np.ndarray:
    """Index of the joined table that each row came from, [N]."""
    numbers = {name: number for number, name in enumerate(tables)}
    owners = _owners(tables)
    labels = table.frame["label"].cast(pl.String).to_list()
    return np.array([numbers[owners[label]] for label in labels], np.int64)


def _owners(tables: Mapping[str, Table]) -> dict[str, str]:
    """The (last) table that contains a label."""
    return {
        label: name
        for name, table in tables.items()
        for label in table.frame["label"].unique().cast(pl.String).to_list()
    }


def split_validation(table: Table, share: float, seed: int) -> Table:
    """The table, with a seeded `share` of the training identities as `val` if it has none.

    Only identities with at least two images count; at least two of them are needed.
    """
    split, labels = table.frame["split"], table.frame["label"]
    if share == 0 or (split == "val").any():
        return table
    counts = labels.filter(split == "train").value_counts(sort=False).filter(pl.col("count") > 1)
    candidates = counts["label"].sort()
    num_classes = round(share * labels.filter(split == "train").n_unique())
    if num_classes < FEWEST or len(candidates) < 2 * FEWEST:
        log.warning(
            "too few training identities to set some aside for validation: val_share=%g of %d identities, %d "
            "of them with two images or more, and at least %d are needed; the last epoch is kept",
            *(share, labels.filter(split == "train").n_unique(), len(candidates), FEWEST),
        )
        return table
    selected = np.random.default_rng(seed).permutation(len(candidates))[:num_classes]
    aside = (split == "train") & labels.is_in(candidates.gather(np.sort(selected)).implode())
    log.info("%d of the training identities are held out for validation (val_share=%g)", num_classes, share)
    frame = table.frame.with_columns(split=pl.when(aside).then(pl.lit("val")).otherwise(split))
    return replace(table, frame=frame)


def drop_classes_below(table: Table, fewest: int) -> Table:
    """The table without the training images of classes with fewer than `fewest`; logs their numbers."""
    if fewest <= 1:
        return table
    remaining, classes, images = drop_small_classes(table, fewest)
    log.info("min_per_class=%d: %d classes with %d training images are left out", fewest, classes, images)
    return remaining


def _find_dataset(name: str, data_dir: Path) -> Path:
    for path in (Path(name), data_dir / name):
        if path.exists():
            return path
    known_names = (
        sorted(folder.name for folder in data_dir.glob("*") if folder.is_dir()) if data_dir.is_dir() else []
    )
    hint = f"; prepared there: {', '.join(known_names)}" if known_names else ""
    raise ConfigError(f"dataset={name}: there is no such folder or file, here or in {data_dir}{hint}")
