"""Histogram loss."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss
from lookalike.losses._histogram import check_bins, soft_histogram


class Histogram(PairLoss):
    """The chance that a negative pair is more similar than a positive one (Ustinova and Lempitsky, 2016,
    arXiv:1611.00822).

    The cosines of all positive pairs of the batch and of all negative pairs give two histograms from -1 to 1
    with linear interpolation, each summing to 1; the loss is `Σ_r h_negative(r) Σ_{q ≤ r} h_positive(q)`.
    There is nothing to tune but the bins, and it never asks for more than the right order. Zero where the
    batch lacks positives or negatives. Memory O(B·R).

    Equal to pytorch-metric-learning's HistogramLoss where every class has two images; with one image, that
    loss leaves out the pair of two such classes.

    Args:
        bins: number of intervals of the histogram. The paper found 100 to 200 about equally good.
        miner: narrows the pairs first.
    """

    def __init__(self, bins: int = 100, miner: Miner | None = None) -> None:
        check_finite("Histogram", bins=bins)
        super().__init__(miner)
        check_bins("Histogram", bins)
        self.bins = bins

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        below = self._share(sim, positive).cumsum(dim=0)
        return (self._share(sim, negative) * below).sum()

    def _share(self, sim: Tensor, mask: Tensor) -> Tensor:
        """Share of the masked pairs at each node, [bins + 1]."""
        return soft_histogram((1 + sim) / 2, mask, self.bins).sum(dim=0) / mask.sum().clamp_min(1)
