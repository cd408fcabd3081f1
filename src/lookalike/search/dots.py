"""Exact scores: dot products in float64."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from lookalike.metrics.inputs import GRID

COLUMNS = 8192
"""Gallery rows that are converted to float64 at once."""

PAIRS = 1 << 15
"""Pairs that are gathered at once where there is no product of chosen pairs."""


class Parts(NamedTuple):
    """Vectors as the sum of two matrices, float64 [N, D] each.

    Attributes:
        high: multiples of 1 / GRID.
        low: the rest; None where there is none, as of vectors from `unit_vectors`.
    """

    high: torch.Tensor
    low: torch.Tensor | None


def parts_of(vectors: np.ndarray, rows: np.ndarray | slice, device: torch.device) -> Parts:
    """Some vectors, from `exact_vectors` or `unit_vectors`."""
    every = torch.from_numpy(vectors[rows]).to(device)
    if every.dtype is torch.float32:
        return Parts(every.double(), None)
    high = (every * GRID).round_().div_(GRID)
    return Parts(high, every - high)


def all_scores(queries: np.ndarray, gallery: np.ndarray, device: torch.device) -> np.ndarray:
    """The scores of all pairs, float64 [Q, N]; see `products`."""
    left = parts_of(queries, slice(None), device)
    scores = torch.empty(len(queries), len(gallery), dtype=torch.float64, device=device)
    for start in range(0, len(gallery), COLUMNS):
        part = parts_of(gallery, slice(start, start + COLUMNS), device)
        scores[:, start : start + len(part.high)] = products(left, part)
    return scores.cpu().numpy()


def products(left: Parts, right: Parts) -> torch.Tensor:
    """The scores of all pairs, float64 [R, C]: exact up to one rounding to a multiple of 2⁻⁵²."""
    scores = torch.mm(left.high, right.high.T)
    rests = [(left.high, right.low), (left.low, right.high)]
    some = [(one, other) for one, other in rests if one is not None and other is not None]
    return _corrected(scores, [torch.mm(one, other.T) for one, other in some])


def chosen_products(left: Parts, right: Parts, places: np.ndarray) -> np.ndarray:
    """The same of some pairs [P], whose places in the flattened matrix ascend."""
    rests = [(left.high, right.low), (left.low, right.high)]
    some = [(one, other) for one, other in rests if one is not None and other is not None]
    scores = torch.from_numpy(chosen_scores(left.high, right.high, places))
    rest = [torch.from_numpy(chosen_scores(one, other, places)) for one, other in some]
    return _corrected(scores, rest).numpy()


def _corrected(scores: torch.Tensor, rests: Sequence[torch.Tensor]) -> torch.Tensor:
    """With the products of the rests, as multiples of 2⁻⁵²; a cosine is at most 1.

    Without rests the lengths are not exact, and products may exceed 1. Adding and taking away 1.5, of
    which the last bit is 2⁻⁵², rounds a small number to such a multiple.
    """
    if not rests:
        return scores
    rest = rests[0] if len(rests) == 1 else rests[0].add_(rests[1])
    return scores.add_(rest.add_(1.5).sub_(1.5)).clamp_(-1, 1)


def chosen_scores(left: torch.Tensor, right: torch.Tensor, places: np.ndarray) -> np.ndarray:
    """The products of some pairs [P], in the type of the vectors.

    Args:
        left: [R, D].
        right: [C, D].
        places: of the pairs in the flattened matrix of all scores [R, C], ascending.
    """
    width = len(right)
    if left.device.type != "cpu":
        return _gathered_scores(left, right, *np.divmod(places, width))
    ends = np.searchsorted(places, np.arange(len(left) + 1) * width)
    columns = places & (width - 1) if width & (width - 1) == 0 else places % width
    wanted = torch.sparse_csr_tensor(
        torch.from_numpy(ends),
        torch.from_numpy(columns),
        torch.zeros(len(columns), dtype=left.dtype),
        (len(left), width),
        check_invariants=False,
    )
    return torch.sparse.sampled_addmm(wanted, left, right.T, beta=0).values().numpy()


def quiet_sparse() -> None:
    """Have torch say now, unheard, that its sparse matrices are new; it says so once in a process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 1], [0], [1.0], (1, 1))


def _gathered_scores(
    left: torch.Tensor, right: torch.Tensor, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    scores = np.empty(len(rows), np.float64 if left.dtype is torch.float64 else np.float32)
    for start in range(0, len(rows), PAIRS):
        part = slice(start, start + PAIRS)
        one = left[torch.from_numpy(rows[part]).to(left.device)]
        other = right[torch.from_numpy(columns[part]).to(left.device)]
        scores[part] = (one * other).sum(dim=1).cpu().numpy()
    return scores
