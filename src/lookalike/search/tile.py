"""A block of queries against a block of gallery rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lookalike.search.coarse import Products
from lookalike.search.dots import Parts, chosen_products, chosen_scores, parts_of, products
from lookalike.search.sides import Sides

DENSE = 8
"""From one in so many scores of a tile on, all of them are computed."""


_Held = dict[str, Any]


class Tile:
    """Scores of some queries with some gallery rows, roughly for all and exactly for chosen pairs.

    It moves along the gallery (`move`); a pair is named by its place in the flattened tile.

    Args:
        sides: queries and gallery.
        order: of the queries and of the gallery rows.
        products: of queries and gallery, in these orders.
        rows: which queries.

    Attributes:
        columns: which gallery rows.
        codes: rough scores, int16 [rows, columns], see `Products`.
    """

    def __init__(self, sides: Sides, order: tuple[np.ndarray, np.ndarray], products: Products, rows: slice):
        self.sides, self.products, self.rows, self.columns = sides, products, rows, slice(0, 0)
        self.queries, self._order = order[0][rows], order[1]
        self.codes = torch.empty(0, dtype=torch.int16)
        self._left: _Held = {}
        self._right: _Held = {}

    @property
    def gallery(self) -> np.ndarray:
        """The gallery rows of the tile."""
        return self._order[self.columns]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries and of gallery rows."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def diagonal(self) -> bool:
        """Whether its rows are its columns, in self-retrieval."""
        return self.sides.itself and self.rows == self.columns

    def move(self, columns: slice) -> None:
        """Go to other gallery rows."""
        self.columns, self._right = columns, {}
        self.codes = self.products.codes(self.rows, columns)

    def scores(self, places: np.ndarray) -> np.ndarray:
        """Exact scores of some pairs, whose places ascend."""
        left, right = self._parts()
        if len(places) * DENSE > self.codes.numel():
            return products(left, right).view(-1).cpu().numpy()[places]
        return chosen_products(left, right, places)

    def rough_scores(self, places: np.ndarray) -> np.ndarray:
        """The same in float32, within `float32_error`."""
        if len(places) * DENSE > self.codes.numel():
            return self.scores(places)
        return chosen_scores(*self._rough(), places).astype(np.float64)

    def _parts(self) -> tuple[Parts, Parts]:
        for held, vectors, rows in self._sides():
            if "exact" not in held:
                held["exact"] = parts_of(vectors, rows, self.codes.device)
        return self._left["exact"], self._right["exact"]

    def _rough(self) -> tuple[torch.Tensor, torch.Tensor]:
        for held, vectors, rows in self._sides():
            if "rough" not in held:
                held["rough"] = torch.from_numpy(vectors[rows]).to(self.codes.device).float()
        return self._left["rough"], self._right["rough"]

    def _sides(self) -> Iterator[tuple[_Held, np.ndarray, np.ndarray]]:
        yield self._left, self.sides.queries, self.queries
        yield self._right, self.sides.rows, self.gallery
