"""What `dataset=` may be, and the identities that training sets aside."""

import logging
from pathlib import Path

import numpy as np
import polars as pl

from lookalike.data.class_sizes import without_small_classes
from lookalike.data.table import Table, read_table
from lookalike.errors import ConfigError, DataError

log = logging.getLogger(__name__)
FEWEST = 2


def read_datasets(dataset: str | list[str], data_dir: Path) -> Table:
    """One table from a folder, a table file, the name of a prepared set under `data_dir`, or a list of these.

    Raises:
        ConfigError: there is no such data set.
        DataError: a table is wrong, or a label stands in two of the tables.
    """
    return joined(read_tables(dataset, data_dir))


def read_tables(dataset: str | list[str], data_dir: Path, *, files: bool = True) -> dict[str, Table]:
    """The tables of `read_datasets` before they become one, by name; `files` as in `read_table`."""
    names = [dataset] if isinstance(dataset, str) else dataset
    if not names:
        raise ConfigError("dataset=[]: name at least one data set")
    if len(set(names)) < len(names):
        raise ConfigError(f"dataset=[{','.join(names)}]: a data set is named twice")
    return {name: read_table(_find(name, data_dir), files=files) for name in names}


def folders_of(dataset: str | list[str], data_dir: Path) -> list[Path]:
    """The folder of each of these data sets."""
    places = [_find(name, data_dir) for name in ([dataset] if isinstance(dataset, str) else dataset)]
    return [place if place.is_dir() else place.parent for place in places]


def joined(tables: dict[str, Table]) -> Table:
    """One table: all rows with absolute paths and labels as text, or a single table as it is.

    Raises:
        DataError: a label stands in two of the tables, or a column is of types that do not go together.
    """
    if len(tables) == 1:
        return next(iter(tables.values()))
    refuse_common_labels(tables)
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
        said = str(error).splitlines()[0]
        raise DataError(f"{', '.join(tables)}: their columns do not go together: {said}") from error


def refuse_common_labels(tables: dict[str, Table]) -> None:
    """A label must mean one thing.

    Raises:
        DataError: one stands in two tables.
    """
    owners = _owners(tables)
    for name, table in tables.items():
        for label in table.frame["label"].unique().cast(pl.String).to_list():
            if owners[label] != name:
                raise DataError(
                    f"label {label!r} is in both {name} and {owners[label]}; if they are two identities, "
                    "rename the labels of one table, for instance with a prefix"
                )


def origins(tables: dict[str, Table], table: Table) -> np.ndarray:
    """Which of the joined tables each row came from, [N]: its place among them."""
    numbers = {name: number for number, name in enumerate(tables)}
    owners = _owners(tables)
    labels = table.frame["label"].cast(pl.String).to_list()
    return np.array([numbers[owners[label]] for label in labels], np.int64)


def _owners(tables: dict[str, Table]) -> dict[str, str]:
    """The (last) table that a label stands in."""
    return {
        label: name
        for name, table in tables.items()
        for label in table.frame["label"].unique().cast(pl.String).to_list()
    }


def with_validation(table: Table, share: float, seed: int) -> Table:
    """The table, with a seeded `share` of the training identities as `val` if it has none.

    Only identities with two images or more can be judged; fewer than two of them are not worth setting aside.
    """
    split, labels = table.frame["split"], table.frame["label"]
    if share == 0 or (split == "val").any():
        return table
    counts = labels.filter(split == "train").value_counts(sort=False).filter(pl.col("count") > 1)
    candidates = counts["label"].sort()
    wanted = round(share * labels.filter(split == "train").n_unique())
    if wanted < FEWEST or len(candidates) < 2 * FEWEST:
        log.warning("too few training identities to set some aside for validation; the last epoch is kept")
        return table
    chosen = np.random.default_rng(seed).permutation(len(candidates))[:wanted]
    aside = (split == "train") & labels.is_in(candidates.gather(np.sort(chosen)).implode())
    log.info("%d of the training identities are set aside for validation (val_share=%g)", wanted, share)
    frame = table.frame.with_columns(split=pl.when(aside).then(pl.lit("val")).otherwise(split))
    return Table(frame, table.folder)


def without_small(table: Table, fewest: int) -> Table:
    """The table without the training images of classes with fewer than `fewest`; says how many went."""
    if fewest <= 1:
        return table
    kept, classes, images = without_small_classes(table, fewest)
    log.info("min_per_class=%d: %d classes with %d training images are left out", fewest, classes, images)
    return kept


def _find(name: str, data_dir: Path) -> Path:
    for place in (Path(name), data_dir / name):
        if place.exists():
            return place
    known = (
        sorted(folder.name for folder in data_dir.glob("*") if folder.is_dir()) if data_dir.is_dir() else []
    )
    hint = f"; prepared there: {', '.join(known)}" if known else ""
    raise ConfigError(f"dataset={name}: no such folder or file, here or in {data_dir}{hint}")
