"""Multi-similarity loss."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss
from lookalike.losses._gradient import log1p_sum_exp


class MultiSimilarity(PairLoss):
    """Weigh each pair by its own similarity and by its neighbours' (Wang et al., 2019, arXiv:1904.06627).

    For each anchor `log(1 + Σ exp(-alpha (s_p - base))) / alpha + log(1 + Σ exp(beta (s_n - base))) / beta`;
    mean over all anchors, those without pairs count as zero. The paper mines first: give it
    `miner=miners.multi_similarity`, as the recipe `loss=multi_similarity` does. Equal to
    pytorch-metric-learning's MultiSimilarityLoss.

    Args:
        alpha: sharpness for positives.
        beta: sharpness for negatives.
        base: similarity at which a pair begins to matter.
        miner: narrows the pairs first.
    """

    def __init__(
        self, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, miner: Miner | None = None
    ) -> None:
        check_finite("MultiSimilarity", alpha=alpha, beta=beta, base=base)
        super().__init__(miner)
        for name, value in (("alpha", alpha), ("beta", beta)):
            if value <= 0:
                raise ValueError(f"MultiSimilarity {name} {value}: {name} must be above 0")
        self.alpha, self.beta, self.base = alpha, beta, base

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        pull = log1p_sum_exp(self.alpha * (self.base - sim), positive) / self.alpha
        push = log1p_sum_exp(self.beta * (sim - self.base), negative) / self.beta
        return (pull + push).mean()
