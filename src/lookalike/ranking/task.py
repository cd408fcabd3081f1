"""Which rows are ranked for which queries: identities, groups, and the rows excluded for a query."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, Self

import numpy as np

from lookalike.metrics.retrieval import Ranking

Ignore = Literal["nothing", "identity_in_group", "group"]


@dataclass(frozen=True, eq=False)
class RetrievalTask:
    """Queries and gallery of a comparison.

    Attributes:
        queries: from `exact_vectors`, float64 [Q, D], or from `unit_vectors`, float32.
        query_codes: identity of each query, int64 [Q]; -1 for unknown, which matches nothing.
        gallery: as the queries, [N, D]; None for self-retrieval: the gallery is the queries, each
            query excludes its own row, and every two images form one pair.
        gallery_codes: identity of each gallery row, [N]; given if and only if `gallery` is.
        exclude_row: the gallery row of the query itself, which is excluded, int64 [Q]; -1 for none.
        query_groups: int64 [Q], such as its camera; with `gallery_groups`.
        gallery_groups: int64 [N].
        ignore: further rows excluded for a query, also from pairs: none; those of its identity and group;
            or all of its group.
        junk: gallery rows excluded for every query and from all pairs, bool [N].

    Raises:
        ValueError: shapes do not match, or required groups are missing.
    """

    queries: np.ndarray
    query_codes: np.ndarray
    gallery: np.ndarray | None = None
    gallery_codes: np.ndarray | None = None
    exclude_row: np.ndarray | None = None
    query_groups: np.ndarray | None = None
    gallery_groups: np.ndarray | None = None
    ignore: Ignore = "nothing"
    junk: np.ndarray | None = None

    def __post_init__(self) -> None:
        if (self.gallery is None) != (self.gallery_codes is None):
            raise ValueError("RetrievalTask: give both gallery and gallery_codes, or neither")
        if self.gallery is None and (self.exclude_row is not None or self.junk is not None):
            raise ValueError(
                "RetrievalTask: exclude_row and junk need a gallery; without one, remove junk rows first"
            )
        grouped = self.query_groups is not None and (self.gallery is None or self.gallery_groups is not None)
        if self.ignore != "nothing" and not grouped:
            raise ValueError(f"RetrievalTask: ignore={self.ignore!r} needs the groups of queries and gallery")
        for name in ("query_codes", "exclude_row", "query_groups"):
            _check_length(getattr(self, name), len(self.queries), name)
        for name in ("gallery_codes", "gallery_groups", "junk"):
            _check_length(getattr(self, name), len(self.rows), name)

    @property
    def self_retrieval(self) -> bool:
        """Whether this is self-retrieval."""
        return self.gallery is None

    @property
    def rows(self) -> np.ndarray:
        """The vectors of the gallery, [N, D]."""
        return self.queries if self.gallery is None else self.gallery

    @property
    def codes(self) -> np.ndarray:
        """The identities of the gallery, [N]."""
        return self.query_codes if self.gallery_codes is None else self.gallery_codes

    @property
    def groups(self) -> np.ndarray | None:
        """The groups of the gallery, [N]."""
        return self.query_groups if self.self_retrieval else self.gallery_groups

    @cached_property
    def order(self) -> np.ndarray:
        """Gallery rows sorted by identity, those of one identity ascending, [N]."""
        return np.argsort(self.codes, kind="stable")

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Start and end of each query's identity in `order`, int64 [Q] each."""
        ordered = self.codes[self.order]
        first = np.searchsorted(ordered, self.query_codes)
        last = np.searchsorted(ordered, self.query_codes, side="right")
        return first, np.where(self.query_codes < 0, first, last)

    @cached_property
    def totals(self) -> np.ndarray:
        """Number of relevant rows of each query, int64 [Q]."""
        if self.ignore != "nothing":
            return np.array([len(self.relevant_rows(query)) for query in range(len(self.queries))], np.int64)
        first, last = self.bounds
        if self.self_retrieval:
            return np.maximum(last - first - 1, 0)
        if self.exclude_row is None:
            return last - first
        includes_itself = (
            (self.exclude_row >= 0)
            & (self.codes[self.exclude_row] == self.query_codes)
            & (self.query_codes >= 0)
        )
        return last - first - includes_itself

    def same_identity_rows(self, query: int) -> np.ndarray:
        """All gallery rows of the query's identity, including excluded ones, ascending."""
        first, last = self.bounds
        return self.order[first[query] : last[query]]

    def relevant_rows(self, query: int) -> np.ndarray:
        """The relevant rows of a query, ascending."""
        same = self.same_identity_rows(query)
        return same[self.is_visible(query, same)]

    def is_visible(self, queries: int | np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether each row is in the ranking of each query, that is, not excluded; bool."""
        is_visible = rows != (
            queries if self.self_retrieval else -1 if self.exclude_row is None else self.exclude_row[queries]
        )
        if self.ignore == "nothing" or self.groups is None or self.query_groups is None:
            return is_visible
        ignored = self.groups[rows] == self.query_groups[queries]
        if self.ignore == "identity_in_group":
            codes = self.query_codes[queries]
            ignored &= (self.codes[rows] == codes) & (codes >= 0)
        return is_visible & ~ignored

    def hidden_rows(self, query: int) -> np.ndarray:
        """The gallery rows excluded for a query."""
        own_row = (
            query if self.self_retrieval else -1 if self.exclude_row is None else int(self.exclude_row[query])
        )
        itself = np.array([own_row] * (own_row >= 0), np.int64)
        if self.ignore == "nothing":
            return itself
        ignored_rows = (
            np.arange(len(self.rows))
            if self.ignore == "group"
            else np.append(self.same_identity_rows(query), itself)
        )
        return ignored_rows[~self.is_visible(query, ignored_rows)]

    def drop_junk(self) -> tuple[Self, np.ndarray | None]:
        """The task without junk rows, and the original index of each remaining row (None: no junk)."""
        if self.junk is None or not self.junk.any():
            return self, None
        kept_rows, exclude_row = np.flatnonzero(~self.junk), self.exclude_row
        if exclude_row is not None:
            new_rows = np.where(self.junk, -1, np.cumsum(~self.junk) - 1)
            exclude_row = np.where(exclude_row < 0, -1, new_rows[exclude_row])
        groups = None if self.groups is None else self.groups[kept_rows]
        smaller = replace(
            self,
            gallery=self.rows[kept_rows],
            gallery_codes=self.codes[kept_rows],
            gallery_groups=groups,
            exclude_row=exclude_row,
            junk=None,
        )
        return smaller, kept_rows


def _check_length(column: np.ndarray | None, length: int, name: str) -> None:
    if column is not None and column.shape != (length,):
        raise ValueError(f"RetrievalTask: {name} has shape {list(column.shape)}, [{length}] is needed")


@dataclass(frozen=True)
class RankingSettings:
    """Sizes of blocks, and limits beyond which another method is faster; results do not depend on them.

    Attributes:
        max_direct: number of scores up to which every query is ranked in full.
        tile: queries and gallery rows that are compared at once; at most 1024.
        spare_candidates: candidates that a query may have beyond four times those that it needs.
        max_undecided: undecided comparisons per row and query, up to which ranks are counted.
        max_stored_pairs: number of scores up to which those of all pairs are stored.
        max_stored_positives: number of positive pairs up to which all of their scores are stored.
        block_bytes: memory for scores of queries that are ranked in full.
        rotate: whether vectors are rotated before they are rounded; None where it pays.
        bfloat16: whether to multiply in bfloat16; None where it is faster than float32.
    """

    max_direct: int = 1 << 20
    tile: int = 1024
    spare_candidates: int = 512
    max_undecided: float = 0.5
    max_stored_pairs: int = 1 << 23
    max_stored_positives: int = 1 << 22
    block_bytes: int = 1 << 26
    rotate: bool | None = None
    bfloat16: bool | None = None


class RankedQueries(NamedTuple):
    """Positions of the relevant rows, and the nearest rows, of some queries.

    Attributes:
        queries: int64 [Q].
        ranking: of these queries.
        nearest: int64 [Q, k], nearest first; -1 if there are fewer.
        scores: float64 [Q, k]; -inf if there are fewer.
    """

    queries: np.ndarray
    ranking: Ranking
    nearest: np.ndarray
    scores: np.ndarray


class RankingDepth(NamedTuple):
    """How much of each ranking is needed.

    Attributes:
        every: relevant rows up to this position or up to their number; None for all of them.
        first: the first relevant row, up to this position.
        neighbours: number of nearest rows.
    """

    every: int | None
    first: int
    neighbours: int
