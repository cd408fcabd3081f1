"""Split by class: no identity is in two splits."""

from dataclasses import dataclass

from lookalike.data.table import Table
from lookalike.prepare.splits.assigned import assign_splits, refuse_single_images
from lookalike.prepare.splits.shares import check_shares, class_disjoint


@dataclass(frozen=True)
class Classes:
    """Hold out a share of the identities for testing, and another for validation.

    Attributes:
        val: share of the identities that have two images or more.
        test: share of them.
        seed: of the split.
    """

    val: float = 0.1
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        check_shares(self.val, self.test)

    def __call__(self, table: Table) -> Table:
        """The table with a new split.

        Raises:
            DataError: every class has a single image.
        """
        refuse_single_images(table)
        return assign_splits(table, class_disjoint(table.labels, self.val, self.test, self.seed))
