"""Recall@k surrogate loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, mean_over
from lookalike.losses._ranks import smooth_ranks

K = [1, 2, 4, 8, 16]
"""The paper's values of k."""


class RecallAtK(PairLoss):
    """One minus recall at several k, with smooth ranks (Patel et al., 2022, arXiv:2108.11179).

    For each anchor the rank of a positive i among all images is
    `r_i = 1 + Σ_j sigmoid((s_j - s_i) / temperature)`, and the recall at k is
    `Σ_i sigmoid((k - r_i) / k_temperature)` over what it can be at most, k or the number of positives; more
    than that counts as that, as in the authors' code. The loss is one minus the mean over all k; mean over
    the anchors that have positives and negatives. The anchor itself is not ranked; the authors' code leaves
    it in the list, first. Time O(P·R) for P positive pairs, memory O(B·R).

    Args:
        k: lengths of the short list.
        temperature: of the sigmoid that ranks, in units of cosine.
        k_temperature: of the sigmoid that tells whether a rank is within k, in ranks.
        miner: narrows the pairs first.
    """

    def __init__(
        self,
        k: Sequence[int] = K,
        temperature: float = 0.01,
        k_temperature: float = 1.0,
        miner: Miner | None = None,
    ) -> None:
        check_finite("RecallAtK", temperature=temperature, k_temperature=k_temperature)
        super().__init__(miner)
        for name, value in (("temperature", temperature), ("k_temperature", k_temperature)):
            if value <= 0:
                raise ValueError(f"RecallAtK {name} {value}: {name} must be above 0")
        if not k or min(k) < 1:
            raise ValueError(f"RecallAtK k {list(k)}: k must be one or more whole numbers of at least 1")
        self.k, self.temperature, self.k_temperature = tuple(k), temperature, k_temperature

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        valid = positive.any(dim=1) & negative.any(dim=1)
        rows, _, rank = smooth_ranks(sim, positive & valid[:, None], negative, self.temperature)
        k = torch.tensor(self.k, dtype=sim.dtype, device=sim.device)
        is_within_k = ((k - rank[:, None]) / self.k_temperature).sigmoid()
        num_retrieved = sim.new_zeros(len(sim), len(k)).index_add(0, rows, is_within_k)
        num_relevant = torch.minimum(positive.sum(dim=1, keepdim=True), k).clamp_min(1)
        return mean_over(1 - (torch.minimum(num_retrieved, num_relevant) / num_relevant).mean(dim=1), valid)
