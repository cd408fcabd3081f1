"""What `dataset=` may be, and the identities that training sets aside."""

import logging
from pathlib import Path

import numpy as np
import polars as pl

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
    names = [dataset] if isinstance(dataset, str) else dataset
    if not names:
        raise ConfigError("dataset=[]: name at least one data set")
    tables = [read_table(_find(name, data_dir)) for name in names]
    return tables[0] if len(tables) == 1 else _joined(names, tables)


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


def _find(name: str, data_dir: Path) -> Path:
    for place in (Path(name), data_dir / name):
        if place.exists():
            return place
    known = (
        sorted(folder.name for folder in data_dir.glob("*") if folder.is_dir()) if data_dir.is_dir() else []
    )
    hint = f"; prepared there: {', '.join(known)}" if known else ""
    raise ConfigError(f"dataset={name}: no such folder or file, here or in {data_dir}{hint}")


def _joined(names: list[str], tables: list[Table]) -> Table:
    """All rows; paths become absolute, and a label must mean one thing."""
    owners: dict[object, str] = {}
    for name, table in zip(names, tables, strict=True):
        for label in table.frame["label"].unique().to_list():
            if label in owners:
                raise DataError(
                    f"label {label!r} is in both {owners[label]} and {name}; if they are two identities, "
                    "rename the labels of one table, for instance with a prefix"
                )
            owners[label] = name
    frames = [
        table.frame.with_columns(
            path=pl.Series([str(table.file(row).absolute()) for row in range(len(table))], dtype=pl.String),
            label=pl.col("label").cast(pl.String),
        )
        for table in tables
    ]
    return Table(pl.concat(frames, how="diagonal"), Path())
