"""KoLeo regulariser."""

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import PairLoss, check_batch, mean_over, relations
from lookalike.losses._cosine import unit


class KoLeo(PairLoss):
    """Push each image away from its nearest neighbour, to spread all over the sphere (Sablayrolles et al.,
    2019, arXiv:1806.03198).

    `-mean log d`, with d the Euclidean distance of an image's unit vector to the nearest other one of the
    batch, whatever the classes: an estimate of the differential entropy, after Kozachenko and Leonenko. It is
    negative where distances are above 1. Written `-log(d² + epsilon²) / 2`, so that equal vectors give a
    finite value and no gradient. Mean over the images that have a neighbour; images of unknown class (-1) are
    left out. A regulariser: add it to another loss (`loss=[triplet,koleo]`).

    Args:
        epsilon: distance below which two vectors count as equal; the push, at most
            1 / (2 epsilon), is strongest there.

    Attributes:
        takes_mixed: true; classes do not matter.
    """

    takes_mixed = True

    def __init__(self, epsilon: float = 1e-4) -> None:
        check_finite("KoLeo", epsilon=epsilon)
        super().__init__()
        if epsilon <= 0:
            raise ValueError(f"KoLeo epsilon {epsilon}: epsilon must be above 0")
        self.epsilon = epsilon

    def forward(
        self, embeddings: Tensor, labels: Tensor, extra: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Loss of a batch, as `PairLoss.forward`."""
        labels = check_batch("KoLeo", embeddings, labels)
        if not len(embeddings):
            return embeddings.float().sum()
        with torch.autocast(embeddings.device.type, enabled=False):
            nearest, valid = _nearest(embeddings, labels, extra)
            others = unit(embeddings) if extra is None else torch.cat([unit(embeddings), unit(extra[0])])
            squared = (others[: len(embeddings)] - others[nearest]).square().sum(dim=1)
            return mean_over(-(squared + self.epsilon**2).log() / 2, valid)


@torch.no_grad()
def _nearest(
    embeddings: Tensor, labels: Tensor, extra: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Column of each image's nearest neighbour and whether it has one, both [B]."""
    sim, positive, negative = relations(embeddings, labels, extra)
    is_known = positive | negative
    return sim.masked_fill(~is_known, -2).argmax(dim=1), is_known.any(dim=1)
