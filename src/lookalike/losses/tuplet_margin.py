"""Tuplet margin loss."""

import math

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss
from lookalike.losses._tuplets import check_positive, tuplet_mean


class TupletMargin(PairLoss):
    """One positive against all negatives, with an angle of slack (Yu and Tao, 2019, ICCV).

    `log(1 + Σ_n exp(scale (cos θ_an - cos(θ_ap - margin))))`. The margin is subtracted: a positive within
    that angle of its anchor already counts as near, which keeps easy pairs from collapsing onto a point. Mean
    over all positive pairs, in both directions, whose anchor has a negative. The sine in `cos(θ - margin)` is
    cut off just above zero, so equal and opposite vectors have finite gradients. Equal to
    pytorch-metric-learning's TupletMarginLoss, whose margin is in degrees. The paper's second term, the
    variance of positive pairs, is not part of it.

    Args:
        margin: in radians, from 0 to below π / 2.
        scale: of the cosines, above 0; larger looks only at the hardest negatives.
        miner: narrows the pairs first.
    """

    def __init__(self, margin: float = 0.1, scale: float = 64.0, miner: Miner | None = None) -> None:
        check_finite("TupletMargin", margin=margin, scale=scale)
        super().__init__(miner)
        if not 0 <= margin < math.pi / 2:
            raise ValueError(f"TupletMargin margin {margin}: in radians, from 0 to below {math.pi / 2:.4f}")
        check_positive("TupletMargin", "scale", scale)
        self.margin, self.scale = margin, scale

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        sine = (1 - sim.square()).clamp_min(1e-12).sqrt()
        nearer = sim * math.cos(self.margin) + sine * math.sin(self.margin)
        return tuplet_mean(self.scale * nearer, self.scale * sim, positive, negative)
