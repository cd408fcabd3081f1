"""Split by class, stratified by class size, so that every split has frequent and rare classes."""

import logging
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge

from lookalike.data.table import Table
from lookalike.prepare.naming import count_noun
from lookalike.prepare.splits.assigned import assign_splits, refuse_single_images
from lookalike.prepare.splits.shares import check_shares, round_half_up, shuffle_by_hash

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frequency:
    """Split the classes of each size with the same shares; no class is in two splits.

    Classes with a size that fewer than `min_classes` classes have go to train, and so do classes with a
    single image, which cannot be retrieved.

    Attributes:
        val: share of the classes of each size.
        test: share of them.
        min_classes: sizes with fewer classes go entirely to train.
        seed: of the split.
    """

    val: float = 0.1
    test: float = 0.2
    min_classes: Annotated[int, Ge(1)] = 10
    seed: int = 0

    def __post_init__(self) -> None:
        check_shares(self.val, self.test)

    def __call__(self, table: Table) -> Table:
        """The table with a new split.

        Raises:
            DataError: every class has a single image.
        """
        refuse_single_images(table)
        names, rows, sizes = np.unique(table.labels, return_inverse=True, return_counts=True)
        splits = np.full(len(names), "train", dtype="U5")
        rare = 0
        for size in np.unique(sizes[sizes > 1]):
            classes = np.flatnonzero(sizes == size)
            if len(classes) < self.min_classes:
                rare += len(classes)
                continue
            order = shuffle_by_hash(classes.tolist(), names.tolist(), self.seed)
            in_test = round_half_up(self.test * len(order))
            in_val = min(round_half_up(self.val * len(order)), len(order) - in_test)
            splits[order[:in_test]] = "test"
            splits[order[in_test : in_test + in_val]] = "val"
        self._log_rare(sizes, rare, splits)
        return assign_splits(table, splits[rows])

    def _log_rare(self, sizes: np.ndarray, rare: int, splits: np.ndarray) -> None:
        lone = int((sizes == 1).sum())
        if lone:
            log.info("%s a single image: in train", count_noun(lone, "class has", "classes have"))
        if rare:
            subject = count_noun(rare, "class has a number of images", "classes have numbers of images")
            log.info("%s that fewer than min_classes=%d have: in train", subject, self.min_classes)
        for name in ("val", "test"):
            if getattr(self, name) and np.count_nonzero(splits == name) < 2:
                log.warning(
                    "%s gets only %s. A smaller min_classes, or split=classes, gives more",
                    name,
                    count_noun(int(np.count_nonzero(splits == name)), "class", "classes"),
                )
