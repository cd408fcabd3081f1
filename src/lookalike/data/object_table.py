"""A table of images from Python objects."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lookalike.data.checking import SPLITS
from lookalike.data.items import Items, JoinedItems
from lookalike.data.table import Table
from lookalike.errors import DataError


def as_table(source: Any, split: str = "train") -> Table:
    """A table, or the table of a torch Dataset of (image, label).

    Args:
        source: a table; a Dataset, all of which becomes `split`; or several by split, {"train": …, "val": …}.
        split: of a single Dataset.

    Raises:
        DataError: the images or labels cannot be used.
    """
    if isinstance(source, Table):
        return source
    by_split = source if isinstance(source, Mapping) else {split: source}
    unknown = [name for name in by_split if name not in SPLITS]
    if unknown or not by_split:
        raise DataError(
            f"datasets by split: {', '.join(map(str, unknown)) or 'none given'}; "
            f"splits are {', '.join(SPLITS)}"
        )
    parts = {name: Items(each) for name, each in by_split.items()}
    shapes = {name: part.tensor_shape for name, part in parts.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} gives {_images_text(shape)}" for name, shape in shapes.items())
        raise DataError(f"datasets by split: {listed}; all must return images of the same type")
    labels = [label for part in parts.values() for label in part.labels()]
    if len({type(label) for label in labels}) > 1:
        labels = [str(label) for label in labels]
    splits = np.repeat(list(parts), [len(part.source) for part in parts.values()]).tolist()
    items = next(iter(parts.values()))
    if len(parts) > 1:
        items = Items(JoinedItems({name: part.source for name, part in parts.items()}), "datasets")
    numbers = list(range(len(labels)))
    columns = {
        "path": [f"item {number}" for number in numbers],
        "label": labels,
        "split": splits,
        "item": numbers,
    }
    return Table(pl.DataFrame(columns), Path(items.name), items)


def _images_text(shape: tuple[int, ...] | None) -> str:
    return f"tensors {[*shape]}" if shape else "pictures"
