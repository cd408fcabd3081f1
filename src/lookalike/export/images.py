"""The images that an export is tried on and calibrated with."""

import logging
from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl

from lookalike.data.table import Table
from lookalike.errors import ConfigError
from lookalike.export.settings import FEWEST_CALIBRATION_IMAGES, Settings

log = logging.getLogger(__name__)
SAMPLE_STEP = 8
"""Of the bundled sample every eighth image is taken."""


def rows_of_split(table: Table, name: str) -> Table | None:
    """The rows of a split; None if there are none."""
    rows = table.frame["split"].to_numpy() == name
    return table.take(rows) if rows.any() else None


def calibration_table(table: Table | None, settings: Settings) -> Table:
    """Training images drawn at random, for the ranges of int8.

    Raises:
        ConfigError: there are too few.
    """
    train = None if table is None else rows_of_split(table, "train")
    if train is None or len(train) < FEWEST_CALIBRATION_IMAGES:
        have = (
            "no dataset was given"
            if table is None
            else f"the dataset has {0 if train is None else len(train)}"
        )
        raise ConfigError(
            f"precision=int8: calibration needs at least {FEWEST_CALIBRATION_IMAGES} training images, and "
            f"{have}; give the dataset that the model was trained on"
        )
    random = np.random.default_rng(settings.seed)
    rows = random.permutation(len(train))[: max(settings.calibration_images, FEWEST_CALIBRATION_IMAGES)]
    return train.take(np.isin(np.arange(len(train)), rows))


def test_table(table: Table | None, split: str | None, settings: Settings) -> tuple[Table, bool]:
    """The images to compare on, and whether their labels are the user's."""
    if table is None:
        log.info("no dataset was given: the two are compared on the bundled sample, by their gap alone")
        return _sample_table(settings), False
    names = [split] if split else ["test", "val"]
    chosen = next((part for name in names if (part := rows_of_split(table, name)) is not None), None)
    if chosen is None and split:
        raise ConfigError(f"split={split}: the table has no such rows")
    chosen = table if chosen is None else chosen
    return _whole_identities(chosen, settings.max_images, settings.seed), True


def _sample_table(settings: Settings) -> Table:
    folder = Path(str(files("lookalike"))) / "sample" / "emoji"
    paths = sorted(folder.glob("*/*.png"))[::SAMPLE_STEP]
    frame = pl.DataFrame(
        {
            "path": [str(path.relative_to(folder)) for path in paths],
            "label": [path.parent.name for path in paths],
            "split": ["test"] * len(paths),
        }
    )
    return Table(frame, folder)


def _whole_identities(table: Table, count: int, seed: int) -> Table:
    """At most `count` images, all those of identities drawn at random."""
    if len(table) <= count:
        return table
    names, codes = np.unique(table.labels, return_inverse=True)
    sizes = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(len(names))
    keep = order[np.cumsum(sizes[order]) <= count]
    rows = np.isin(codes, keep if len(keep) else order[:1])
    log.info("compared on %d of %d images (max_images=%d)", rows.sum(), len(table), count)
    return table.take(rows)
