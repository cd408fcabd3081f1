"""PNP loss."""

from typing import Literal, get_args

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, check_choice, mean_over
from lookalike.losses._ranks import smooth_ranks
from lookalike.losses._tuplets import check_positive

Variant = Literal["O", "Iu", "Ib", "Ds", "Dq"]


class PNP(PairLoss):
    """Penalise the negatives that rank before a positive (Li et al., 2021, arXiv:2102.04640).

    For each positive i of an anchor `R = Σ_n sigmoid((s_n - s_i) / temperature)` is the smooth number of
    negatives before it, and the penalty is, by `variant`:

    - `O`: `R`
    - `Iu`: `(1 + R) log(1 + R)`, whose gradient increases with R without bound
    - `Ib`: `(b R - log(1 + b R)) / b²`, whose gradient increases up to a bound
    - `Ds`: `log(1 + R)`, whose gradient decreases with R
    - `Dq`: `1 - 1 / (1 + R)^alpha`, whose gradient decreases faster, best in the paper

    Mean over the positives of an anchor, then over the anchors that have positives and negatives. Time O(P·R)
    for P positive pairs, memory O(B·R). pytorch-metric-learning's PNPLoss, like the authors' code, also
    counts the anchor as a positive of its own; this follows the paper and leaves it out, and is equal
    otherwise.

    Args:
        variant: O, Iu, Ib, Ds or Dq.
        alpha: exponent of Dq, above 0; ignored by the others.
        b: scale of Ib, above 0; ignored by the others.
        temperature: in units of cosine; smaller is nearer to true ranks but teaches fewer pairs.
        miner: narrows the pairs first.
    """

    def __init__(
        self,
        variant: Variant = "Dq",
        alpha: float = 1.0,
        b: float = 2.0,
        temperature: float = 0.01,
        miner: Miner | None = None,
    ) -> None:
        check_finite("PNP", alpha=alpha, b=b, temperature=temperature)
        super().__init__(miner)
        check_choice("PNP", "variant", variant, get_args(Variant))
        for name, value in (("alpha", alpha), ("b", b), ("temperature", temperature)):
            check_positive("PNP", name, value)
        self.variant, self.alpha, self.b, self.temperature = variant, alpha, b, temperature

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        valid = positive.any(dim=1) & negative.any(dim=1)
        rows, among, total = smooth_ranks(sim, positive & valid[:, None], negative, self.temperature)
        penalty = self.penalty((total - among).clamp_min(0))
        per_anchor = sim.new_zeros(len(sim)).index_add(0, rows, penalty)
        return mean_over(per_anchor / positive.sum(dim=1).clamp_min(1), valid)

    def penalty(self, ahead: Tensor) -> Tensor:
        """Penalty of each positive, given the number of negatives before it, [N]."""
        if self.variant == "O":
            return ahead
        if self.variant == "Iu":
            return (1 + ahead) * torch.log1p(ahead)
        if self.variant == "Ib":
            return (self.b * ahead - torch.log1p(self.b * ahead)) / self.b**2
        if self.variant == "Ds":
            return torch.log1p(ahead)
        return 1 - (1 + ahead).pow(-self.alpha)
