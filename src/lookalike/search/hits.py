"""Search results: lists of hits that print as a table, and that a notebook shows as pictures."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lookalike.data.html import card, cards_in_row
from lookalike.data.table import Table
from lookalike.data.thumbnails import Thumbnails

MAX_SHOWN = 20
SIDE = 80


@dataclass(frozen=True)
class Hit:
    """An indexed image that is similar to the query.

    Attributes:
        path: path of the image, relative to the current folder where it lies below it.
        label: its identity.
        similarity: cosine similarity to the query.
        row: its row in the index.
        box: the indexed part of the image, x1 y1 x2 y2 in pixels; None for the whole image.
        likely: whether the similarity reaches the threshold; None without one.
    """

    path: str
    label: str | int
    similarity: float
    row: int
    box: tuple[int, int, int, int] | None = None
    likely: bool | None = None

    @property
    def score(self) -> float:
        """The similarity, by its name in the output of `lookalike search`."""
        return self.similarity


def make_hit(table: Table, row: int, similarity: float, threshold: float | None) -> Hit:
    """The hit that a row of an index is."""
    path, cosine = _relative_path(table.folder / table.frame["path"][row]), min(similarity, 1.0)
    likely = None if threshold is None else cosine >= threshold
    return Hit(path, table.frame["label"][row], cosine, row, table.box(row), likely)


class Hits(list[Hit]):
    """The hits of one query, nearest first.

    Args:
        hits: the hits.
        table: of the index, for the pictures.
        query: file of the query; None if it was not a file.
        threshold: similarity from which a hit is likely right; None if not known.
    """

    def __init__(
        self,
        hits: Iterable[Hit] = (),
        table: Table | None = None,
        query: str | None = None,
        threshold: float | None = None,
    ):
        super().__init__(hits)
        self.table, self.query, self.threshold = table, query, threshold

    @property
    def likely(self) -> bool | None:
        """Whether the query probably shows the nearest hit; None without a threshold."""
        return None if self.threshold is None else any(hit.likely for hit in self[:1])

    def __str__(self) -> str:
        """A table with one line per hit."""
        return _format_table(self.to_frame())

    def to_dict(self) -> dict[str, Any]:
        """The query and its hits, as values for JSON."""
        return {"query": self.query, "hits": [asdict(hit) for hit in self], "likely": self.likely}

    def to_frame(self) -> pl.DataFrame:
        """One row per hit: query, rank, similarity, label, path, row, box, likely."""
        return SearchResults([self]).to_frame()

    def _repr_html_(self) -> str:
        """The query, and its hits with label and similarity."""
        cards = [] if self.query is None else [card(_hit_image(self.query), "query", self.query, side=SIDE)]
        pictures = None if self.table is None else Thumbnails(self.table, 2 * SIDE)
        for hit in self[:MAX_SHOWN]:
            uri = _hit_image(hit.path) if pictures is None else pictures.uri(hit.row)
            cards.append(card(uri, hit.label, f"{hit.similarity:.3f}", hit.path, side=SIDE))
        more = f" and {len(self) - MAX_SHOWN} more" if len(self) > MAX_SHOWN else ""
        return cards_in_row(
            cards, "" if self and not more else f"{min(len(self), MAX_SHOWN) or 'no'} hits{more}"
        )


class SearchResults(list[Hits]):
    """The hits of several queries, in their order."""

    def __str__(self) -> str:
        """A table with one line per hit; its first column is the query."""
        return _format_table(self.to_frame())

    def to_dict(self) -> list[dict[str, Any]]:
        """`Hits.to_dict` of each query."""
        return [hits.to_dict() for hits in self]

    def to_frame(self) -> pl.DataFrame:
        """One row per hit: query, rank, similarity, label, path, row, box, likely.

        The query is its file or, if it was not a file, its position among the queries as text.
        """
        ranks = [rank for hits in self for rank in range(1, len(hits) + 1)]
        names = [str(number) if hits.query is None else hits.query for number, hits in enumerate(self)]
        queries = [name for name, hits in zip(names, self, strict=True) for _ in hits]
        every = [hit for hits in self for hit in hits]
        labels = [hit.label for hit in every]
        return pl.DataFrame(
            {
                "query": pl.Series(queries, dtype=pl.String),
                "rank": pl.Series(ranks, dtype=pl.Int64),
                "similarity": pl.Series([hit.similarity for hit in every], dtype=pl.Float64),
                "label": pl.Series(labels) if labels else pl.Series([], dtype=pl.String),
                "path": pl.Series([hit.path for hit in every], dtype=pl.String),
                "row": pl.Series([hit.row for hit in every], dtype=pl.Int64),
                "box": pl.Series([hit.box for hit in every], dtype=pl.List(pl.Int64)),
                "likely": pl.Series([hit.likely for hit in every], dtype=pl.Boolean),
            }
        )

    def _repr_html_(self) -> str:
        """Each query with its hits, one below the other."""
        more = f"<p>and {len(self) - MAX_SHOWN} more</p>" if len(self) > MAX_SHOWN else ""
        return "".join(hits._repr_html_() for hits in self[:MAX_SHOWN]) + more


def _format_table(frame: pl.DataFrame) -> str:
    """Aligned columns; long paths are not cut."""
    names = ("query", "rank", "similarity", "label", "path")
    rows = [
        names,
        *(
            (query, str(rank), f"{similarity:.4f}", str(label), path)
            for query, rank, similarity, label, path in frame.select(names).iter_rows()
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    return "\n".join(lines) if len(rows) > 1 else "no hits"


def _hit_image(path: str) -> str:
    """A small copy of a file as a data URI."""
    return Thumbnails(Table(pl.DataFrame({"path": [path]}), Path()), 2 * SIDE).uri(0)


def _relative_path(path: Path) -> str:
    """A path that opens from the current folder, short where it lies below it."""
    resolved = path.resolve()
    current_folder = Path.cwd().resolve()
    return str(resolved.relative_to(current_folder) if resolved.is_relative_to(current_folder) else resolved)
