"""Embeddings that can be truncated."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lookalike.losses._base import check_batch


class Matryoshka(nn.Module):
    """The leading dimensions of an embedding are an embedding themselves (Kusupati et al., 2022,
    arXiv:2205.13147).

    `Σ w_d · loss_d(first d dimensions) / Σ w_d` over several d; the paper adds without dividing. After
    training, an embedding can be truncated to any of these dimensions and searched faster.

    Args:
        losses: dimension to loss. A loss without parameters or memory may be the same object for all
            dimensions; one with proxies needs a separate object of that `dim` for each.
        weights: dimension to weight; 1 by default.

    Attributes:
        uses_length: whether the length of the raw embeddings changes any of the losses.
    """

    def __init__(self, losses: Mapping[int, nn.Module], weights: Mapping[int, float] | None = None) -> None:
        super().__init__()
        weights = weights or {}
        if not losses or min(losses) < 1:
            raise ValueError(f"Matryoshka losses {list(losses)}: give a loss for one or more lengths above 0")
        if not weights.keys() <= losses.keys():
            raise ValueError(f"Matryoshka weights {list(weights)}: the lengths are {list(losses)}")
        self.weights = {dim: float(weights.get(dim, 1)) for dim in losses}
        if min(self.weights.values()) < 0 or not sum(self.weights.values()):
            raise ValueError(
                f"Matryoshka weights {self.weights}: weights must be at least 0, one of them above"
            )
        self.losses = nn.ModuleDict({str(dim): loss for dim, loss in losses.items()})
        self.uses_length = any(getattr(loss, "uses_length", False) for loss in losses.values())

    @property
    def active_share(self) -> Tensor | None:
        """What the loss of the longest embedding tells about itself, if it does."""
        return getattr(self.losses[str(max(self.weights))], "active_share", None)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] with labels [B].

        Raises:
            ValueError: if shapes or label type are wrong, or D is less than the greatest length.
        """
        labels = check_batch("Matryoshka", embeddings, labels)
        if embeddings.shape[1] < max(self.weights):
            raise ValueError(
                f"Matryoshka: the greatest length is {max(self.weights)}, got embeddings of dimension "
                f"{embeddings.shape[1]}"
            )
        parts = [
            weight * self.losses[str(dim)](embeddings[:, :dim], labels)
            for dim, weight in self.weights.items()
        ]
        return torch.stack(parts).sum(dim=0) / sum(self.weights.values())
