"""Normalised softmax loss."""

import torch.nn.functional as F
from torch import Tensor

from lookalike.losses._base import ProxyLoss


class NormalizedSoftmax(ProxyLoss):
    """Cross-entropy over the cosines to one proxy a class (Zhai and Wu, 2019, arXiv:1811.12649).

    `-log(exp(scale * s_y) / Σ exp(scale * s_c))`. Equal to pytorch-metric-learning's NormalizedSoftmaxLoss
    with `temperature = 1 / scale`.

    Args:
        num_classes: number of classes.
        dim: length of the embeddings.
        scale: of the cosines; larger is sharper.
    """

    def __init__(self, num_classes: int, dim: int, scale: float = 20.0) -> None:
        super().__init__(num_classes, dim)
        self.scale = scale

    def classes(self, cos: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of the similarities to the proxies."""
        return F.cross_entropy(self.scale * cos, labels)
