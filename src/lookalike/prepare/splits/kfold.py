"""Stratified k-fold: every fold holds an equal share of the images of every class."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
from annotated_types import Ge

from lookalike.data.table import Table
from lookalike.errors import DataError, listing
from lookalike.prepare.lists import rows_listed
from lookalike.prepare.naming import counted
from lookalike.prepare.splits.assigned import image_names
from lookalike.prepare.splits.shares import shuffled

log = logging.getLogger(__name__)
TRAIN_ONLY, TEST_ONLY = -1, -2


@dataclass(frozen=True)
class KFold:
    """A column `fold`, 0 … folds − 1, and a split in which one fold is held out, the others trained on.

    The images of a class differ by at most one from fold to fold, and so do those of all classes together.
    Folds depend on names and seed, neither on the order of the rows nor on which fold is held out.

    Attributes:
        folds: how many.
        fold: which one is held out, from 0.
        held_out: the split that it becomes.
        train_only: list of labels or paths that are never held out: fold −1, split train.
        test_only: list of those that are never trained on: fold −2, split `held_out`.
        seed: another one, other folds.
    """

    folds: Annotated[int, Ge(2)] = 5
    fold: Annotated[int, Ge(0)] = 0
    held_out: Literal["val", "test"] = "test"
    train_only: Path | None = None
    test_only: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fold < self.folds:
            raise ValueError(f"fold={self.fold}: of {self.folds} folds it is one of 0 to {self.folds - 1}")
        for name in ("train_only", "test_only"):
            file = getattr(self, name)
            if file is not None and not file.is_file():
                raise ValueError(f"{name}={file}: there is no such file")

    def __call__(self, table: Table) -> Table:
        """The table with the columns fold and split.

        Raises:
            DataError: a list names nothing of the table, or both name the same, or fewer images than folds
                are left.
        """
        fixed = self._fixed(table)
        free = np.flatnonzero(fixed == 0)
        if len(free) < self.folds:
            raise DataError(f"{counted(len(free), 'image')} to divide into {self.folds} folds: too few")
        fold = fixed.copy()
        names = image_names(table)
        fold[free] = stratified(table.labels[free], [names[row] for row in free], self.folds, self.seed)
        held = (fold == self.fold) | (fold == TEST_ONLY)
        columns = [
            pl.Series("split", np.where(held, self.held_out, "train").tolist(), dtype=pl.String),
            pl.Series("fold", fold, dtype=pl.Int32),
        ]
        self._tell(table.labels, fold)
        return Table(table.frame.with_columns(columns), table.folder)

    def _fixed(self, table: Table) -> np.ndarray:
        """−1 and −2 for the rows on a list, 0 for the others, [N]."""
        train, test = (_on_list(table, file) for file in (self.train_only, self.test_only))
        both = np.flatnonzero(train & test)
        if len(both):
            raise DataError(
                f"{counted(len(both), 'image is', 'images are')} in train_only and in test_only, the first "
                f"of them {table.frame['path'][int(both[0])]}"
            )
        return np.where(train, TRAIN_ONLY, np.where(test, TEST_ONLY, 0)).astype(np.int32)

    def _tell(self, labels: np.ndarray, fold: np.ndarray) -> None:
        for number in np.unique(fold):
            inside = labels[fold == number]
            what = {TRAIN_ONLY: "train only", TEST_ONLY: "test only"}.get(int(number), f"fold {number}")
            images, classes = counted(len(inside), "image"), len(np.unique(inside))
            log.info("%s: %s of %s", what, images, counted(classes, "class", "classes"))
        _, sizes = np.unique(labels[fold >= 0], return_counts=True)
        few = int((sizes < self.folds).sum())
        if few:
            said = counted(few, "class has", "classes have")
            log.warning("%s fewer images than there are folds, and miss in some of them", said)


def stratified(labels: np.ndarray, names: list[str], folds: int, seed: int) -> np.ndarray:
    """The fold of each row, [N] int32.

    Images are dealt out like cards, class after class, in an order that only names and seed decide.

    Args:
        labels: text or whole numbers, [N].
        names: what tells rows apart, [N].
        folds: how many.
        seed: of the order.
    """
    known, codes = np.unique(labels, return_inverse=True)
    turn = np.empty(len(known), np.int64)
    turn[shuffled(range(len(known)), known.tolist(), seed)] = np.arange(len(known))
    place = np.empty(len(names), np.int64)
    place[shuffled(range(len(names)), names, seed)] = np.arange(len(names))
    dealt = np.empty(len(names), np.int32)
    dealt[np.lexsort((place, turn[codes]))] = np.arange(len(names)) % folds
    return dealt


def _on_list(table: Table, file: Path | None) -> np.ndarray:
    if file is None:
        return np.zeros(len(table), bool)
    rows, problems = rows_listed(table, file)
    if problems:
        log.warning("%s: %s not used:%s", file, counted(len(problems), "entry", "entries"), listing(problems))
    return rows
