"""Proxy-Anchor loss."""

import torch
from torch import Tensor

from lookalike.losses._base import NOTHING, ProxyLoss, log1p_sum_exp


class ProxyAnchor(ProxyLoss):
    """Each class's proxy pulls its images and pushes all others (Kim et al., 2020, arXiv:2003.13911).

    `Σ log(1 + Σ exp(-alpha (s - margin))) / |P+|` over the P+ classes of the batch, the inner sum over their
    images, plus `Σ log(1 + Σ exp(alpha (s + margin))) / C` over all C classes, the inner sum over images of
    other classes. Equal to pytorch-metric-learning's ProxyAnchorLoss except for the start of the proxies (see
    `ProxyLoss`).

    Args:
        num_classes: number of classes.
        dim: length of the embeddings.
        alpha: sharpness.
        margin: positives should lie above this cosine, negatives below its negative.
    """

    def __init__(self, num_classes: int, dim: int, alpha: float = 32.0, margin: float = 0.1) -> None:
        super().__init__(num_classes, dim)
        self.alpha, self.margin = alpha, margin

    def classes(self, cos: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of the similarities to the proxies."""
        own = labels[:, None]
        present = labels.unique()
        pull = self.alpha * (self.margin - cos.gather(1, own)).T.expand(len(present), -1)
        push = (self.alpha * (cos + self.margin)).scatter(1, own, NOTHING)
        pulled = log1p_sum_exp(pull, present[:, None] == labels[None, :])
        pushed = torch.nn.functional.softplus(push.logsumexp(dim=0))
        return pulled.mean() + pushed.mean()
