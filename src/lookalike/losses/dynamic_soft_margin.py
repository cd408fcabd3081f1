"""Dynamic soft margin loss."""

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses import _triplets
from lookalike.losses._base import Miner, PairLoss
from lookalike.losses._gradient import LEAST
from lookalike.losses._running import Running

LARGEST = 2.0
"""Largest difference of two Euclidean distances on the unit sphere."""


class DynamicSoftMargin(PairLoss):
    """Weight each triplet by its rank among recent triplets (Zhang and Rusinkiewicz, ICCV 2019).

    `mean F(d_ap - d_an) (d_ap - d_an)` over all triplets of the batch, with Euclidean distance d on the unit
    sphere and F the cumulative distribution of the difference, a running histogram with linear interpolation
    that is updated with the batch first. So there is no margin to tune; the value may be below zero. F is
    held fixed when the gradient is taken. The paper takes the hardest negative of each pair; here all
    triplets count, unless there is a miner. All of them are held in memory at once.

    With `momentum` 1, or in the first batch, equal in value to pytorch-metric-learning's
    DynamicSoftMarginLoss. That one also differentiates the histogram, updates it by the number of triplets
    instead of by `momentum`, keeps it out of the state, and fails on differences near 2.

    Args:
        bins: number of intervals of the difference, from -2 to 2, at least 1.
        momentum: share of the newest batch in the histogram, above 0 to 1.
        miner: narrows the pairs first.
    """

    holds_fixed = True

    def __init__(self, bins: int = 10, momentum: float = 0.01, miner: Miner | None = None) -> None:
        check_finite("DynamicSoftMargin", bins=bins, momentum=momentum)
        super().__init__(miner)
        if not isinstance(bins, int) or bins < 1:
            raise ValueError(f"DynamicSoftMargin bins {bins}: bins must be a whole number, at least 1")
        if not 0 < momentum <= 1:
            raise ValueError(f"DynamicSoftMargin momentum {momentum}: must be above 0 and at most 1")
        self.bins, self.momentum = bins, momentum
        self.histogram = Running(*[0.0] * (bins + 1))
        self.register_buffer("step_marker", torch.zeros(()), persistent=False)

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of all triplets."""
        distance = (2 - 2 * sim).clamp_min(LEAST).sqrt()
        if not (positive.any() and negative.any()):
            return 0 * sim.sum()
        columns, filled = _triplets.positive_columns(positive)
        valid = filled[:, :, None] & negative[:, None, :]
        difference = (distance.gather(1, columns)[:, :, None] - distance[:, None, :])[valid]
        if not len(difference):
            return 0 * sim.sum()
        return (self.update(difference.detach()) * difference).mean()

    @torch.no_grad()
    def update(self, difference: Tensor) -> Tensor:
        """Update the histogram with the differences [N]; the share of triplets up to each of them, [N]."""
        position = (difference + LARGEST).nan_to_num().clamp(0, 2 * LARGEST) * (self.bins / (2 * LARGEST))
        index = position.long().clamp(max=self.bins - 1)
        upper = position - index
        counts = difference.new_zeros(self.bins + 1).index_add(0, index, 1 - upper)
        counts = counts.index_add(0, index + 1, upper)
        is_first = not self.histogram.previous(self.step_marker).any()
        rate = 1.0 if is_first else self.momentum
        self.histogram.follow(self.step_marker, counts / counts.sum(), rate)
        return self.histogram.now.to(difference.dtype).cumsum(0)[index]
