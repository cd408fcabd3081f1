"""Manifold proxy loss."""

from typing import Any

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import ProxyLoss, cosine
from lookalike.losses._gradient import log1p_sum_exp, refuse_second_order

TEMPERATURE = 0.5
"""Of the edge weights, as in the paper."""


class Manifold(ProxyLoss):
    """Compare images with proxies along the data manifold (Aziere and Todorovic, CVPR 2019).

    Images of the batch and proxies are the nodes of a graph with edges `exp(2 max(0, s))` of cosine s. With
    its normalised matrix W, `A = (1 - alpha) (I - alpha W)^-1` holds the similarities of a random walk. Of
    these the loss is `log(1 + Σ_c exp(A_ic - A_iy + margin))` over the other proxies c that are above the
    true one y minus the margin, plus `context` times the same of the cosines between the rows of A; mean over
    images. Time grows with the third power of images plus classes: for up to some thousands of classes. Equal
    to pytorch-metric-learning's ManifoldLoss with the labels as `indices_tuple`; it draws random ones
    otherwise, and inverts in single precision.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        alpha: share of similarity that a node passes to its neighbours, between 0 and 1.
        margin: in units of A and of the cosine.
        context: weight of the second term, at least 0.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        alpha: float = 0.8,
        margin: float = 5e-4,
        context: float = 1.0,
    ) -> None:
        check_finite("Manifold", alpha=alpha, margin=margin, context=context)
        super().__init__(num_classes, dim)
        if not 0 < alpha < 1:
            raise ValueError(f"Manifold alpha {alpha}: alpha must be between 0 and 1")
        if context < 0:
            raise ValueError(f"Manifold context {context}: context must be at least 0")
        self.alpha, self.margin, self.context = alpha, margin, context

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] and class ids [B]."""
        labels = self._check(embeddings, labels)
        if not len(embeddings):
            return embeddings.float().sum() + 0 * self.proxies.sum()
        dtype = torch.promote_types(embeddings.dtype, self.proxies.dtype)
        with torch.autocast(embeddings.device.type, enabled=False):
            walk = self.walk(torch.cat([embeddings.to(dtype), self.proxies.to(dtype)]))
            images, proxies = walk[: len(labels)], walk[len(labels) :]
            value = self.classes(images[:, len(labels) :], labels)
            return value + self.context * self.classes(cosine(images, proxies), labels)

    def walk(self, nodes: Tensor) -> Tensor:
        """Similarities A of a random walk between the nodes [N, D], [N, N]."""
        edges = (cosine(nodes, nodes).clamp_min(0) / TEMPERATURE).exp()
        identity = torch.eye(len(edges), dtype=edges.dtype, device=edges.device)
        edges = edges * (1 - identity)
        scale = edges.sum(dim=1).rsqrt()
        return (1 - self.alpha) * _Inverse.apply(identity - self.alpha * scale[:, None] * edges * scale)

    def classes(self, cos: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of similarities [B, C] and class ids [B]."""
        excess = cos - cos.gather(1, labels[:, None]) + self.margin
        active = (excess >= 0).scatter(1, labels[:, None], False)
        return log1p_sum_exp(excess, active).mean()


class _Inverse(torch.autograd.Function):
    """The inverse of a matrix, both ways in its own precision; NaN stays NaN."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        inverse = torch.linalg.inv_ex(matrix).inverse
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        refuse_second_order()
        (inverse,) = ctx.saved_tensors
        with torch.autocast(inverse.device.type, enabled=False):
            return -(inverse.T @ grad_outputs[0] @ inverse.T)
