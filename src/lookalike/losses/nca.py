"""Neighbourhood components analysis loss."""

import torch.nn.functional as F
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over
from lookalike.losses._gradient import log_sum_exp
from lookalike.losses._triplets import positive_columns


class NCA(PairLoss):
    """Each image picks a neighbour, the nearer the likelier; it should be of its class (Goldberger et al.,
    Neighbourhood Components Analysis, 2004).

    `-log(Σ_p exp(-scale d²(a, p)) / Σ_j exp(-scale d²(a, j)))` over the positives p and all other images j,
    with d² = 2 - 2 cosine; mean over the anchors that have positives. This is the paper's second objective,
    the log of the chance; its first is the chance itself. The paper learns a linear map of any size, where
    unit vectors need a `scale`. Equal to pytorch-metric-learning's NCALoss, whose `softmax_scale` is 1 by
    default.

    Args:
        scale: of the squared distances, which go from 0 to 4; larger looks at nearer neighbours only.
        miner: narrows the pairs first.
    """

    def __init__(self, scale: float = 10.0, miner: Miner | None = None) -> None:
        check_finite("NCA", scale=scale)
        super().__init__(miner)
        if scale <= 0:
            raise ValueError(f"NCA scale {scale}: scale must be above 0")
        self.scale = scale

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        logits = 2 * self.scale * sim
        columns, filled = positive_columns(positive)
        positive_logsumexp = log_sum_exp(logits.gather(1, columns), filled)
        other = log_sum_exp(logits, negative)
        return mean_over(F.softplus(other - positive_logsumexp), positive.any(dim=1))
