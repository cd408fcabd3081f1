"""Uniformity regulariser."""

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import PairLoss
from lookalike.losses._gradient import NOTHING


class Uniformity(PairLoss):
    """Spread all images over the sphere (Wang and Isola, 2020, arXiv:2005.10242).

    `log mean exp(-t d²)` over all pairs of the batch, whatever the classes, with `d² = 2 - 2 cosine`: 0 where
    all vectors are equal, at least -4t. Zero too where there is no pair; images of unknown class (-1) are
    left out. A regulariser: add it to another loss (`loss=[triplet,uniformity]`).

    Args:
        t: how local it is; a larger one sees only near pairs.

    Attributes:
        takes_mixed: true; classes do not matter.
    """

    takes_mixed = True

    def __init__(self, t: float = 2.0) -> None:
        check_finite("Uniformity", t=t)
        super().__init__()
        if t <= 0:
            raise ValueError(f"Uniformity t {t}: t must be above 0")
        self.t = t

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs, of the same class or not."""
        is_known = positive | negative
        exponents = (2 * self.t * (sim - 1)).masked_fill(~is_known, NOTHING).flatten()
        count = is_known.sum()
        value = exponents.logsumexp(dim=0) - count.clamp_min(1).to(sim.dtype).log()
        return torch.where(count > 0, value, 0 * sim.sum())
