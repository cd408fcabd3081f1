"""NT-Xent loss."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss
from lookalike.losses._tuplets import check_positive, tuplet_mean


class NTXent(PairLoss):
    """Tell each positive from the anchor's negatives by softmax (Chen et al., 2020, arXiv:2002.05709).

    `-log(exp(s_ap / T) / (exp(s_ap / T) + Σ_n exp(s_an / T)))` with cosine similarity s and temperature T,
    also known as InfoNCE; the form goes back to Sohn (2016). Other positives of the anchor are not in the sum
    below. Mean over all positive pairs, in both directions, whose anchor has a negative. With two views an
    image as classes this is SimCLR's loss. Equal to pytorch-metric-learning's NTXentLoss, except that it
    counts the pairs of an anchor without negatives (only a miner leaves such) as zeros.

    Args:
        temperature: divides the similarities, above 0; smaller looks only at the hardest negatives.
        miner: narrows the pairs first.
    """

    def __init__(self, temperature: float = 0.07, miner: Miner | None = None) -> None:
        check_finite("NTXent", temperature=temperature)
        super().__init__(miner)
        check_positive("NTXent", "temperature", temperature)
        self.temperature = temperature

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        logits = sim / self.temperature
        return tuplet_mean(logits, logits, positive, negative)
