"""Exact sums over all triplets without enumerating them: memory O(B·R) for B anchors and R rows.

Everything is given per anchor: its distance to each row (infinity where the row is not a negative, [B, R])
and to each of its positives (minus infinity where a place is empty, [B, P]). Up to `FEW` positives a class
are compared one by one in blocks that fit a CPU cache, which is fastest; beyond that a search in sorted rows
keeps the cost at O(B·R·log R).
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

FEW = 160
"""Number of positives an anchor from which sorting beats comparing one by one."""

INFINITY = float("inf")


def any_in_row(mask: Tensor) -> Tensor:
    """Whether each row of a mask [B, R] holds a true, [B, 1]; many times faster than `any` on a CPU."""
    return mask.view(torch.uint8).amax(dim=1, keepdim=True) > 0


def positive_columns(positive: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of each anchor's positives, and which places are filled, both [B, P]."""
    rows, columns = positive.nonzero(as_tuple=True)
    count = rows.bincount(minlength=len(positive))
    column = torch.arange(len(rows), device=rows.device) - (count.cumsum(0) - count)[rows]
    max_positives = int(count.max())
    table = rows.new_zeros(len(positive), max_positives)
    table[rows, column] = columns
    return table, torch.arange(max_positives, device=rows.device) < count[:, None]


def count_within_limits(far: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """How many negatives lie within each limit, and within how many limits each negative lies.

    Args:
        far: distance to each negative, [B, R], infinity elsewhere.
        limits: positive distance plus margin, [B, P], minus infinity in empty places.

    Returns:
        Counts a positive, [B, P], and counts a negative, [B, R], as floats.
    """
    if limits.shape[1] > FEW:
        return _count_within_sorted(far, limits)
    per_positive, per_negative = torch.empty_like(limits), torch.zeros_like(far)
    num_limits = torch.empty_like(far)
    for index in range(limits.shape[1]):
        torch.lt(far, limits[:, index : index + 1], out=num_limits)
        per_positive[:, index] = num_limits.sum(dim=1)
        per_negative += num_limits
    return per_positive, per_negative


def _count_within_sorted(far: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    ordered, order = limits.sort(dim=1)
    passed = torch.searchsorted(ordered, far, right=True)  # limits that the negative is not within
    number = torch.zeros(len(far), limits.shape[1] + 1, dtype=torch.int64, device=far.device)
    number.scatter_add_(1, passed, torch.ones_like(passed))
    per_positive = torch.empty_like(limits).scatter_(1, order, number.cumsum(1)[:, :-1].to(limits.dtype))
    return per_positive, (limits.shape[1] - passed).to(far.dtype)


def softplus_sum(far: Tensor, limits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of `log(1 + exp(limit - far))` over all triplets, its slopes by limit and by -far."""
    value = far.new_zeros((), dtype=torch.float64)
    per_positive, per_negative = torch.empty_like(limits), torch.zeros_like(far)
    for index in range(limits.shape[1]):
        excess = limits[:, index : index + 1] - far
        value += F.softplus(excess).sum()
        slope = excess.sigmoid_()
        per_positive[:, index] = slope.sum(dim=1)
        per_negative += slope
    return value, per_positive, per_negative


def nearest_beyond_limit(far: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """Column of the nearest negative farther than each limit, and whether there is one, both [B, P]."""
    if limits.shape[1] > FEW:
        ordered, order = far.sort(dim=1)
        nearest_column = torch.searchsorted(ordered, limits, right=True).clamp_max(far.shape[1] - 1)
        nearest, columns = ordered.gather(1, nearest_column), order.gather(1, nearest_column)
        return columns, (nearest > limits) & nearest.isfinite()
    columns = torch.empty(limits.shape, dtype=torch.int64, device=far.device)
    exists = torch.empty(limits.shape, dtype=torch.bool, device=far.device)
    for rows in blocks(far):
        for column in range(limits.shape[1]):
            beyond = far[rows].masked_fill(far[rows] <= limits[rows, column : column + 1], INFINITY)
            nearest, columns[rows, column] = beyond.min(dim=1)
            exists[rows, column] = nearest.isfinite()
    return columns, exists


def blocks(table: Tensor, depth: int = 1) -> Iterator[slice]:
    """Slices of rows of about 0.5 MB each on a CPU, `depth` tables together; one on a usual accelerator."""
    cells = 1 << (17 if table.device.type == "cpu" else 26)
    step = max(1, cells // max(1, depth * table.shape[1]))
    for start in range(0, len(table), step):
        yield slice(start, start + step)
