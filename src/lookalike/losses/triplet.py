"""Triplet loss with online mining."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses import _triplets
from lookalike.losses._base import Miner, PairLoss, check_choice, mean_over
from lookalike.losses._cosine import unit
from lookalike.losses._gradient import LEAST, with_slope
from lookalike.losses._triplets import INFINITY

Mining = Literal["batch_all", "batch_hard", "semi_hard", "semi_hard_window", "hard_negative"]
Distance = Literal["euclidean", "squared", "cosine"]
SoftMargin = bool | Literal["with_margin"]


class Triplet(PairLoss):
    """A positive is nearer than a negative by a margin (Schroff et al., 2015, arXiv:1503.03832).

    `max(0, d(a, p) - d(a, n) + margin)`, or `log(1 + exp(d(a, p) - d(a, n)))` with `soft_margin` (Hermans et
    al., 2017, arXiv:1703.07737), or `log(1 + exp(d(a, p) - d(a, n) + margin))` with `soft_margin=with_margin`
    (pytorch-metric-learning's `smooth_loss`). `mining` says which triplets of the batch and over what the
    mean is taken:

    - `batch_all`: every valid triplet, mean over the active ones, those with a loss above zero (with a soft
      margin, over all). Exact, in memory O(B²): no list of triplets.
    - `batch_hard`: for each anchor its farthest positive and its nearest negative; mean over anchors that
      have both.
    - `hard_negative`: for each pair of anchor and positive the anchor's nearest negative; mean over all
      pairs.
    - `semi_hard`: for each pair the nearest negative that is farther than the positive. Fallback: where every
      negative is nearer than the positive, the farthest negative. Mean over all pairs.
    - `semi_hard_window`: for each pair the nearest negative inside `d(a, p) < d(a, n) < d(a, p) + margin`, as
      FaceNet defines semi-hard. Fallback: a pair without one is left out, as its negatives are either far
      enough or harder than the positive. Mean over the other pairs. With `soft_margin=true`, `margin` is the
      width of the window only.

    All are deterministic. Distances are on the unit sphere: `euclidean` from 0 to 2, `squared` from 0 to 4,
    `cosine` is 1 - cosine, from 0 to 2. pytorch-metric-learning's TripletMarginLoss agrees with `batch_all`,
    with `swap` as well; its semi-hard miner takes all negatives of the window, here it is the nearest.

    With `swap`, the distance of the negative is the smaller one of those to anchor and positive (Balntas et
    al., BMVC 2016), once the triplets are chosen. A positive from a memory (`memory=`) has no distances of
    its own, so its triplets stay as they are. `batch_all` then takes time O(P·R) for P positive pairs.

    After each call `active_share` holds the share of the triplets looked at whose negative is nearer than the
    positive plus the margin (with a soft margin: nearer than the positive). NaN where there was no triplet.

    Args:
        mining: batch_all, batch_hard, hard_negative, semi_hard or semi_hard_window.
        distance: euclidean, squared or cosine.
        margin: in units of the distance.
        soft_margin: true, a smooth loss instead of the margin; with_margin, a smooth loss with the margin.
        swap: take the distance from positive to negative where it is smaller.
        miner: narrows the pairs first.
        then: another mining, for the rest of training.
        then_at: share of training after which `then` takes over, from 0 to 1.
    """

    def __init__(
        self,
        mining: Mining = "batch_all",
        distance: Distance = "euclidean",
        margin: float = 0.2,
        soft_margin: SoftMargin = False,
        swap: bool = False,
        miner: Miner | None = None,
        then: Mining | None = None,
        then_at: float = 0.4,
    ) -> None:
        check_finite("Triplet", margin=margin, then_at=then_at)
        super().__init__(miner)
        check_choice("Triplet", "mining", mining, get_args(Mining))
        check_choice("Triplet", "distance", distance, get_args(Distance))
        if then is not None:
            check_choice("Triplet", "then", then, get_args(Mining))
        if soft_margin not in (True, False, "with_margin"):
            raise ValueError(
                f"Triplet soft_margin {soft_margin!r}: soft_margin must be one of true, false, with_margin"
            )
        if margin < 0:
            raise ValueError(f"Triplet margin {margin}: margin must be at least 0")
        if not 0 <= then_at <= 1:
            raise ValueError(
                f"Triplet then_at {then_at}: then_at must be a fraction of training, from 0 to 1"
            )
        self.mining, self.first, self.then, self.then_at = mining, mining, then, then_at
        self.distance, self.soft_margin, self.swap = distance, bool(soft_margin), swap
        self.margin, self.window = 0.0 if soft_margin is True else margin, margin
        self.active_share = torch.tensor(float("nan"))

    def set_progress(self, done: float) -> None:
        """Choose the mining for the share of training that is done, 0 to 1."""
        self.mining = self.first if self.then is None or done < self.then_at else self.then

    def triplets(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Mean loss of triplets from outside: rows of three matrices [N, D] of raw embeddings.

        Raises:
            ValueError: if the three shapes differ.
        """
        if not anchor.shape == positive.shape == negative.shape or anchor.ndim != 2:
            shapes = ", ".join(str(list(part.shape)) for part in (anchor, positive, negative))
            raise ValueError(f"Triplet triplets: three matrices of one shape [N, D], got {shapes}")
        with torch.autocast(anchor.device.type, enabled=False):
            anchor, positive, negative = (unit(part) for part in (anchor, positive, negative))
            positive_sim, negative_sim = (anchor * positive).sum(dim=1), (anchor * negative).sum(dim=1)
            if self.swap:
                negative_sim = torch.maximum(negative_sim, (positive * negative).sum(dim=1))
            return self._mean(positive_sim, negative_sim, torch.ones_like(positive_sim, dtype=torch.bool))

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the triplets that `mining` chooses."""
        valid = _triplets.any_in_row(positive) & _triplets.any_in_row(negative)
        if not valid.any():
            self.active_share = torch.tensor(float("nan"))
            return 0 * sim.sum()
        if self.mining == "batch_hard":
            return self._mean_over_columns(
                sim, _hardest(sim, positive, -1), _hardest(sim, negative, 1), valid
            )
        columns, filled = _triplets.positive_columns(positive)
        filled &= valid
        if self.mining == "batch_all":
            return self._batch_all(sim, negative, columns, filled)
        if self.mining == "hard_negative":
            return self._mean_over_columns(
                sim, columns, _hardest(sim, negative, 1).expand_as(columns), filled
            )
        return self._semi_hard(sim, negative, columns, filled)

    def distances(self, sim: Tensor) -> Tensor:
        """Distances for cosine similarities; the gradient is zero, not infinite, between equal vectors."""
        if self.distance == "cosine":
            return 1 - sim
        squared = (2 - 2 * sim).clamp_min(LEAST)
        return squared if self.distance == "squared" else squared.sqrt()

    def _slopes(self, distances: Tensor) -> Tensor:
        """Derivative of the distances by the similarities."""
        if self.distance == "cosine":
            return torch.full_like(distances, -1)
        if self.distance == "squared":
            return -2 * (distances > LEAST).to(distances.dtype)
        return distances.reciprocal().neg_().masked_fill_(distances <= 1.01 * LEAST**0.5, 0)

    def _semi_hard(self, sim: Tensor, negative: Tensor, columns: Tensor, filled: Tensor) -> Tensor:
        with torch.no_grad():
            far = -sim.masked_fill(~negative, -INFINITY)
            semi_hard_columns, exists = _triplets.nearest_beyond_limit(far, -sim.gather(1, columns))
            if self.mining == "semi_hard":
                semi_hard_columns = torch.where(exists, semi_hard_columns, _hardest(sim, negative, -1))
            else:
                ends = self.distances(sim.gather(1, columns)) + self.window
                filled = filled & exists & (self.distances(sim.gather(1, semi_hard_columns)) < ends)
        return self._mean_over_columns(sim, columns, semi_hard_columns, filled)

    def _mean_over_columns(self, sim: Tensor, positives: Tensor, negatives: Tensor, valid: Tensor) -> Tensor:
        """Mean loss of triplets given by their columns, [B, P] both."""
        positive_sim, negative_sim = sim.gather(1, torch.cat([positives, negatives], dim=1)).chunk(2, dim=1)
        if self.swap:
            rows, is_anchor = positives.clamp_max(len(sim) - 1), positives < len(sim)
            swapped = torch.where(is_anchor, sim[rows, negatives], negative_sim)
            negative_sim = torch.maximum(negative_sim, swapped)
        return self._mean(positive_sim, negative_sim, valid)

    def _mean(self, positive_sim: Tensor, negative_sim: Tensor, valid: Tensor) -> Tensor:
        """Mean loss of the triplets that are valid, by the similarities of positive and negative."""
        excess = self.distances(positive_sim) - self.distances(negative_sim) + self.margin
        self.active_share = ((excess > 0) & valid).sum().detach() / valid.sum()
        return mean_over(F.softplus(excess) if self.soft_margin else excess.relu(), valid)

    @torch.no_grad()
    def _value_and_slope(
        self, sim: Tensor, negative: Tensor, columns: Tensor, filled: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sum of the loss of all triplets, number of active ones, and derivative of the sum by `sim`."""
        value = active = sim.new_zeros((), dtype=torch.float64)
        slope = torch.empty_like(sim)
        for rows in _triplets.blocks(sim):
            far = self.distances(sim[rows])
            positive_sim = far.gather(1, columns[rows])
            limits = (positive_sim + self.margin).masked_fill_(~filled[rows], -INFINITY)
            beyond = far.masked_fill(~negative[rows], INFINITY)
            by_near, by_far = _triplets.count_within_limits(beyond, limits)
            active = active + by_near.sum(dtype=torch.float64)
            if self.soft_margin:
                part, by_near, by_far = _triplets.softplus_sum(beyond, limits)
            else:
                limits.masked_fill_(~filled[rows], 0)
                part = (limits * by_near).sum(dtype=torch.float64) - (far * by_far).sum(dtype=torch.float64)
            value = value + part
            torch.mul(by_far.neg_(), slopes := self._slopes(far), out=slope[rows])
            slope[rows].scatter_add_(1, columns[rows], by_near * slopes.gather(1, columns[rows]))
        return value, active, slope

    @torch.no_grad()
    def _swapped_value_and_slope(
        self, sim: Tensor, negative: Tensor, columns: Tensor, filled: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`_value_and_slope` where each negative counts with the nearer one of anchor and positive."""
        value = active = sim.new_zeros((), dtype=torch.float64)
        slope, is_anchor = torch.zeros_like(sim), columns < len(sim)
        for rows in _triplets.blocks(sim, columns.shape[1]):
            positives, inside = columns[rows].clamp_max(len(sim) - 1), is_anchor[rows][..., None]
            by_anchor, by_positive = sim[rows][:, None], sim[positives].masked_fill(~inside, -INFINITY)
            far = self.distances(torch.maximum(by_anchor, by_positive))
            positive_distance = self.distances(sim[rows].gather(1, columns[rows]))
            excess = positive_distance[..., None] + self.margin - far
            valid = filled[rows][..., None] & negative[rows][:, None]
            is_active = (excess > 0) & valid
            active = active + is_active.sum(dtype=torch.float64)
            counted = valid if self.soft_margin else is_active
            value = value + (F.softplus(excess) if self.soft_margin else excess)[counted].sum(
                dtype=torch.float64
            )
            weight = counted * (excess.sigmoid() if self.soft_margin else torch.ones_like(excess))
            slope[rows].scatter_add_(1, columns[rows], weight.sum(dim=2) * self._slopes(positive_distance))
            weight, swapped = weight * self._slopes(far), by_positive > by_anchor
            slope[rows] -= (weight * ~swapped).sum(dim=1)
            slope.index_add_(0, positives.flatten(), (weight * swapped).flatten(0, 1), alpha=-1)
        return value, active, slope

    def _batch_all(self, sim: Tensor, negative: Tensor, columns: Tensor, filled: Tensor) -> Tensor:
        """Loss of all triplets: a sum of distances, each weighed by how many active triplets hold it."""
        sums = self._swapped_value_and_slope if self.swap else self._value_and_slope
        value, active, slope = sums(sim, negative, columns, filled)
        triplets = (filled.sum(dim=1) * negative.sum(dim=1)).sum()
        self.active_share = (active / triplets).float()
        count = triplets if self.soft_margin else active.clamp_min(1)
        return with_slope(value / count, sim, slope.div_(count.to(sim.dtype)))


def _hardest(sim: Tensor, mask: Tensor, sign: int) -> Tensor:
    """Column of the most (sign 1) or least (sign -1) similar row of the mask, [B, 1]."""
    if sign > 0:
        return sim.detach().masked_fill(~mask, -INFINITY).argmax(dim=1, keepdim=True)
    return sim.detach().masked_fill(~mask, INFINITY).argmin(dim=1, keepdim=True)
