"""Sigmoid loss over pairs."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over


class Sigmoid(PairLoss):
    """Each pair is a yes-or-no question of its own (Zhai et al., 2023, arXiv:2303.15343, SigLIP).

    `log(1 + exp(-(t s + b)))` for a positive pair and `log(1 + exp(t s + b))` for a negative one, with cosine
    s and two learned numbers, `t = exp(log_scale)` and the bias `b`. As in the paper summed over each
    anchor's pairs; mean over the anchors that have pairs. The paper pairs images with texts and has one
    positive each; here an anchor has as many as its class.

    Args:
        scale: where t starts.
        bias: where b starts; well below zero, since most pairs are negative.
        miner: narrows the pairs first.
    """

    def __init__(self, scale: float = 10.0, bias: float = -10.0, miner: Miner | None = None) -> None:
        check_finite("Sigmoid", scale=scale, bias=bias)
        super().__init__(miner)
        if scale <= 0:
            raise ValueError(f"Sigmoid scale {scale}: scale must be above 0")
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(
        self, embeddings: Tensor, labels: Tensor, extra: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Loss of a batch, as `PairLoss.forward`; connected to both parameters even for an empty one."""
        return super().forward(embeddings, labels, extra) + 0 * (self.log_scale + self.bias)

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        logits = self.log_scale.exp() * sim + self.bias
        is_known = positive | negative
        values = F.softplus(torch.where(positive, -logits, logits)).masked_fill(~is_known, 0)
        return mean_over(values.sum(dim=1), is_known.any(dim=1))
