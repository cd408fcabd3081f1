"""Large-margin softmax loss."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import ProxyLoss
from lookalike.losses._cosine import Product, unit
from lookalike.losses._margin_head import angle_of, falling_cosine


class LargeMarginSoftmax(ProxyLoss):
    """Softmax on raw inner products with the true class's angle multiplied (Liu et al., 2016,
    arXiv:1612.02295).

    The logit of the true class is `|x| |w| ψ(margin θ)`, of the others `|x| |w| cos θ`, with the lengths of
    embedding and proxy and `ψ(a) = (-1)^k cos a - 2k`, k = floor(a / π); mean over images. `SphereFace` is
    the same with proxies of length one. The margin may be any number from 1, which is plain softmax without
    bias. The paper mixes ψ with `cos θ` at the start of training; here a smaller margin makes it easier.
    Proxies start with a standard deviation of 1/√D. For a whole margin equal to pytorch-metric-learning's
    LargeMarginSoftmaxLoss.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: times the angle, at least 1.
    """

    uses_length = True
    starts_at_means = False

    def __init__(self, num_classes: int, dim: int, margin: float = 4.0) -> None:
        check_finite("LargeMarginSoftmax", margin=margin)
        super().__init__(num_classes, dim)
        if margin < 1:
            raise ValueError(f"LargeMarginSoftmax margin {margin}: multiplies the angle, at least 1")
        self.margin = margin
        self.proxies.data.mul_(dim**-0.5)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] and class ids [B]."""
        labels = self._check(embeddings, labels)
        embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = self.class_scores(embeddings)
            if not len(labels):
                return logits.sum()
            target_proxy = self.proxies[labels]
            norms = [torch.linalg.vector_norm(side, dim=1) for side in (embeddings, target_proxy)]
            cos = (unit(embeddings) * unit(target_proxy)).sum(dim=1).clamp(-1, 1)
            target = norms[0] * norms[1] * falling_cosine(self.margin * angle_of(cos))
            return F.cross_entropy(logits.scatter(1, labels[:, None], target[:, None]), labels)

    def class_scores(self, embeddings: Tensor) -> Tensor:
        """Logits [B, num_classes] of raw embeddings [B, D], without the margin."""
        dtype = torch.promote_types(torch.promote_types(embeddings.dtype, self.proxies.dtype), torch.float32)
        with torch.autocast(embeddings.device.type, enabled=False):
            return Product.apply(embeddings.to(dtype), self.proxies.to(dtype))
