"""Contrastive loss."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over


class Contrastive(PairLoss):
    """Pull positives above one similarity, push negatives below another (Hadsell et al., 2006).

    `mean(max(0, positive_margin - s))` over positive pairs plus `mean(max(0, s - negative_margin))` over
    negative pairs, with cosine similarity s; each mean is over the pairs above zero, so that many easy pairs
    do not drown the few hard ones. The paper has squared Euclidean terms. Equal to pytorch-metric-learning's
    ContrastiveLoss with its CosineSimilarity distance.

    Args:
        positive_margin: similarity that positives should reach.
        negative_margin: similarity that negatives should stay below.
        miner: narrows the pairs first.
    """

    def __init__(
        self, positive_margin: float = 1.0, negative_margin: float = 0.0, miner: Miner | None = None
    ) -> None:
        check_finite("Contrastive", positive_margin=positive_margin, negative_margin=negative_margin)
        super().__init__(miner)
        self.positive_margin, self.negative_margin = positive_margin, negative_margin

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        pull = (self.positive_margin - sim).relu()
        push = (sim - self.negative_margin).relu()
        return mean_over(pull, positive & (pull > 0)) + mean_over(push, negative & (push > 0))
