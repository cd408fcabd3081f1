"""Intra-pair variance loss."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over


class IntraPairVariance(PairLoss):
    """Reduce the spread of the similarities of positive and of negative pairs (Yu and Tao, ICCV 2019).

    `mean(max(0, (1 - positive_epsilon) m_p - s_p)²) + mean(max(0, s_n - (1 + negative_epsilon) m_n)²)` with
    cosine similarity s, over all positive and all negative pairs, and `m_p`, `m_n` the mean similarities of
    the two groups in the batch. Only positives less similar and negatives more similar than the mean count.
    The loss does not separate classes; the paper adds it to tuplet margin: `loss=[tuplet_margin,
    intra_pair_variance]`. Equal to pytorch-metric-learning's IntraPairVarianceLoss.

    Args:
        positive_epsilon: tolerance below the mean similarity of positives, relative to the mean.
        negative_epsilon: tolerance above the mean similarity of negatives, relative to the mean.
        miner: narrows the pairs first.
    """

    def __init__(
        self, positive_epsilon: float = 0.01, negative_epsilon: float = 0.01, miner: Miner | None = None
    ) -> None:
        check_finite(
            "IntraPairVariance", positive_epsilon=positive_epsilon, negative_epsilon=negative_epsilon
        )
        super().__init__(miner)
        self.positive_epsilon, self.negative_epsilon = positive_epsilon, negative_epsilon

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        pull = ((1 - self.positive_epsilon) * mean_over(sim, positive) - sim).relu().square()
        push = (sim - (1 + self.negative_epsilon) * mean_over(sim, negative)).relu().square()
        return mean_over(pull, positive) + mean_over(push, negative)
