"""Threshold-consistent margin loss."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over


class ThresholdConsistentMargin(PairLoss):
    """Keep the similarities of all classes on the same side of two thresholds (Zhang et al., 2024,
    arXiv:2307.04047).

    `positive_weight * mean(positive_margin - s_p)` over the positive pairs with `s_p <= positive_margin` plus
    `negative_weight * mean(s_n - negative_margin)` over the negative pairs with `s_n >= negative_margin`,
    with cosine similarity s. A regulariser, so that one threshold suits all classes: add it to another loss,
    `loss=[multi_similarity,threshold_consistent_margin]`. Equal to pytorch-metric-learning's
    ThresholdConsistentMarginLoss.

    Args:
        positive_margin: similarity below which positives count.
        negative_margin: similarity above which negatives count.
        positive_weight: weight of the positive pairs, at least 0.
        negative_weight: weight of the negative pairs, at least 0.
        miner: narrows the pairs first.
    """

    def __init__(
        self,
        positive_margin: float = 0.9,
        negative_margin: float = 0.5,
        positive_weight: float = 1.0,
        negative_weight: float = 1.0,
        miner: Miner | None = None,
    ) -> None:
        owner = "ThresholdConsistentMargin"
        check_finite(owner, positive_margin=positive_margin, negative_margin=negative_margin)
        check_finite(owner, positive_weight=positive_weight, negative_weight=negative_weight)
        super().__init__(miner)
        for name, value in (("positive_weight", positive_weight), ("negative_weight", negative_weight)):
            if value < 0:
                raise ValueError(f"{owner} {name} {value}: {name} must be at least 0")
        self.positive_margin, self.negative_margin = positive_margin, negative_margin
        self.positive_weight, self.negative_weight = positive_weight, negative_weight

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        pull, push = self.positive_margin - sim, sim - self.negative_margin
        return self.positive_weight * mean_over(
            pull, positive & (pull >= 0)
        ) + self.negative_weight * mean_over(push, negative & (push >= 0))
