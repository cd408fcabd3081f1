"""Original lifted structure loss."""

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss
from lookalike.losses._gradient import LEAST, log_sum_exp
from lookalike.losses._tuplets import check_positive


class LiftedStructureOriginal(PairLoss):
    """Each positive pair against the negatives of both its images (Oh Song et al., 2016, arXiv:1511.06452).

    `max(0, d_ap + log(Σ_n exp(margin - d_an) + Σ_n exp(margin - d_pn)))² / 2`, mean over the positive pairs,
    with Euclidean distance d between vectors of length `scale`. `LiftedStructure` is the generalised form,
    which takes all positives of an anchor at once. Rows of `extra` serve as negatives only. Between equal
    vectors the gradient is zero, not infinite. Equal to pytorch-metric-learning's LiftedStructureLoss with
    `scale` 1 and `margin` = neg_margin - pos_margin (only their difference counts).

    Args:
        margin: in units of the distance, which is 0 to 2 · scale.
        scale: length given to the embeddings, above 0; larger looks only at the hardest negatives.
        miner: narrows the pairs first.
    """

    def __init__(self, margin: float = 1.0, scale: float = 1.0, miner: Miner | None = None) -> None:
        check_finite("LiftedStructureOriginal", margin=margin, scale=scale)
        super().__init__(miner)
        check_positive("LiftedStructureOriginal", "scale", scale)
        self.margin, self.scale = margin, scale

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the positive pairs within the batch."""
        distance = self.scale * (2 - 2 * sim).clamp_min(LEAST).sqrt()
        push = log_sum_exp(self.margin - distance, negative)
        rows, columns = positive[:, : len(sim)].nonzero(as_tuple=True)
        excess = distance[rows, columns] + torch.logaddexp(push[rows], push[columns])
        return excess.relu().square().sum() / (2 * max(1, len(rows)))
