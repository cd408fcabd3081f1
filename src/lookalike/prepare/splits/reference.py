"""A few images of every class form the gallery, all others are queries."""

import logging
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import polars as pl
from annotated_types import Ge

from lookalike.data.table import Table
from lookalike.prepare.naming import count_noun
from lookalike.prepare.splits.assigned import hash_names
from lookalike.prepare.splits.shares import shuffle_by_hash

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """Add a column `role`: `gallery` for the references of a class, `query` for its other images.

    The split is kept; a table without one becomes `test`. Rows with the role `distractor` keep it.

    Attributes:
        references: number per class; a class with no more images has no query.
        choose: the first images in the table, or random ones.
        seed: of the random choice.
    """

    references: Annotated[int, Ge(1)] = 3
    choose: Literal["first", "random"] = "first"
    seed: int = 0

    def __call__(self, table: Table) -> Table:
        """The table with the column role."""
        frame = table.frame
        if "split" not in frame.columns:
            frame = frame.with_columns(split=pl.lit("test"))
        spare = np.zeros(len(table), bool)
        if "role" in frame.columns:
            spare = (frame["role"] == "distractor").fill_null(False).to_numpy()
        gallery = self._choose_gallery(table, ~spare)
        roles = np.where(spare, "distractor", np.where(gallery, "gallery", "query"))
        self._log_gallery(table.labels, roles)
        return Table(
            frame.with_columns(pl.Series("role", roles.tolist(), dtype=pl.String)),
            table.folder,
        )

    def _choose_gallery(self, table: Table, counted_rows: np.ndarray) -> np.ndarray:
        """Which rows are references, [N] bool."""
        order = np.arange(len(table))
        if self.choose == "random":
            order = np.array(shuffle_by_hash(range(len(table)), hash_names(table), self.seed), np.int64)
        order = order[counted_rows[order]]
        position = table.frame[order].select(pl.int_range(pl.len()).over("label")).to_series().to_numpy()
        is_gallery = np.zeros(len(table), bool)
        is_gallery[order[position < self.references]] = True
        return is_gallery

    def _log_gallery(self, labels: np.ndarray, roles: np.ndarray) -> None:
        references, queries = labels[roles == "gallery"], labels[roles == "query"]
        lone = len(np.unique(references)) - len(np.unique(queries))
        log.info(
            "gallery %s of %s, query %s",
            count_noun(len(references), "image"),
            count_noun(len(np.unique(references)), "class", "classes"),
            count_noun(len(queries), "image"),
        )
        if lone:
            subject = count_noun(lone, "class has", "classes have")
            log.warning("%s no more than references=%d images, so no query", subject, self.references)
