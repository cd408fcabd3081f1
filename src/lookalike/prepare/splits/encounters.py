"""Split by encounter: no encounter is in two splits."""

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import polars as pl

from lookalike.data.table import Table
from lookalike.errors import DataError
from lookalike.prepare.splits.assigned import assign_splits, refuse_single_images
from lookalike.prepare.splits.shares import TOLERANCE, check_shares, shuffle_by_hash

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encounters:
    """Some encounters of each identity are tested on, others validate; at least one is trained on.

    Photos of one encounter share light, background and pose, so a model that saw some of them knows the
    others. The scores are about known identities at new encounters.

    Attributes:
        val: share of the images.
        test: share of the images.
        column: with the encounter of each image; an image without one is an encounter of its own.
        scope: where an encounter is unique: in its class (`class`), or in the dataset (`dataset`), where one
            encounter may show several identities.
        seed: of the split.
    """

    val: float = 0.1
    test: float = 0.2
    column: str = "encounter"
    scope: Literal["class", "dataset"] = "class"
    seed: int = 0

    def __post_init__(self) -> None:
        check_shares(self.val, self.test)

    def __call__(self, table: Table) -> Table:
        """The table with a new split.

        Raises:
            DataError: there is no such column, or every class has a single encounter.
        """
        refuse_single_images(table)
        if self.column not in table.frame.columns:
            raise DataError(
                f"{table.folder}: no column {self.column!r}; it has {', '.join(table.frame.columns)}. "
                "split.column= names the one with encounters"
            )
        encounters = self._rows_of_encounters(table)
        labels = table.frame["label"].to_list()
        left = defaultdict[object, int](int)
        for rows in encounters.values():
            for label in {labels[row] for row in rows}:
                left[label] += 1
        if max(left.values()) < 2:
            raise DataError(f"{table.folder}: every class has a single encounter in column {self.column!r}")
        splits = ["train"] * len(table)
        missing = {
            name: share * len(table) for name, share in (("test", self.test), ("val", self.val)) if share
        }
        names = list(encounters)
        for index in shuffle_by_hash(range(len(names)), names, self.seed):
            rows = encounters[names[index]]
            classes = {labels[row] for row in rows}
            split = next((name for name, images in missing.items() if images >= len(rows) / 2), None)
            if split is None or any(left[label] < 2 for label in classes):
                continue
            missing[split] -= len(rows)
            for label in classes:
                left[label] -= 1
            for row in rows:
                splits[row] = split
        self._warn_of_shares(missing, len(table))
        return assign_splits(table, splits)

    def _rows_of_encounters(self, table: Table) -> dict[str, list[int]]:
        values = table.frame[self.column].cast(pl.String).to_list()
        labels, paths = table.frame["label"].to_list(), table.frame["path"].to_list()
        encounters: dict[str, list[int]] = {}
        for row, value in enumerate(values):
            name = f"image {paths[row]}" if value in (None, "") else f"encounter {value}"
            key = f"{name} of {labels[row]}" if self.scope == "class" else name
            encounters.setdefault(key, []).append(row)
        return encounters

    def _warn_of_shares(self, missing: dict[str, float], count: int) -> None:
        for name, images in missing.items():
            if images > max(2, TOLERANCE * count):
                log.warning(
                    "split=encounters: %s lacks %d images of its share: each class keeps one encounter in "
                    "train",
                    name,
                    images,
                )
