"""Instance loss."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over
from lookalike.losses._gradient import log1p_sum_exp
from lookalike.losses._tuplets import check_positive


class Instance(PairLoss):
    """Tell each image from the images of other classes in the batch.

    `log(1 + Σ_n exp(scale (s_n - 1)))` with cosine similarity s to the images n of other classes: softmax
    over the batch, whose target is the image itself, with similarity 1. Other images of its class are left
    out. Mean over the images that have a negative. It does not pull classes together: add it to another loss,
    `loss=[multi_similarity,instance]`.

    This is what pytorch-metric-learning's InstanceLoss computes if every image of the batch is a class of its
    own and the labels are 0, 1, 2, … in order. With other labels that loss takes the number of the class for
    the number of an image. The loss of its paper (Zheng et al., 2020, arXiv:1711.05535) is a classifier on
    one class per instance, which is `Softmax`.

    Args:
        scale: of the cosines, above 0; at 64, the peer's default, most batches have no gradient.
        miner: narrows the pairs first.
    """

    def __init__(self, scale: float = 16.0, miner: Miner | None = None) -> None:
        check_finite("Instance", scale=scale)
        super().__init__(miner)
        check_positive("Instance", "scale", scale)
        self.scale = scale

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the negative pairs."""
        return mean_over(log1p_sum_exp(self.scale * (sim - 1), negative), negative.any(dim=1))
