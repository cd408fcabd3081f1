"""Global orthogonal regularisation."""

import torch
from torch import Tensor

from lookalike.losses._base import PairLoss, check_batch, mean_over, relations


class GOR(PairLoss):
    """Spread different classes like random vectors on the sphere (Zhang et al., 2017, arXiv:1708.06320).

    `M1² + max(0, M2 - 1/D)` with M1 and M2 the means of the cosine and of its square over all pairs of
    different classes in the batch: two random directions in D dimensions have cosine 0 on average and a
    square of 1/D. A regulariser: add it to another loss (`loss=[triplet,gor]`).
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(
        self, embeddings: Tensor, labels: Tensor, extra: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Loss of a batch, as `PairLoss.forward`; zero where all labels are the same."""
        labels = check_batch("GOR", embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            sim, _, negative = relations(embeddings, labels, extra)
            first, second = mean_over(sim, negative), mean_over(sim.square(), negative)
            return first.square() + (second - 1 / embeddings.shape[1]).relu()
