"""Operations with explicit gradients: fewer large temporaries, and no slow exponentials."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NOTHING = -1e30
"""Stands for minus infinity in log-sum-exp; a real infinity would make the gradient of an empty row NaN."""

LEAST = 1e-12
"""Smallest squared distance: nearer vectors get no gradient, where that of a root would be infinite."""


def refuse_second_order() -> None:
    """Refuse to be differentiated twice; the first line of every written-out gradient.

    Raises:
        RuntimeError: the backward pass runs with `create_graph=True`.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "this loss has no second-order gradients, because it uses a custom backward pass. Call backward "
            "without create_graph=True; gradient penalties and Hessians need a loss without one"
        )


def with_slope(value: Tensor, sim: Tensor, slope: Tensor) -> Tensor:
    """The scalar `value` as a function of `sim` whose derivative there is `slope`, of the shape of `sim`."""
    return _WithSlope.apply(value, sim, slope)


def log_sum_exp(values: Tensor, mask: Tensor, dim: int = 1) -> Tensor:
    """`log Σ exp(values)` over the masked entries, without overflow; about `NOTHING` where the mask is empty.

    From a softmax: on a CPU `exp` is ten to eighty times slower where it underflows, which `logsumexp` asks
    of it for every entry outside the mask and softmax does not.
    """
    if not values.shape[dim]:
        return values.sum(dim) + NOTHING
    return _LogSumExp.apply(values, mask, dim)


def log1p_sum_exp(values: Tensor, mask: Tensor, dim: int = 1) -> Tensor:
    """`log(1 + Σ exp(values))` over the masked entries, without overflow; 0 where the mask is empty."""
    return F.softplus(log_sum_exp(values, mask, dim))


class _WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, sim: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value.to(sim.dtype, copy=True)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[None, Tensor, None]:
        refuse_second_order()
        (slope,) = ctx.saved_tensors
        return None, slope * grad_outputs[0], None


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, mask: Tensor, dim: int) -> Tensor:
        filled = values.masked_fill(~mask, NOTHING)
        share = filled.softmax(dim)
        ctx.save_for_backward(share)
        ctx.dim = dim
        return filled.amax(dim) - share.amax(dim).log()  # the largest entry has the share exp(max - total)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None]:
        refuse_second_order()
        (share,) = ctx.saved_tensors
        return share * grad_outputs[0].unsqueeze(ctx.dim), None, None
