"""Vectors and labels as users bring them, checked and brought to one form."""

from collections.abc import Sequence
from typing import Any

import numpy as np

BLOCK = 512
"""Rows at once: few, so that what they become on the way stays in the cache."""

GRID = float(1 << 26)
"""Unit vectors are made of multiples of 1 / GRID.

Products of their numbers are then multiples of 2⁻⁵², and no sum of some of the products of a pair exceeds 1
(Cauchy and Schwarz) by more than a rounding. Every such sum is a float64, so a dot product in float64 is
*exact*, in any order, in any blocks, on any device: equal is equal, and ties are true ties. A number below
1/4 moves by at most 2⁻²⁷ (7.5e-9); larger ones lie on the grid as float32 anyway.
"""


ROUNDING = 1e-5
FINE_GRID = float(1 << 47)
"""Exact vectors are made of multiples of 1 / FINE_GRID.

Such a number is the sum of a multiple of 1 / GRID and a rest of at most 2⁻²⁷. The products of rests with
the multiples are multiples of 2⁻⁷³, and up to 4,096 of them have an exact sum in float64, too: so a score is
exact up to the last rounding, and the length of a vector is 1 up to about 10⁻¹⁴.
"""


def unit_vectors(vectors: Any) -> np.ndarray:
    """The vectors at length 1, on a grid on which float64 dot products are exact, as new float32 [N, D].

    The grid moves a vector by about 10⁻⁸, which tells vectors apart that differ by more; for finer ones see
    `exact_vectors`.

    Raises:
        ValueError: not a matrix of numbers; or rows that are not finite or are zero, which are named.
    """
    return _on_grid(vectors, GRID, np.float32)


def exact_vectors(vectors: Any) -> np.ndarray:
    """The vectors at length 1, on a grid on which `lookalike.ranking.exact` is exact, as new float64 [N, D].

    Raises:
        ValueError: not a matrix of numbers; or rows that are not finite or are zero, which are named.
    """
    return _on_grid(vectors, FINE_GRID, np.float64)


def cosine_of(one: np.ndarray, other: np.ndarray) -> float:
    """The cosine of two vectors [D], in float64, and 1 for two that are equal."""
    pair = exact_vectors(np.stack([one, other]))
    return 1.0 if (pair[0] == pair[1]).all() else float(np.clip(pair[0] @ pair[1], -1, 1))


def unit_length(vectors: Any) -> np.ndarray:
    """The vectors at length 1, float32 [N, D]; those that have it but for a rounding stay as they are.

    Raises:
        ValueError: not a matrix of numbers; or rows that are not finite or are zero, which are named.
    """
    rows = _matrix(vectors)
    unit = exact_vectors(rows).astype(np.float32)
    if rows.dtype == np.float32 and np.abs(np.linalg.norm(rows, axis=1) - 1).max(initial=0) < ROUNDING:
        return np.array(rows)
    return unit


def _on_grid(vectors: Any, grid: float, kind: type) -> np.ndarray:
    rows = _matrix(vectors)
    unit = np.empty(rows.shape, kind)
    broken: list[int] = []
    zero: list[int] = []
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK].astype(np.float64, order="C")
        finite = np.isfinite(block).all(axis=1)
        largest = np.abs(block).max(axis=1, initial=0.0)
        broken.extend(start + np.flatnonzero(~finite))
        zero.extend(start + np.flatnonzero(finite & (largest == 0)))
        if not broken and not zero:
            block /= largest[:, None]  # squares of very large or small values would overflow
            block /= np.linalg.norm(block, axis=1, keepdims=True)
            block *= grid
            np.round(block, out=block)
            np.divide(block, grid, out=unit[start : start + BLOCK], casting="same_kind")
    if broken:
        raise ValueError(f"vectors: not finite (NaN or infinite) in {name_rows(broken)}")
    if zero:
        raise ValueError(f"vectors: zero, so without a direction, in {name_rows(zero)}")
    return unit


def factorise(labels: Any, length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Distinct labels, sorted, and for each row the place of its label among them (int64 [N]).

    Integers stay integers of 64 bits and strings stay strings: a float would merge large ids.

    Args:
        labels: integers or strings, [N].
        length: how many there have to be.

    Raises:
        ValueError: another length or shape; floats; a mix; a missing label, whose row is named.
    """
    column = _column(labels)
    if length is not None and len(column) != length:
        raise ValueError(f"labels: {len(column)} of them for {length} vectors; each vector needs one")
    names, codes = np.unique(column, return_inverse=True)
    return names, codes.reshape(-1).astype(np.int64)


def name_rows(rows: Sequence[int] | np.ndarray, limit: int = 20) -> str:
    """Row numbers in words, cut after `limit`: `rows 3, 17 and 5 more`."""
    row_text = ", ".join(str(int(row)) for row in rows[:limit])
    more = f" and {len(rows) - limit} more" if len(rows) > limit else ""
    return f"row{'s' if len(rows) > 1 else ''} {row_text}{more}"


def _matrix(vectors: Any) -> np.ndarray:
    if hasattr(vectors, "detach"):
        vectors = _of_torch(vectors)
    elif hasattr(vectors, "to_numpy"):
        vectors = vectors.to_numpy()
    elif isinstance(vectors, list | tuple) and len(vectors) and hasattr(vectors[0], "detach"):
        vectors = [_of_torch(each) for each in vectors]
    try:
        rows = np.asarray(vectors)
    except ValueError as error:
        raise ValueError(f"vectors: rows of different lengths ({error})") from error
    if rows.ndim != 2 or rows.shape[1] == 0 or rows.dtype.kind not in "fiub":
        got = f"{rows.dtype} {list(rows.shape)}"
        raise ValueError(f"vectors: a matrix of numbers [N, D] is needed, got {got}")
    return rows


def _of_torch(vectors: Any) -> np.ndarray:
    """A tensor as an array; bfloat16, which NumPy lacks, as float32."""
    tensor = vectors.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def _column(labels: Any) -> np.ndarray:
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    if isinstance(labels, np.ndarray) and labels.dtype != object:
        return _plain(labels)
    items = list(labels)
    missing = [row for row, label in enumerate(items) if label is None]
    if missing:
        raise ValueError(f"labels: missing in {name_rows(missing)}")
    if all(isinstance(item, str) for item in items):
        return np.array(items, dtype=object)  # text arrays give every label the room of the longest
    items = [item.item() if hasattr(item, "item") and np.ndim(item) == 0 else item for item in items]
    if all(isinstance(item, int | np.integer) for item in items):
        return _integers(items)
    kinds = sorted({type(item).__name__ for item in items})
    raise ValueError(f"labels: all integers or all strings are needed, got {', '.join(kinds)}")


def _plain(labels: np.ndarray) -> np.ndarray:
    if labels.ndim != 1 or labels.dtype.kind not in "iubUS":
        raise ValueError(
            f"labels: integers or strings [N] are needed, got {labels.dtype} {list(labels.shape)}; "
            "floats merge large ids, so convert them yourself if you know that they are whole"
        )
    return labels


def _integers(items: list[Any]) -> np.ndarray:
    """As int64 or uint64; NumPy alone makes floats of a mix of negative and very large ones."""
    values = [int(item) for item in items]
    low, high = min(values, default=0), max(values, default=0)
    if low >= -(2**63) and high < 2**63:
        return np.array(values, dtype=np.int64)
    if low >= 0 and high < 2**64:
        return np.array(values, dtype=np.uint64)
    return np.array(values, dtype=object)
