"""Stratified k-fold: every fold contains an equal share of the images of every class."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
from annotated_types import Ge

from lookalike.data.table import Table
from lookalike.errors import DataError, list_problems
from lookalike.prepare.lists import find_listed_rows
from lookalike.prepare.naming import count_noun
from lookalike.prepare.splits.assigned import hash_names
from lookalike.prepare.splits.shares import shuffle_by_hash

log = logging.getLogger(__name__)
TRAIN_ONLY, TEST_ONLY = -1, -2


@dataclass(frozen=True)
class KFold:
    """Add a column `fold`, 0 … folds − 1, and hold out one fold.

    The number of images per class differs by at most one between folds, and so does the total.
    Folds depend on names and seed, neither on the order of the rows nor on which fold is held out.

    Attributes:
        folds: number of folds.
        fold: index of the held-out fold, from 0.
        held_out: split of the held-out fold.
        train_only: list of labels or paths that are never held out: fold −1, split train.
        test_only: list of labels or paths that are never in train: fold −2, split `held_out`.
        seed: of the folds.
    """

    folds: Annotated[int, Ge(2)] = 5
    fold: Annotated[int, Ge(0)] = 0
    held_out: Literal["val", "test"] = "test"
    train_only: Path | None = None
    test_only: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fold < self.folds:
            raise ValueError(f"fold={self.fold}: must be from 0 to {self.folds - 1} with {self.folds} folds")
        for name in ("train_only", "test_only"):
            file = getattr(self, name)
            if file is not None and not file.is_file():
                raise ValueError(f"{name}={file}: there is no such file")

    def __call__(self, table: Table) -> Table:
        """The table with the columns fold and split.

        Raises:
            DataError: a list matches nothing, the lists overlap, or fewer images than folds are left.
        """
        fixed = self._fixed_folds(table)
        free = np.flatnonzero(fixed == 0)
        if len(free) < self.folds:
            raise DataError(f"{count_noun(len(free), 'image')} for {self.folds} folds: too few")
        fold = fixed.copy()
        names = hash_names(table)
        fold[free] = stratified_folds(table.labels[free], [names[row] for row in free], self.folds, self.seed)
        is_held_out = (fold == self.fold) | (fold == TEST_ONLY)
        columns = [
            pl.Series("split", np.where(is_held_out, self.held_out, "train").tolist(), dtype=pl.String),
            pl.Series("fold", fold, dtype=pl.Int32),
        ]
        self._log_folds(table.labels, fold)
        return Table(table.frame.with_columns(columns), table.folder)

    def _fixed_folds(self, table: Table) -> np.ndarray:
        """−1 and −2 for the rows on a list, 0 for the others, [N]."""
        train, test = (_is_on_list(table, file) for file in (self.train_only, self.test_only))
        both = np.flatnonzero(train & test)
        if len(both):
            raise DataError(
                f"{count_noun(len(both), 'image is', 'images are')} in train_only and in test_only, the "
                "first "
                f"is {table.frame['path'][int(both[0])]}"
            )
        return np.where(train, TRAIN_ONLY, np.where(test, TEST_ONLY, 0)).astype(np.int32)

    def _log_folds(self, labels: np.ndarray, fold: np.ndarray) -> None:
        for number in np.unique(fold):
            inside = labels[fold == number]
            fold_name = {TRAIN_ONLY: "train only", TEST_ONLY: "test only"}.get(int(number), f"fold {number}")
            images, classes = count_noun(len(inside), "image"), len(np.unique(inside))
            log.info("%s: %s of %s", fold_name, images, count_noun(classes, "class", "classes"))
        _, sizes = np.unique(labels[fold >= 0], return_counts=True)
        few = int((sizes < self.folds).sum())
        if few:
            subject = count_noun(few, "class has", "classes have")
            log.warning("%s fewer images than there are folds, so some folds lack them", subject)


def stratified_folds(labels: np.ndarray, names: list[str], folds: int, seed: int) -> np.ndarray:
    """The fold of each row, [N] int32.

    Images are dealt to the folds in turn, class after class, in an order that depends only on names and seed.

    Args:
        labels: text or integers, [N].
        names: unique names of the rows, [N].
        folds: number of folds.
        seed: of the order.
    """
    class_names, codes = np.unique(labels, return_inverse=True)
    turn = np.empty(len(class_names), np.int64)
    turn[shuffle_by_hash(range(len(class_names)), class_names.tolist(), seed)] = np.arange(len(class_names))
    position = np.empty(len(names), np.int64)
    position[shuffle_by_hash(range(len(names)), names, seed)] = np.arange(len(names))
    dealt = np.empty(len(names), np.int32)
    dealt[np.lexsort((position, turn[codes]))] = np.arange(len(names)) % folds
    return dealt


def _is_on_list(table: Table, file: Path | None) -> np.ndarray:
    if file is None:
        return np.zeros(len(table), bool)
    rows, problems = find_listed_rows(table, file)
    if problems:
        log.warning(
            "%s: %s not used:%s", file, count_noun(len(problems), "entry", "entries"), list_problems(problems)
        )
    return rows
