"""Ranked list loss."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over
from lookalike.losses._gradient import NOTHING


class RankedList(PairLoss):
    """Negatives beyond `alpha`, positives within `alpha - margin` (Wang et al., 2019, arXiv:1903.03238).

    For each anchor `(1 - balance) L_P + balance L_N`. `L_P` is the weighted mean of `d - (alpha - margin)`
    over the positives farther than that, with weights `exp(positive_sharpness · (d - (alpha - margin)))`;
    `L_N` the weighted mean of `alpha - d` over the negatives nearer than alpha, with weights
    `exp(negative_sharpness · (alpha - d))`; d is the Euclidean distance between unit vectors. A side with
    nothing to correct is zero. Mean over the anchors that have a positive or a negative.
    pytorch-metric-learning's RankedListLoss adds 0.00001 for each image of the batch to each sum of weights,
    which makes its values smaller, the more so the larger the batch; without that the two are equal, the
    gradient through the weights included.

    Args:
        alpha: distance that negatives should keep, 0 to 2.
        margin: how much nearer than alpha positives should be.
        positive_sharpness: T_p of the paper, at least 0; 0 weighs the far positives alike (RLL-Simpler).
        negative_sharpness: T_n of the paper, at least 0; larger looks only at the nearest negatives.
        balance: share of the negatives' part, 0 to 1.
        miner: narrows the pairs first.
    """

    def __init__(
        self,
        alpha: float = 1.2,
        margin: float = 0.4,
        positive_sharpness: float = 0.0,
        negative_sharpness: float = 10.0,
        balance: float = 0.5,
        miner: Miner | None = None,
    ) -> None:
        check_finite(
            "RankedList",
            alpha=alpha,
            margin=margin,
            positive_sharpness=positive_sharpness,
            negative_sharpness=negative_sharpness,
            balance=balance,
        )
        super().__init__(miner)
        for name, value in (("positive", positive_sharpness), ("negative", negative_sharpness)):
            if value < 0:
                raise ValueError(f"RankedList {name}_sharpness {value}: at least 0")
        if not 0 <= balance <= 1:
            raise ValueError(f"RankedList balance {balance}: must be from 0 to 1")
        self.alpha, self.margin, self.balance = alpha, margin, balance
        self.positive_sharpness, self.negative_sharpness = positive_sharpness, negative_sharpness

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        distance = (2 - 2 * sim).clamp_min(1e-12).sqrt()
        pull = weigh_excess(distance - (self.alpha - self.margin), positive, self.positive_sharpness)
        push = weigh_excess(self.alpha - distance, negative, self.negative_sharpness)
        both = (1 - self.balance) * pull + self.balance * push
        return mean_over(both, (positive | negative).any(dim=1))


def weigh_excess(excess: Tensor, mask: Tensor, sharpness: float) -> Tensor:
    """Mean of each row's masked values above zero, weighed by `exp(sharpness · value)`, [B]; 0 if none."""
    active = mask & (excess > 0)
    weights = (sharpness * excess).masked_fill(~active, NOTHING).softmax(dim=1)
    return (weights * excess.masked_fill(~active, 0)).sum(dim=1)
