"""Circle loss."""

import torch.nn.functional as F
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over
from lookalike.losses._gradient import log_sum_exp
from lookalike.losses._tuplets import check_positive


class Circle(PairLoss):
    """Pull each similarity the harder, the farther it is from its goal (Sun et al., 2020, arXiv:2002.10857).

    `log(1 + Σ_n exp(scale w_n (s_n - margin)) Σ_p exp(-scale w_p (s_p - (1 - margin))))` with the weights
    `w_n = max(0, s_n + margin)` and `w_p = max(0, 1 + margin - s_p)`. As in the paper the weights are held
    fixed when the gradient is taken, so the gradient is not the derivative of the value. Mean over the
    anchors that have a positive and a negative. Equal to pytorch-metric-learning's CircleLoss, except that it
    leaves out anchors whose loss is too small for the number format.

    Args:
        margin: m of the paper: positives aim at 1 + margin and negatives at -margin; 0.25 for faces, 0.4 for
            fine-grained retrieval.
        scale: gamma of the paper, above 0; 80 for retrieval, 256 for faces.
        miner: narrows the pairs first.
    """

    holds_fixed = True

    def __init__(self, margin: float = 0.4, scale: float = 80.0, miner: Miner | None = None) -> None:
        check_finite("Circle", margin=margin, scale=scale)
        super().__init__(miner)
        check_positive("Circle", "scale", scale)
        self.margin, self.scale = margin, scale

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        fixed = sim.detach()
        pull = self.scale * (1 + self.margin - fixed).relu() * (1 - self.margin - sim)
        push = self.scale * (fixed + self.margin).relu() * (sim - self.margin)
        total = log_sum_exp(pull, positive)
        total = total + log_sum_exp(push, negative)
        return mean_over(F.softplus(total), positive.any(dim=1) & negative.any(dim=1))
