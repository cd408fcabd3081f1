"""Contrastive loss on the signal-to-noise ratio."""

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, check_batch, mean_over, relations
from lookalike.losses._cosine import inverse_norm

LEAST = 1e-4
"""Least variance that a distance is divided by; a unit vector's entries, times their number, have about 1."""


class SNRContrastive(PairLoss):
    """Contrastive loss on the signal-to-noise distance (Yuan et al., 2019, CVPR: signal-to-noise ratio).

    The anchor is the signal and what a pair differs by is the noise: `d_ax = var(x - a) / var(a)`, the
    variances being over the entries of a unit vector. `mean(max(0, d - positive_margin))` over positive pairs
    plus `mean(max(0, negative_margin - d))` over negative pairs; each mean is over the pairs above zero. With
    cosine s, length D and means m of the entries `d = (2 - 2 s - D (m_x - m_a)²) / (1 - D m_a²)`, so no
    differences are formed. The distance is not symmetric, and 1 or more for vectors that have nothing in
    common. Equal to pytorch-metric-learning's SignalToNoiseRatioContrastiveLoss; to keep it finite, the
    variance of an anchor whose entries are all equal counts as 0.0001 of its mean square.

    Args:
        positive_margin: distance that positives should be within.
        negative_margin: distance that negatives should be beyond.
        zero_mean: weight of the paper's regulariser, the mean of `|Σ entries|` of the unit vectors of images
            in a pair.
        miner: narrows the pairs first; it sees cosine similarities.
    """

    def __init__(
        self,
        positive_margin: float = 0.0,
        negative_margin: float = 1.0,
        zero_mean: float = 0.0,
        miner: Miner | None = None,
    ) -> None:
        check_finite(
            "SNRContrastive",
            positive_margin=positive_margin,
            negative_margin=negative_margin,
            zero_mean=zero_mean,
        )
        super().__init__(miner)
        if not zero_mean >= 0:
            raise ValueError(f"SNRContrastive zero_mean {zero_mean}: a weight of at least 0")
        self.positive_margin, self.negative_margin, self.zero_mean = (
            positive_margin,
            negative_margin,
            zero_mean,
        )

    def forward(
        self, embeddings: Tensor, labels: Tensor, extra: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Loss of a batch, as `PairLoss.forward`."""
        labels = check_batch("SNRContrastive", embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
            sim, positive, negative = relations(embeddings, labels, extra)
            if self.miner is not None:
                positive, negative = self.miner(sim.detach(), positive, negative)
            mean = others = mean_entry(embeddings)
            if extra is not None:
                others = torch.cat([mean, mean_entry(extra[0].to(sim.dtype))])
            dim = embeddings.shape[1]
            ratio = noise_to_signal(sim, mean, others, dim)
            balance = mean_over(dim * mean.abs(), (positive | negative).any(dim=1))
        return self._contrast(ratio, positive, negative) + self.zero_mean * balance

    def _contrast(self, ratio: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        pull = (ratio - self.positive_margin).relu()
        push = (self.negative_margin - ratio).relu()
        return mean_over(pull, positive & (pull > 0)) + mean_over(push, negative & (push > 0))


def mean_entry(vectors: Tensor) -> Tensor:
    """Mean entry of each row [N, D] at unit length, [N]."""
    return (vectors * inverse_norm(vectors)).mean(dim=1)


def noise_to_signal(sim: Tensor, mean: Tensor, others: Tensor, dim: int) -> Tensor:
    """Variance of each difference over that of the row's own vector, [B, R].

    Args:
        sim: cosine similarities, [B, R].
        mean: mean entry of the rows' unit vectors, [B].
        others: the same of the columns, [R].
        dim: length of the vectors.
    """
    noise = 2 - 2 * sim - dim * (others - mean[:, None]).square()
    signal = 1 - dim * mean.square()
    return noise.clamp_min(0) / signal.clamp_min(LEAST)[:, None]
