"""P2SGrad loss."""

import torch.nn.functional as F
from torch import Tensor

from lookalike.losses._base import ProxyLoss


class P2SGrad(ProxyLoss):
    """Squared error of the cosines to the proxies, without scale or margin (Zhang et al., 2019,
    arXiv:1905.02479).

    `mean (cos θ_c - [c = y])²` over images and classes. The paper defines a gradient, not a loss: that of
    softmax over cosines with the cosine itself in place of the probability, which is the gradient of this
    squared error. Equal in value and gradient of the embeddings to pytorch-metric-learning's P2SGradLoss,
    which normalises its proxies in place before each batch; their gradient here is the part at right angles
    to each proxy, for any length.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
    """

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__(num_classes, dim)

    def classes(self, cos: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of the cosines [B, C]."""
        return (cos - F.one_hot(labels, self.num_classes)).square().mean()
