"""FastAP loss."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over
from lookalike.losses._histogram import check_bins, soft_histogram


class FastAP(PairLoss):
    """One minus average precision from histograms of distances (Cakir et al., CVPR 2019).

    Squared Euclidean distances between unit vectors, from 0 to 4, are counted for each anchor in a histogram
    with linear interpolation: `h` of the positives, `h_all` of all, and `H`, `H_all` the same summed up to
    each node. The loss is `1 - Σ_z h(z) H(z) / H_all(z) / number of positives`; mean over the anchors that
    have positives and negatives. Memory O(B·R), whatever the number of bins. Equal to
    pytorch-metric-learning's FastAPLoss.

    Args:
        bins: number of intervals of the histogram.
        miner: narrows the pairs first.
    """

    def __init__(self, bins: int = 10, miner: Miner | None = None) -> None:
        check_finite("FastAP", bins=bins)
        super().__init__(miner)
        check_bins("FastAP", bins)
        self.bins = bins

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        distance = (1 - sim) / 2
        positive_histogram = soft_histogram(distance, positive, self.bins)
        positive_cumulative = positive_histogram.cumsum(dim=1)
        total = positive_cumulative + soft_histogram(distance, negative, self.bins).cumsum(dim=1)
        precision = (positive_histogram * positive_cumulative / total.clamp_min(1e-12)).sum(dim=1)
        valid = positive.any(dim=1) & negative.any(dim=1)
        return mean_over(1 - precision / positive.sum(dim=1).clamp_min(1), valid)
