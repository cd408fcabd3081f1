"""Proxy-Anchor loss."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import ProxyLoss
from lookalike.losses._fused_proxy import SlopeLoss, proxy_loss
from lookalike.losses._gradient import NOTHING


class ProxyAnchor(ProxyLoss):
    """Each class's proxy pulls its images and pushes all others (Kim et al., 2020, arXiv:2003.13911).

    `Σ log(1 + Σ exp(-alpha (s - margin))) / |P+|` over the P+ classes of the batch, the inner sum over their
    images, plus `Σ log(1 + Σ exp(alpha (s + margin))) / C` over all C classes, the inner sum over images of
    other classes. Equal to pytorch-metric-learning's ProxyAnchorLoss except for the start of the proxies (see
    `ProxyLoss`).

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        alpha: sharpness.
        margin: positives should lie above this cosine, negatives below its negative.
    """

    def __init__(self, num_classes: int, dim: int, alpha: float = 32.0, margin: float = 0.1) -> None:
        check_finite("ProxyAnchor", alpha=alpha, margin=margin)
        super().__init__(num_classes, dim)
        if alpha <= 0:
            raise ValueError(f"ProxyAnchor alpha {alpha}: alpha must be above 0")
        self.alpha, self.margin = alpha, margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] and class ids [B]."""
        return proxy_loss(self, embeddings, labels, partial(SlopeLoss.apply, self.rule))

    def rule(self, cos: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of the cosines [C, B], which are overwritten, and its derivative."""
        target_index = (labels, torch.arange(len(labels), device=labels.device))
        pulled, pull = self._pull(cos[target_index], labels)
        cos[target_index] = NOTHING
        push = cos.mul_(self.alpha)
        share = push.softmax(dim=1)
        total = push.amax(dim=1) - share.amax(dim=1).log() + self.alpha * self.margin
        slope = share.mul_(total.sigmoid().mul_(self.alpha / len(cos))[:, None])
        slope[target_index] = pull
        return pulled + F.softplus(total).mean(), slope

    def _pull(self, cos: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of the images' cosines [B] to their own proxies, and its derivative."""
        present = labels.unique()
        excess = self.alpha * (self.margin - cos).expand(len(present), -1)
        excess = excess.masked_fill(present[:, None] != labels, NOTHING)
        total = F.softplus(excess.logsumexp(dim=1))
        share = (excess - total[:, None]).exp().sum(dim=0)
        return total.mean(), share.mul_(-self.alpha / len(present))
