"""Normalised softmax loss."""

from functools import partial

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import ProxyLoss, cosine
from lookalike.losses._fused_proxy import SlopeLoss, cross_entropy, proxy_loss


class NormalizedSoftmax(ProxyLoss):
    """Cross-entropy over the cosines to one proxy a class (Zhai and Wu, 2019, arXiv:1811.12649).

    `-log(exp(scale * s_y) / Σ exp(scale * s_c))`, mean over images. Equal to pytorch-metric-learning's
    NormalizedSoftmaxLoss with `temperature = 1 / scale`.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        scale: of the cosines; larger is sharper.
    """

    def __init__(self, num_classes: int, dim: int, scale: float = 20.0) -> None:
        check_finite("NormalizedSoftmax", scale=scale)
        super().__init__(num_classes, dim)
        if scale <= 0:
            raise ValueError(f"NormalizedSoftmax scale {scale}: scale must be above 0")
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] and class ids [B]."""
        return proxy_loss(self, embeddings, labels, partial(SlopeLoss.apply, self.rule))

    def class_scores(self, embeddings: Tensor) -> Tensor:
        """Logits [B, num_classes] of raw embeddings [B, D]."""
        return self.scale * cosine(embeddings, self.proxies)

    def rule(self, cos: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of the cosines [C, B], which are overwritten, and its derivative."""
        return cross_entropy(cos, labels, self.scale)
