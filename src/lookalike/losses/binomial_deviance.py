"""Binomial deviance loss."""

import torch.nn.functional as F
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over
from lookalike.losses._tuplets import check_positive


class BinomialDeviance(PairLoss):
    """Logistic loss of each pair, with a higher cost for negatives (Yi et al., 2014, arXiv:1407.4979).

    `mean log(1 + exp(-alpha (s_p - beta)))` over the positive pairs plus `mean log(1 + exp(alpha
    negative_cost (s_n - beta)))` over the negative pairs, with cosine similarity s. The cost is inside the
    exponent, as in Ustinova and Lempitsky, 2016, arXiv:1611.00822, equation 7, whose defaults these are.
    Without a counterpart in pytorch-metric-learning; `sigmoid` learns its scale and threshold instead.

    Args:
        alpha: scale of the similarities, above 0.
        beta: similarity that separates positives from negatives.
        negative_cost: factor on the scale for negative pairs, above 0.
        miner: narrows the pairs first.
    """

    def __init__(
        self, alpha: float = 2.0, beta: float = 0.5, negative_cost: float = 25.0, miner: Miner | None = None
    ) -> None:
        check_finite("BinomialDeviance", alpha=alpha, beta=beta, negative_cost=negative_cost)
        super().__init__(miner)
        check_positive("BinomialDeviance", "alpha", alpha)
        check_positive("BinomialDeviance", "negative_cost", negative_cost)
        self.alpha, self.beta, self.negative_cost = alpha, beta, negative_cost

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        logits = self.alpha * (sim - self.beta)
        pull, push = F.softplus(-logits), F.softplus(self.negative_cost * logits)
        return mean_over(pull, positive) + mean_over(push, negative)
