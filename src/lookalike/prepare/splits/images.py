"""Split the images of every class: scores are for new images of known identities."""

from dataclasses import dataclass

from lookalike.data.table import Table
from lookalike.prepare.splits.assigned import assign_splits, hash_names, refuse_single_images
from lookalike.prepare.splits.shares import check_shares, within_class


@dataclass(frozen=True)
class Images:
    """Hold out a share of the images of each identity for testing, and another for validation.

    Attributes:
        val: share of the images of each class.
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
        splits = within_class(table.labels, hash_names(table), self.val, self.test, self.seed)
        return assign_splits(table, splits)
