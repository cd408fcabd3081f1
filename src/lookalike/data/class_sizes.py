"""How many images of a class are used in an epoch, and which."""

from dataclasses import replace

import numpy as np
import polars as pl

from lookalike.data.table import Table
from lookalike.errors import DataError


def drop_small_classes(table: Table, fewest: int) -> tuple[Table, int, int]:
    """The table without the training images of classes with fewer than `fewest` of them.

    Rows of other splits are kept.

    Returns:
        The table, and the numbers of removed classes and images.

    Raises:
        DataError: no class is left.
    """
    training = pl.col("split") == "train"
    counts = table.frame.filter(training).group_by("label").len()
    small = counts.filter(pl.col("len") < fewest)
    if len(small) == len(counts):
        largest = counts["len"].max() or 0
        raise DataError(
            f"min_per_class={fewest}: no class has this many training images; the largest has {largest}"
        )
    out = training & pl.col("label").is_in(small["label"].implode())
    return replace(table, frame=table.frame.filter(~out)), len(small), int(small["len"].sum())


def images_per_epoch(sizes: np.ndarray, undersample: int | None, oversample: int | None) -> np.ndarray:
    """Number of images per class and epoch, [C].

    Args:
        sizes: images of each class, [C].
        undersample: maximum per class; None for no limit.
        oversample: minimum per class, by repeating images; None for no limit.

    Raises:
        ValueError: a number is below 1, or the two contradict each other.
    """
    for name, value in (("undersample", undersample), ("oversample", oversample)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
    if undersample is not None and oversample is not None and oversample > undersample:
        raise ValueError(
            f"oversample={oversample} is more than undersample={undersample}: the first is the minimum "
            "and the second the maximum number of images per class and epoch"
        )
    return np.clip(sizes, oversample, undersample) if undersample or oversample else sizes


def choose_rows(
    rows: np.ndarray, owner: np.ndarray, images_per_class: np.ndarray, seed: int, epoch: int
) -> np.ndarray:
    """Rows to use in an epoch: `images_per_class` of each class, different ones in each epoch.

    If a class is oversampled, the numbers of uses of its images differ by at most one.

    Args:
        rows: row numbers, [N].
        owner: class of each, from 0, [N].
        images_per_class: number of images of each class, [C].
        seed: of the choice.
        epoch: of the choice.

    Returns:
        [sum of `images_per_class`], class by class.
    """
    sizes = np.bincount(owner, minlength=len(images_per_class))
    order = np.lexsort((noise(seed, np.full(len(rows), epoch), rows), owner))
    classes = np.repeat(np.arange(len(images_per_class)), images_per_class)
    position = (np.arange(len(classes)) - starts(images_per_class)[classes]) % sizes[classes]
    return rows[order][starts(sizes)[classes] + position]


def starts(sizes: np.ndarray) -> np.ndarray:
    """Start offsets of consecutive groups."""
    return sizes.cumsum() - sizes


def noise(seed: int, passes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A pseudorandom number for each row, from seed, pass and row (mixing as in splitmix64)."""
    mixed = np.full(len(rows), seed, np.uint64)
    for part in (passes, rows):
        mixed = (mixed ^ part.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed
