"""Supervised contrastive loss."""

from typing import Any

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss
from lookalike.losses._gradient import NOTHING, refuse_second_order
from lookalike.losses._tuplets import check_positive


class SupCon(PairLoss):
    """Supervised contrastive loss (Khosla et al., 2020, arXiv:2004.11362), the form `L_out`.

    For each anchor the mean over its positives of `-log(exp(s_ap / T) / Σ_x exp(s_ax / T))`, where x runs
    over all other images, positives too, s is cosine similarity and T the temperature. Mean over the anchors
    that have a positive and a negative: a batch of one class has nothing to tell apart and gives zero (the
    paper would push its images to equal similarity). The paper also multiplies by T / T_base, a constant.
    Equal to pytorch-metric-learning's SupConLoss, except that it also counts anchors whose negatives were all
    mined away.

    Args:
        temperature: divides the similarities, above 0; smaller looks only at the hardest negatives.
        miner: narrows the pairs first.
    """

    def __init__(self, temperature: float = 0.1, miner: Miner | None = None) -> None:
        check_finite("SupCon", temperature=temperature)
        super().__init__(miner)
        check_positive("SupCon", "temperature", temperature)
        self.temperature = temperature

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        return _SupCon.apply(sim, positive, negative, self.temperature)


class _SupCon(torch.autograd.Function):
    """The loss with its gradient written out, so that each exponential is taken once and kept once."""

    @staticmethod
    def forward(ctx: Any, sim: Tensor, positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
        """The loss; its gradient by the similarities is kept."""
        positive_weight = positive.to(sim.dtype)
        count = positive_weight.sum(dim=1, keepdim=True)
        anchors = ((count > 0) & negative.any(dim=1, keepdim=True)).to(sim.dtype)
        share, count = anchors / anchors.sum().clamp_min(1), count.clamp_min(1)
        logits = (sim / temperature).masked_fill_(~(positive | negative), NOTHING)
        peak = logits.amax(dim=1, keepdim=True)
        parts = logits.sub_(peak).exp_()
        total = parts.sum(dim=1, keepdim=True)
        mean = (sim * positive_weight).sum(dim=1, keepdim=True) / (count * temperature)
        value = (share * (total.log() + peak - mean)).sum()
        slope = parts.mul_(share / (total * temperature)).addcmul_(
            positive_weight, share / (count * temperature), value=-1
        )
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None, None]:
        """The kept gradient, for the similarities alone."""
        refuse_second_order()
        return ctx.saved_tensors[0] * grad_outputs[0], None, None, None
