"""Differentiable histograms."""

from typing import Any

import torch
from torch import Tensor

from lookalike.losses._gradient import refuse_second_order


def soft_histogram(values: Tensor, mask: Tensor, bins: int) -> Tensor:
    """Each row's masked values counted at `bins + 1` evenly spaced nodes from 0 to 1, [B, bins + 1].

    A value is shared by the two nodes next to it, the nearer one getting more, so that the counts change
    smoothly with the values. Memory O(B·R), whatever the number of bins.

    Args:
        values: from 0 to 1; what rounding puts just outside counts as the end, [B, R].
        mask: which values count, [B, R].
        bins: number of intervals between the nodes.
    """
    return _SoftHistogram.apply(values, mask, bins)


def check_bins(owner: str, bins: int) -> None:
    """Refuse a number of bins that is no histogram.

    Raises:
        ValueError: if there is not even one bin.
    """
    if bins < 1:
        raise ValueError(f"{owner} bins {bins}: bins must be at least 1")


class _SoftHistogram(torch.autograd.Function):
    """A value moves what it counts from its lower node to its upper one, so its slope is their difference."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, mask: Tensor, bins: int) -> Tensor:
        """Counts at the nodes, [B, bins + 1]; which interval each value is in is kept for the gradient."""
        upper = values.clamp(0, 1).mul_(bins)
        node = upper.long().clamp_(0, bins - 1)  # a NaN is in no interval, but is to be seen
        upper.sub_(node).masked_fill_(~mask, 0)
        ctx.save_for_backward(node, mask)
        counts = values.new_zeros(len(values), bins + 1)
        counts[:, :-1].scatter_add_(1, node, mask.to(values.dtype) - upper)
        counts[:, 1:].scatter_add_(1, node, upper)
        return counts

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """Slope of each value, zero where it does not count."""
        refuse_second_order()
        (gradient,) = grad_outputs
        node, mask = ctx.saved_tensors
        steps = gradient.diff(dim=1) * (gradient.shape[1] - 1)
        return steps.gather(1, node).masked_fill_(~mask, 0), None, None
