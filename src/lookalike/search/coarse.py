"""Products of many vectors in low precision, with a proven bound of their error."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch

from lookalike.search.turning import widest

NOTHING = np.int16(32767)
"""A threshold that no score reaches: NaN as a code."""

UNIT = 1 + 1e-5
"""No unit vector is longer."""

BLOCK = 1024
"""Vectors that are rounded at once."""


class Lowered:
    """Vectors of length 1 in the type in which this machine multiplies fastest.

    Args:
        vectors: from `exact_vectors` or `unit_vectors`, [N, D].
        order: which of them, in which order.
        device: where to keep them.
        turn: a rotation that they undergo before they are rounded, float64 [D, D]; None for none.

    Attributes:
        low: bfloat16 or float32 [M, D].
        residual: the greatest length of what rounding took from a vector.
        along: the greatest product of a rotated vector and what rounding took from it; None without `turn`.
    """

    def __init__(
        self, vectors: np.ndarray, order: np.ndarray, device: torch.device, turn: torch.Tensor | None = None
    ):
        kind = torch.bfloat16 if fast_bfloat16(device) else torch.float32
        self.low = torch.empty(len(order), vectors.shape[1], dtype=kind, device=device)
        self.residual, self.along = 0.0, None if turn is None else 0.0
        for start in range(0, len(order), BLOCK):
            block = torch.from_numpy(vectors[order[start : start + BLOCK]]).to(device)
            if turn is not None:
                block = torch.mm(block.double(), turn)
            low = self.low[start : start + BLOCK].copy_(block)
            if low.dtype is not block.dtype:
                lost = block - low.to(block.dtype)  # without a rotation the difference is exact
                length = float(torch.linalg.vector_norm(lost, dim=1).max())
                self.residual = max(self.residual, length * (1 + len(block[0]) * 2.0**-23))
                if self.along is not None:
                    self.along = max(self.along, float((lost * block).sum(dim=1).abs().max()))


def error_bound(left: Lowered, right: Lowered, score: float = 1.0) -> float:
    """By how much a product in low precision can differ from an exact score of at most this size.

    This is before it becomes a code.

    Let a = a' + r and b = b' + s, with a' and b' the rounded vectors. Then a·b − a'·b' = r·b + a'·s, at most
    |r| |b| + |a'| |s| (Cauchy and Schwarz). The lengths of r and s are measured; those of a and b are at most
    `UNIT`, that of a' at most `UNIT` + |r|. Adding D products in float32, in any order, errs by at most
    D u / (1 − D u) times the sum of their sizes, which is at most |a'| |b'| (Higham 2002, section 3.1);
    u = 2⁻²³ also covers sums that are cut instead of rounded.

    If both were rotated at random, a·b − a'·b' = r·b + a·s − r·s. Given a, the part of b that is orthogonal
    to a has a direction that is uniform over all those. So |r·b| is at most |a·b| |r·a| + |r| t; |a·s|
    likewise. That t is exceeded has a chance of 10⁻¹² (`widest`).
    """
    lost, other = left.residual, right.residual
    adding = adding_error(left.low.shape[1]) * (1 + lost) * (1 + other)
    if left.along is None or right.along is None:
        return lost * UNIT + (UNIT + lost) * other + adding
    beside = (lost + other) * widest(left.low.shape[1], len(left.low) * len(right.low))
    along = score * (left.along + right.along)
    return (beside + along) * UNIT**2 + lost * other + adding


def adding_error(dim: int) -> float:
    """By how much a product of two vectors of length 1 in float32 can differ from the exact one."""
    share = dim * 2.0**-23
    return share / (1 - share) * UNIT * UNIT


def float32_error(dim: int) -> float:
    """The same of vectors that were first rounded to float32, and lost at most 2⁻²⁴ of their length."""
    return adding_error(dim) + 2.0**-23 * UNIT * UNIT


class Products:
    """Rough scores of blocks of rows and columns as codes: the 16 bits of a bfloat16, taken as an integer.

    Rounding to a code keeps the order, and codes of positive scores order as integers do. So every pair whose
    exact score is at least `value_of(code) + error_bound` has this code or a greater one, for codes above 0.

    Args:
        left: from `Lowered`, [Q, D].
        right: [N, D].
    """

    def __init__(self, left: torch.Tensor, right: torch.Tensor):
        self.left, self.right = left, right
        self._held: torch.Tensor | None = None
        self._limits = np.empty((0, 0), np.int16)
        self._reached = np.empty((0, 0), bool)

    def codes(self, rows: slice, columns: slice) -> torch.Tensor:
        """Codes, int16 [rows, columns]; overwritten by the next call."""
        left, right = self.left[rows], self.right[columns]
        shape = (len(left), len(right))
        if self._held is None or self._held.shape != shape:
            self._held = left.new_empty(shape)
            self._limits, self._reached = np.empty(shape, np.int16), np.empty(shape, bool)
        torch.mm(left, right.T, out=self._held)
        return self._held.bfloat16().view(torch.int16)

    def reached(self, codes: torch.Tensor, rows: np.ndarray, columns: np.ndarray | None) -> np.ndarray:
        """Places in the flattened tile whose code reaches the limit of its row or of its column; ascending.

        Args:
            codes: the last ones that `codes` gave.
            rows: limits of the rows, int16.
            columns: limits of the columns; None for no such limits.
        """
        if codes.device.type != "cpu":
            return _reached_on_device(codes, rows, columns)
        limits = rows[:, None]
        if columns is not None:
            limits = np.minimum(limits, columns, out=self._limits)
        return np.flatnonzero(np.greater_equal(codes.numpy(), limits, out=self._reached))


def value_of(codes: np.ndarray) -> np.ndarray:
    """The scores that codes stand for, float64."""
    return (codes.astype(np.int32) << 16).view(np.float32).astype(np.float64)


def code_below(scores: np.ndarray) -> np.ndarray:
    """The code of the nearest bfloat16 that is not above; 0 where the score is not positive."""
    below = np.nextafter(scores.astype(np.float32), np.float32(-2))
    return np.where(below > 0, below.view(np.int32) >> 16, 0).astype(np.int16)


def codes_at(codes: torch.Tensor, places: np.ndarray) -> np.ndarray:
    """The codes at places of the flattened tile."""
    return codes.view(-1)[torch.from_numpy(places).to(codes.device)].cpu().numpy()


def _reached_on_device(codes: torch.Tensor, rows: np.ndarray, columns: np.ndarray | None) -> np.ndarray:
    limits = torch.from_numpy(rows).to(codes.device)[:, None]
    if columns is not None:
        limits = torch.minimum(limits, torch.from_numpy(columns).to(codes.device))
    return (codes >= limits).view(-1).nonzero().view(-1).cpu().numpy()


@contextmanager
def plain_products() -> Iterator[None]:
    """Within it no product is computed in less precision than its type says, as `error_bound` supposes."""
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
def fast_bfloat16(device: torch.device) -> bool:
    """Whether products are faster in bfloat16 than in float32, found out by trying."""
    if device.type != "cpu":
        return True
    vectors = torch.ones(512, 512)
    return _seconds(vectors.bfloat16()) < 0.8 * _seconds(vectors)


def _seconds(vectors: torch.Tensor) -> float:
    """The shortest of some products."""
    spent = []
    for _ in range(4):
        started = time.perf_counter()
        torch.mm(vectors, vectors.T)
        spent.append(time.perf_counter() - started)
    return min(spent)
