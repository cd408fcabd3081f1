"""Dot products of many vectors in low precision, with a proven bound on their error."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch

from lookalike.ranking.exact import Parts, chosen_products, pair_scores, products, split
from lookalike.ranking.task import RetrievalTask

CHANCE = 1e-12
"""Probability, over rotations, that any product of a comparison exceeds its error bound."""


def random_rotation(dim: int, device: torch.device) -> torch.Tensor:
    """A fixed random rotation, drawn uniformly from all of them, float64 [D, D].

    The factor Q of a Gaussian matrix, with the signs of R's diagonal (Mezzadri 2007, math-ph/0609050).
    """
    gaussian = torch.from_numpy(np.random.default_rng(0).standard_normal((dim, dim)))
    factor, upper = torch.linalg.qr(gaussian)
    return (factor * upper.diagonal().sign()).to(device)


def max_rounding_error(dim: int, products: int, chance: float = CHANCE) -> float:
    """Bound on the cosine between a random direction and a fixed one, over this many products.

    In n dimensions it exceeds t with a probability of at most 2 exp(−n t² / 2) (Ball 1997, "An elementary
    introduction to modern convex geometry", lemma 2.2); each product has two directions. A bound
    of 1 or more is vacuous.
    """
    return math.sqrt(2 * math.log(4 * max(products, 1) / chance) / max(dim - 1, 1))


NOTHING = np.int16(32767)
"""A code above that of every score: NaN."""

UNIT = 1 + 1e-5
"""Upper bound on the norm of a unit vector after rounding."""

BLOCK = 1024
"""Vectors rounded at a time."""


class LowPrecisionVectors:
    """Unit vectors in the type that this machine multiplies fastest.

    Args:
        vectors: from `exact_vectors` or `unit_vectors`, [N, D].
        order: the rows to take, in this order.
        device: where they are stored.
        rotation: applied before rounding, float64 [D, D]; None for none.
        bfloat16: whether to round to bfloat16; None where this machine multiplies faster in it.

    Attributes:
        low: bfloat16 or float32 [M, D].
        residual: the largest norm of a rounding error.
        along: the largest product of a rotated vector and its rounding error; None if not rotated.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        order: np.ndarray,
        device: torch.device,
        rotation: torch.Tensor | None = None,
        bfloat16: bool | None = None,
    ):
        bfloat16 = has_fast_bfloat16(device) if bfloat16 is None else bfloat16
        kind = torch.bfloat16 if bfloat16 else torch.float32
        self.low = torch.empty(len(order), vectors.shape[1], dtype=kind, device=device)
        self.residual, self.along = 0.0, None if rotation is None else 0.0
        for start in range(0, len(order), BLOCK):
            block = torch.from_numpy(vectors[order[start : start + BLOCK]]).to(device)
            if rotation is not None:
                block = torch.mm(block.double(), rotation)
            low = self.low[start : start + BLOCK].copy_(block)
            if low.dtype is not block.dtype:
                lost = block - low.to(block.dtype)  # without a rotation the difference is exact
                length = float(torch.linalg.vector_norm(lost, dim=1).max())
                self.residual = max(self.residual, length * (1 + len(block[0]) * 2.0**-23))
                if self.along is not None:
                    self.along = max(self.along, float((lost * block).sum(dim=1).abs().max()))


def error_bound(left: LowPrecisionVectors, right: LowPrecisionVectors, score: float = 1.0) -> float:
    """Largest difference between a low-precision product and an exact score of at most this magnitude.

    It applies before the product is rounded to a code.

    Let a = a' + r and b = b' + s, with a' and b' the rounded vectors. Then a·b − a'·b' = r·b + a'·s, at most
    |r| |b| + |a'| |s| (Cauchy and Schwarz). The lengths of r and s are measured; those of a and b are at most
    `UNIT`, that of a' at most `UNIT` + |r|. Adding D products in float32, in any order, errs by at most
    D u / (1 − D u) times the sum of their magnitudes, which is at most |a'| |b'| (Higham 2002, section 3.1);
    u = 2⁻²³ also covers truncation.

    If both were rotated at random, a·b − a'·b' = r·b + a·s − r·s. Given a, the part of b that is orthogonal
    to a has a direction that is uniform over all those. So |r·b| is at most |a·b| |r·a| + |r| t; |a·s|
    likewise. t is exceeded with a probability of 10⁻¹² (`max_rounding_error`).
    """
    lost, other = left.residual, right.residual
    adding = summation_error(left.low.shape[1]) * (1 + lost) * (1 + other)
    if left.along is None or right.along is None:
        return lost * UNIT + (UNIT + lost) * other + adding
    rounding_error = (lost + other) * max_rounding_error(left.low.shape[1], len(left.low) * len(right.low))
    along = score * (left.along + right.along)
    return (rounding_error + along) * UNIT**2 + lost * other + adding


def summation_error(dim: int) -> float:
    """Largest error of the dot product of two unit vectors in float32."""
    share = dim * 2.0**-23
    return share / (1 - share) * UNIT * UNIT


def float64_error(dim: int) -> float:
    """Largest difference between a float64 dot product of exact vectors and their exact score."""
    return 2 * (dim + 8) * 2.0**-52


class Products:
    """Low-precision scores of blocks of rows and columns as codes: the 16 bits of a bfloat16 as an integer.

    Rounding to a code is monotone, and codes of positive scores sort like the scores. So every pair whose
    exact score is at least `value_of(code) + error_bound` has this code or a greater one, for codes above 0.

    Args:
        left: from `LowPrecisionVectors`, [Q, D].
        right: [N, D].
    """

    def __init__(self, left: torch.Tensor, right: torch.Tensor):
        self.left, self.right = left, right
        self._output_buffer: torch.Tensor | None = None
        self._limits = np.empty((0, 0), np.int16)
        self._reached = np.empty((0, 0), bool)

    def codes(self, rows: slice, columns: slice) -> torch.Tensor:
        """Codes, int16 [rows, columns]; overwritten by the next call."""
        left, right = self.left[rows], self.right[columns]
        shape = (len(left), len(right))
        if self._output_buffer is None or self._output_buffer.shape != shape:
            self._output_buffer = left.new_empty(shape)
            self._limits, self._reached = np.empty(shape, np.int16), np.empty(shape, bool)
        torch.mm(left, right.T, out=self._output_buffer)
        return self._output_buffer.bfloat16().view(torch.int16)

    def cells_above_limits(
        self, codes: torch.Tensor, rows: np.ndarray, columns: np.ndarray | None
    ) -> np.ndarray:
        """Cells of the flattened tile whose code reaches the limit of its row or column, ascending.

        Args:
            codes: the last result of `codes`.
            rows: limits of the rows, int16.
            columns: limits of the columns; None for no such limits.
        """
        if codes.device.type != "cpu":
            return _cells_above_limits_on_device(codes, rows, columns)
        limits = rows[:, None]
        if columns is not None:
            limits = np.minimum(limits, columns, out=self._limits)
        return np.flatnonzero(np.greater_equal(codes.numpy(), limits, out=self._reached))


def value_of(codes: np.ndarray) -> np.ndarray:
    """The scores of codes, float64."""
    return (codes.astype(np.int32) << 16).view(np.float32).astype(np.float64)


def code_below(scores: np.ndarray) -> np.ndarray:
    """The code of the largest bfloat16 that is not above the score; 0 if the score is not positive."""
    below = np.nextafter(scores.astype(np.float32), np.float32(-2))
    return np.where(below > 0, below.view(np.int32) >> 16, 0).astype(np.int16)


def codes_at_cells(codes: torch.Tensor, cells: np.ndarray) -> np.ndarray:
    """The codes at cells of the flattened tile."""
    return codes.view(-1)[torch.from_numpy(cells).to(codes.device)].cpu().numpy()


def _cells_above_limits_on_device(
    codes: torch.Tensor, rows: np.ndarray, columns: np.ndarray | None
) -> np.ndarray:
    limits = torch.from_numpy(rows).to(codes.device)[:, None]
    if columns is not None:
        limits = torch.minimum(limits, torch.from_numpy(columns).to(codes.device))
    return (codes >= limits).view(-1).nonzero().view(-1).cpu().numpy()


@contextmanager
def plain_products() -> Iterator[None]:
    """Disable reduced-precision products (TF32 and the like), as `error_bound` requires."""
    cuda = torch.backends.cuda.matmul
    before = torch.get_float32_matmul_precision(), cuda.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    cuda.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cuda.allow_bf16_reduced_precision_reduction = before[1]


@cache
def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether products are faster in bfloat16 than in float32, by a short measurement."""
    if device.type != "cpu":
        return True
    vectors = torch.ones(512, 512)
    return _time_product(vectors.bfloat16()) < 0.8 * _time_product(vectors)


def _time_product(vectors: torch.Tensor) -> float:
    """Seconds of the fastest of several products."""
    spent = []
    for _ in range(4):
        started = time.perf_counter()
        torch.mm(vectors, vectors.T)
        spent.append(time.perf_counter() - started)
    return min(spent)


DENSE = 8
"""All scores of a tile are computed if at least one in this many is needed."""


class Tile:
    """Scores of some queries with some gallery rows: low-precision for all, exact for selected pairs.

    It moves along the gallery (`move`). Pairs are given as cells of the flattened tile.

    Args:
        task: queries and gallery.
        order: of the queries and of the gallery rows.
        products: of queries and gallery, in these orders.
        rows: the queries.

    Attributes:
        columns: the gallery rows.
        codes: low-precision scores, int16 [rows, columns], see `Products`.
    """

    def __init__(
        self, task: RetrievalTask, order: tuple[np.ndarray, np.ndarray], products: Products, rows: slice
    ):
        self.task, self.products, self.rows, self.columns = task, products, rows, slice(0, 0)
        self.queries, self.gallery, self._order = order[0][rows], order[1][:0], order[1]
        self.codes = torch.empty(0, dtype=torch.int16)
        device = products.left.device
        self._left, self._right = TileVectors(task.queries, device), TileVectors(task.rows, device)
        self._left.select(self.queries)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries and of gallery rows."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def diagonal(self) -> bool:
        """Whether it is on the diagonal of self-retrieval."""
        return self.task.self_retrieval and self.rows == self.columns

    def move(self, columns: slice) -> None:
        """Move to other gallery rows."""
        self.columns, self.gallery = columns, self._order[columns]
        self._right.select(self.gallery)
        self.codes = self.products.codes(self.rows, columns)

    def scores(self, cells: np.ndarray) -> np.ndarray:
        """Exact scores of pairs; `cells` ascend."""
        left, right = self._left.parts(), self._right.parts()
        if self._is_dense(cells):
            return products(left, right).view(-1).cpu().numpy()[cells]
        return chosen_products(left, right, cells)

    def float64_scores(self, cells: np.ndarray) -> np.ndarray:
        """Scores within `float64_error` of the exact ones, in a third of the time."""
        left, right = self._left.float64(), self._right.float64()
        if self._is_dense(cells):
            return torch.mm(left, right.T).view(-1).cpu().numpy()[cells]
        return pair_scores(left, right, cells)

    def _is_dense(self, cells: np.ndarray) -> bool:
        return len(cells) * DENSE > self.codes.numel()


class TileVectors:
    """The vectors of the rows or columns of a tile, converted on demand into reused buffers.

    Args:
        vectors: from `exact_vectors` or `unit_vectors`, [N, D].
        device: where they are used.
    """

    def __init__(self, vectors: np.ndarray, device: torch.device):
        self._vectors, self._device, self._rows = vectors, device, np.empty(0, np.int64)
        self._gathered = np.empty((0, vectors.shape[1]), vectors.dtype)
        self._converted: dict[str, torch.Tensor] = {}
        self._buffers: dict[str, torch.Tensor] = {}

    def select(self, rows: np.ndarray) -> None:
        """Select other rows."""
        self._rows, self._converted = rows, {}

    def float64(self) -> torch.Tensor:
        """In float64."""
        if "float64" not in self._converted:
            if len(self._gathered) != len(self._rows):
                self._gathered = np.empty((len(self._rows), self._vectors.shape[1]), self._vectors.dtype)
            np.take(self._vectors, self._rows, axis=0, out=self._gathered, mode="clip")
            self._converted["float64"] = torch.from_numpy(self._gathered).to(self._device).double()
        return self._converted["float64"]

    def parts(self) -> Parts:
        """Split into two matrices; see `Parts`."""
        if self._vectors.dtype == np.float32:
            return Parts(self.float64(), None)
        high, low = self._buffer("high"), self._buffer("low")
        if "high" not in self._converted:
            self._converted["high"], _ = split(self.float64(), high, low)
        return Parts(high, low)

    def _buffer(self, name: str) -> torch.Tensor:
        if name not in self._buffers or len(self._buffers[name]) != len(self._rows):
            self._buffers[name] = torch.empty_like(self.float64())
        return self._buffers[name]
