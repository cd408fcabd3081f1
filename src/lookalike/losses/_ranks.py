"""Smooth ranks of positives in O(B·R) memory for B anchors and R rows."""

from typing import Any

import torch
from torch import Tensor

from lookalike.losses._gradient import refuse_second_order


def smooth_ranks(
    sim: Tensor, positive: Tensor, negative: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Where each positive stands in its anchor's list, with a sigmoid in place of the step.

    The rank of positive i is `1 + Σ_j sigmoid((s_j - s_i) / temperature)` over the other rows j of the list.

    Args:
        sim: similarities, [B, R].
        positive: pairs of the same class, [B, R].
        negative: pairs of different classes, [B, R].
        temperature: of the sigmoid; towards 0 the ranks become the true ones.

    Returns:
        For each of the N positive pairs, in row order: its anchor [N], its rank among the positives [N] and
        its rank among all [N].
    """
    rows, columns = positive.nonzero(as_tuple=True)
    among, total = _Ranks.apply(sim, positive, negative, rows, columns, temperature)
    return rows, among, total


class _Ranks(torch.autograd.Function):
    """Both ranks of each positive; the comparisons are made in blocks, and once more for the gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        sim: Tensor,
        positive: Tensor,
        negative: Tensor,
        rows: Tensor,
        columns: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        """Ranks among positives and among all, both [N]; a row's own comparison, one half, is taken off."""
        listed = sim.masked_fill(~(positive | negative), float("-inf"))
        ctx.save_for_backward(listed, positive, rows, columns)
        ctx.temperature = temperature
        among, total = sim.new_empty(len(rows)), sim.new_empty(len(rows))
        for block in _blocks(rows, sim.shape[1]):
            ahead = _ahead_of_positive(listed, rows[block], columns[block], temperature)
            total[block] = ahead.sum(dim=1) + 0.5
            among[block] = ahead.mul_(positive[rows[block]]).sum(dim=1) + 0.5
        return among, total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """What each comparison pulls at the two similarities it compares."""
        refuse_second_order()
        grad_among, grad_total = grad_outputs
        listed, positive, rows, columns = ctx.saved_tensors
        gradient = torch.zeros_like(listed)
        for block in _blocks(rows, listed.shape[1]):
            row, column = rows[block], columns[block]
            ahead = _ahead_of_positive(listed, row, column, ctx.temperature)
            slope = torch.addcmul(ahead, ahead, ahead, value=-1).div_(ctx.temperature)
            pull = slope * grad_total[block, None]
            pull.addcmul_(slope.mul_(positive[row]), grad_among[block, None])
            gradient.index_add_(0, row, pull)
            gradient[row, column] -= pull.sum(dim=1)
        return gradient, None, None, None, None, None


def _ahead_of_positive(listed: Tensor, rows: Tensor, columns: Tensor, temperature: float) -> Tensor:
    """How far each row of the list is ahead of the positive, 0 to 1, [N, R]; rows that do not count are 0."""
    return listed[rows].sub_(listed[rows, columns][:, None]).div_(temperature).sigmoid_()


def _blocks(rows: Tensor, width: int) -> list[slice]:
    """Slices of pairs of about 1 MB each on a CPU, of 256 MB on an accelerator."""
    cells = 1 << (18 if rows.device.type == "cpu" else 26)
    step = max(1, cells // max(1, width))
    return [slice(start, start + step) for start in range(0, len(rows), step)]
