"""Triplet loss with online mining."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.losses import _triplets
from lookalike.losses._base import Miner, PairLoss, check_choice, mean_over

Mining = Literal["batch_all", "batch_hard", "semi_hard"]
Distance = Literal["euclidean", "squared", "cosine"]


class Triplet(PairLoss):
    """A positive is nearer than a negative by a margin (Schroff et al., 2015, arXiv:1503.03832).

    `max(0, d(a, p) - d(a, n) + margin)`, or `log(1 + exp(d(a, p) - d(a, n)))` with `soft_margin` (Hermans et
    al., 2017, arXiv:1703.07737). `mining` says which triplets of the batch and over what the mean is taken:

    - `batch_all`: every valid triplet, mean over the active ones, those with a loss above zero (with a soft
      margin, over all). Exact; time O(B² log B) and memory O(B²), no list of triplets.
    - `batch_hard`: for each anchor its farthest positive and its nearest negative; mean over anchors that
      have both.
    - `semi_hard`: for each pair of anchor and positive the nearest negative that is farther than the
      positive, so it lies in the window `d(a, p) < d(a, n) < d(a, p) + margin` or costs nothing. Fallback:
      where every negative is nearer than the positive, the farthest negative. Mean over all pairs.
      Deterministic.

    Distances are on the unit sphere: `euclidean` from 0 to 2, `squared` from 0 to 4, `cosine` is 1 - cosine,
    from 0 to 2. pytorch-metric-learning's TripletMarginLoss agrees with `batch_all`; its semi-hard miner
    takes all negatives of the window, this one takes the nearest.

    After each call `active_share` holds the share of the triplets looked at whose negative is nearer than the
    positive plus the margin (with a soft margin: nearer than the positive). NaN where there was no triplet.

    Args:
        mining: batch_all, batch_hard or semi_hard.
        distance: euclidean, squared or cosine.
        margin: in units of the distance.
        soft_margin: a smooth loss instead of the margin.
        miner: narrows the pairs first.
    """

    def __init__(
        self,
        mining: Mining = "batch_all",
        distance: Distance = "euclidean",
        margin: float = 0.2,
        soft_margin: bool = False,
        miner: Miner | None = None,
    ) -> None:
        super().__init__(miner)
        check_choice("Triplet", "mining", mining, get_args(Mining))
        check_choice("Triplet", "distance", distance, get_args(Distance))
        self.mining, self.distance = mining, distance
        self.margin, self.soft_margin = 0.0 if soft_margin else margin, soft_margin
        self.active_share = torch.tensor(float("nan"))

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the triplets that `mining` chooses."""
        valid = (positive.sum(dim=1, keepdim=True) > 0) & (negative.sum(dim=1, keepdim=True) > 0)
        if not valid.any():
            self.active_share = torch.tensor(float("nan"))
            return 0 * sim.sum()
        if self.mining == "batch_hard":
            return self._batch_hard(sim, positive, negative, valid)
        columns, filled = _triplets.positive_columns(positive)
        filled &= valid
        mine = self._batch_all if self.mining == "batch_all" else self._semi_hard
        return mine(sim, negative, columns, filled)

    def distances(self, sim: Tensor) -> Tensor:
        """Distances for cosine similarities; the gradient is zero, not infinite, between equal vectors."""
        if self.distance == "cosine":
            return 1 - sim
        squared = (2 - 2 * sim).clamp_min(1e-12)
        return squared if self.distance == "squared" else squared.sqrt()

    def _batch_hard(self, sim: Tensor, positive: Tensor, negative: Tensor, valid: Tensor) -> Tensor:
        with torch.no_grad():
            hardest_positive = sim.masked_fill(~positive, _triplets.INFINITY).argmin(dim=1, keepdim=True)
            hardest_negative = sim.masked_fill(~negative, -_triplets.INFINITY).argmax(dim=1, keepdim=True)
        return self._mean(sim.gather(1, hardest_positive), sim.gather(1, hardest_negative), valid)

    def _semi_hard(self, sim: Tensor, negative: Tensor, columns: Tensor, filled: Tensor) -> Tensor:
        with torch.no_grad():
            far = -sim.masked_fill(~negative, -_triplets.INFINITY)
            chosen, found = _triplets.closest_beyond(far, -sim.gather(1, columns))
            easiest = sim.masked_fill(~negative, _triplets.INFINITY).argmin(dim=1, keepdim=True)
            chosen = torch.where(found, chosen, easiest)
        return self._mean(sim.gather(1, columns), sim.gather(1, chosen), filled)

    def _mean(self, sim_positive: Tensor, sim_negative: Tensor, valid: Tensor) -> Tensor:
        """Mean loss of the listed triplets that are valid."""
        excess = self.distances(sim_positive) - self.distances(sim_negative) + self.margin
        self.active_share = ((excess > 0) & valid).sum().detach() / valid.sum()
        return mean_over(F.softplus(excess) if self.soft_margin else excess.relu(), valid)

    def _batch_all(self, sim: Tensor, negative: Tensor, columns: Tensor, filled: Tensor) -> Tensor:
        """Loss of all triplets as a sum of distances, each weighed by how many active triplets hold it."""
        near, far = self.distances(sim.gather(1, columns)), self.distances(sim)
        with torch.no_grad():
            limits = (near + self.margin).masked_fill(~filled, -_triplets.INFINITY)
            beyond = far.masked_fill(~negative, _triplets.INFINITY)
            near_weight, far_weight = _triplets.closer(beyond, limits)
            active = near_weight.sum(dtype=torch.float64)
            triplets = (filled.sum(dim=1) * negative.sum(dim=1)).sum()
            self.active_share = (active / triplets).float()
        if self.soft_margin:
            return self._smooth(near, far, limits, beyond) / triplets
        count = active.clamp_min(1).to(near.dtype)
        total = (near * (near_weight / count)).sum() - (far * far_weight.div_(count)).sum()
        return total + self.margin * (active > 0).to(near.dtype)

    def _smooth(self, near: Tensor, far: Tensor, limits: Tensor, beyond: Tensor) -> Tensor:
        """Sum of the smooth loss of all triplets: its value, and distances times slopes for the gradient."""
        with torch.no_grad():
            value, near_slope, far_slope = _triplets.softplus_sum(beyond, limits)
        linear = (near * near_slope).sum() - (far * far_slope).sum()
        return linear + (value - linear.detach()).to(linear.dtype)
