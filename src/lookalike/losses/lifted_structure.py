"""Generalised lifted structure loss."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over
from lookalike.losses._gradient import log_sum_exp
from lookalike.losses._tuplets import check_positive


class LiftedStructure(PairLoss):
    """All positives against all negatives of an anchor (Hermans et al., 2017, arXiv:1703.07737, `L_LG`).

    `max(0, log Σ_p exp(d_ap) + log Σ_n exp(margin - d_an))` with Euclidean distance d between vectors of
    length `scale`: the generalised form of the lifted structured embedding (Oh Song et al., 2016,
    arXiv:1511.06452), which takes the positives one at a time. Both papers leave the length free; at length 1
    the sums are close to plain means and hard pairs count hardly more than easy ones. Mean over the anchors
    that have a positive and a negative. Between equal vectors the gradient is zero, not infinite.

    Equal to pytorch-metric-learning's GeneralizedLiftedStructureLoss with `scale` 1 and `margin` = neg_margin
    - pos_margin (only their difference counts), but that one also counts `max(0, log Σ_n …)` of anchors
    without positives.

    Args:
        margin: in units of the distance, which is 0 to 2 · scale.
        scale: length given to the embeddings, above 0; larger looks only at the hardest pairs.
        miner: narrows the pairs first.
    """

    def __init__(self, margin: float = 1.0, scale: float = 10.0, miner: Miner | None = None) -> None:
        check_finite("LiftedStructure", margin=margin, scale=scale)
        super().__init__(miner)
        check_positive("LiftedStructure", "scale", scale)
        self.margin, self.scale = margin, scale

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        distance = self.scale * (2 - 2 * sim).clamp_min(1e-12).sqrt()
        pull = log_sum_exp(distance, positive)
        push = log_sum_exp(self.margin - distance, negative)
        return mean_over((pull + push).relu(), positive.any(dim=1) & negative.any(dim=1))
