"""Train on classes within a range of sizes, test on all others."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from lookalike.data.table import Table
from lookalike.errors import DataError
from lookalike.prepare.naming import count_noun
from lookalike.prepare.splits.assigned import assign_splits


@dataclass(frozen=True)
class ClassSize:
    """Classes with `smallest` to `largest` images are for training, smaller and larger ones are held out.

    Attributes:
        smallest: minimum number of images of a training class.
        largest: maximum number of images of a training class.
        held_out: the split of all other classes.
    """

    smallest: Annotated[int, Ge(1)] = 3
    largest: Annotated[int, Ge(1)] = 50
    held_out: Literal["val", "test"] = "test"

    def __post_init__(self) -> None:
        if self.smallest > self.largest:
            raise ValueError(f"smallest={self.smallest} is more than largest={self.largest}")

    def __call__(self, table: Table) -> Table:
        """The table with a new split.

        Raises:
            DataError: no class has such a size, or every class has.
        """
        _, rows, sizes = np.unique(table.labels, return_inverse=True, return_counts=True)
        trained = (sizes >= self.smallest) & (sizes <= self.largest)
        if trained.all() or not trained.any():
            raise DataError(
                f"{'each' if trained.all() else 'none'} of the {count_noun(len(sizes), 'class', 'classes')} "
                "has "
                f"{self.smallest} to {self.largest} images: there is nothing to split. They have "
                f"{sizes.min()} to "
                f"{sizes.max()}; give other values of split.smallest and split.largest"
            )
        return assign_splits(table, np.where(trained[rows], "train", self.held_out))
