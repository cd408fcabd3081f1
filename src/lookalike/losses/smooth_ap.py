"""Smooth-AP loss."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over
from lookalike.losses._ranks import smooth_ranks


class SmoothAP(PairLoss):
    """One minus average precision, with smooth ranks (Brown et al., 2020, arXiv:2007.12163).

    For each anchor every other image is ranked by similarity. The rank of a positive i is
    `1 + Σ_j sigmoid((s_j - s_i) / temperature)`, once over the other positives and once over all images, and
    the loss is `1 - mean_i rank among positives / rank among all`; mean over the anchors that have positives
    and negatives. Classes may have any number of images. Time O(P·R) for P positive pairs, memory O(B·R).

    pytorch-metric-learning's SmoothAPLoss, like the authors' code, counts the anchor as a positive of its
    own, which always stands first; this follows the paper and leaves it out. It also needs classes of equal
    size, sorted, with as many classes as images in each.

    Args:
        temperature: in units of cosine; smaller is nearer to true ranks but teaches fewer pairs.
        miner: narrows the pairs first.
    """

    def __init__(self, temperature: float = 0.01, miner: Miner | None = None) -> None:
        check_finite("SmoothAP", temperature=temperature)
        super().__init__(miner)
        if temperature <= 0:
            raise ValueError(f"SmoothAP temperature {temperature}: temperature must be above 0")
        self.temperature = temperature

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        valid = positive.any(dim=1) & negative.any(dim=1)
        rows, among, total = smooth_ranks(sim, positive & valid[:, None], negative, self.temperature)
        precision = sim.new_zeros(len(sim)).index_add(0, rows, among / total)
        return mean_over(1 - precision / positive.sum(dim=1).clamp_min(1), valid)
