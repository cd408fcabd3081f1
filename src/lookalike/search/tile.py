"""A block of queries against a block of gallery rows."""

import numpy as np
import torch

from lookalike.search.coarse import Products
from lookalike.search.dots import chosen_scores
from lookalike.search.sides import Sides

DENSE = 8
"""From one in so many scores of a tile on, all of them are computed."""


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
        self._left: dict[torch.dtype, torch.Tensor] = {}
        self._right: dict[torch.dtype, torch.Tensor] = {}

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

    def scores(self, places: np.ndarray, kind: torch.dtype = torch.float64) -> np.ndarray:
        """Scores of some pairs, whose places ascend: exact in float64, within `adding_error` in float32."""
        if len(places) * DENSE > self.codes.numel():
            left, right = self._vectors(torch.float64)
            return torch.mm(left, right.T).view(-1).cpu().numpy()[places]
        return chosen_scores(*self._vectors(kind), places)

    def _vectors(self, kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        for held, vectors, rows in (
            (self._left, self.sides.queries, self.queries),
            (self._right, self.sides.rows, self.gallery),
        ):
            if torch.float32 not in held:
                held[torch.float32] = torch.from_numpy(vectors[rows]).to(self.codes.device)
            if kind not in held:
                held[kind] = held[torch.float32].to(kind)
        return self._left[kind], self._right[kind]
