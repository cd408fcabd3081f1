"""Angular loss."""

import math

import torch.nn.functional as F
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over
from lookalike.losses._cosine import Product

LARGEST = 1.13
"""Largest angle in radians (about 65 degrees) for which products of two exponentials fit single precision."""


class Angular(PairLoss):
    """Bound the angle at the negative corner of each triplet (Wang et al., 2017, arXiv:1708.01682).

    `log(1 + Σ_n exp(4t (x_a + x_p)·x_n - 2 (1 + t) x_a·x_p))` with unit vectors x and `t = tan²(alpha)`, for
    each positive pair; mean over all positive pairs of the batch, in both directions, whose anchor has a
    negative. `exp(4t x_a·x_n) exp(4t x_p·x_n)` summed over n is an entry of a product of two matrices, so
    memory is O(B·R) and not O(pairs·R). The paper adds it to N-pairs: `loss=[n_pairs,angular]`. Rows of
    `extra` serve as negatives only. Equal to pytorch-metric-learning's AngularLoss (alpha in degrees) on
    embeddings of unit length: it normalises anchors and positives but not negatives, against the paper.

    Args:
        alpha: upper bound of the angle in radians, above 0 to 1.13 (65 degrees); the paper has 0.63 to 0.96
            (36 to 55 degrees).
        miner: narrows the pairs first.
    """

    def __init__(self, alpha: float = 0.7, miner: Miner | None = None) -> None:
        check_finite("Angular", alpha=alpha)
        super().__init__(miner)
        if not 0 < alpha <= LARGEST:
            raise ValueError(f"Angular alpha {alpha}: an angle in radians, above 0 to {LARGEST}")
        self.alpha = alpha

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the positive pairs within the batch."""
        batch = len(sim)
        square = math.tan(self.alpha) ** 2
        attraction = (4 * square * (sim - 1)).exp()
        valid = positive[:, :batch] & negative.any(dim=1, keepdim=True)
        against = Product.apply(attraction.masked_fill(~negative, 0), attraction)
        logits = against.masked_fill(~valid, 1).log() + 8 * square - 2 * (1 + square) * sim[:, :batch]
        return mean_over(F.softplus(logits), valid)
