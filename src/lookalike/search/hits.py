"""What a search found: lists that a notebook shows as pictures."""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from lookalike.data.html import card, cards_in_row
from lookalike.data.table import Table
from lookalike.data.thumbnails import Thumbnails

MAX_SHOWN = 20
SIDE = 80


@dataclass(frozen=True)
class Hit:
    """An indexed image that is like the query.

    Attributes:
        path: where the image is, seen from the current folder.
        label: its identity.
        score: cosine similarity, 1 for the same.
        row: its row in the index.
        box: the part of the image that is meant, x1 y1 x2 y2 in pixels; None for all of it.
    """

    path: str
    label: str | int
    score: float
    row: int
    box: tuple[int, int, int, int] | None = None


class Hits(list[Hit]):
    """The hits of one image, nearest first.

    Args:
        hits: the hits.
        table: of the index, for the pictures.
        query: file of the image that was searched with, where it came as a file.
    """

    def __init__(self, hits: Iterable[Hit] = (), table: Table | None = None, query: str | None = None):
        super().__init__(hits)
        self.table, self.query = table, query

    def _repr_html_(self) -> str:
        """The image searched with, and its hits with label and similarity."""
        cards = [] if self.query is None else [card(_hit_image(self.query), "query", self.query, side=SIDE)]
        pictures = None if self.table is None else Thumbnails(self.table, 2 * SIDE)
        for hit in self[:MAX_SHOWN]:
            uri = _hit_image(hit.path) if pictures is None else pictures.uri(hit.row)
            cards.append(card(uri, hit.label, f"{hit.score:.3f}", hit.path, side=SIDE))
        more = f" and {len(self) - MAX_SHOWN} more" if len(self) > MAX_SHOWN else ""
        return cards_in_row(
            cards, "" if self and not more else f"{min(len(self), MAX_SHOWN) or 'no'} hits{more}"
        )


class SearchResults(list[Hits]):
    """The hits of several images, in their order."""

    def _repr_html_(self) -> str:
        """Each image with its hits below each other."""
        more = f"<p>and {len(self) - MAX_SHOWN} more</p>" if len(self) > MAX_SHOWN else ""
        return "".join(hits._repr_html_() for hits in self[:MAX_SHOWN]) + more


def _hit_image(path: str) -> str:
    """A small copy of a file as a data URI."""
    from pathlib import Path

    return Thumbnails(Table(pl.DataFrame({"path": [path]}), Path()), 2 * SIDE).uri(0)
