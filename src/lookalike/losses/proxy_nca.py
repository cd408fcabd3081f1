"""Proxy-NCA loss."""

from functools import partial

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import ProxyLoss, cosine
from lookalike.losses._fused_proxy import SlopeLoss, cross_entropy, proxy_loss


class ProxyNCA(ProxyLoss):
    """Nearer to the proxy of its class than to all others (Movshovitz-Attias et al., 2017, arXiv:1703.07464).

    `-log(exp(-d_y) / Σ exp(-d_c))`, mean over images, with `d` the squared Euclidean distance from
    `embedding_scale * x / |x|` to `proxy_scale * p / |p|`, that is a constant minus `2 * embedding_scale *
    proxy_scale * s` of the cosine s. The paper sums over the other classes only, so its loss can fall below
    zero; the usual code, and so the default here, sums over all classes. Both scales are 1 in the paper,
    where the logits of two classes differ by at most 4: too little to fit many classes.

    Equal to pytorch-metric-learning's ProxyNCALoss with `softmax_scale = embedding_scale * proxy_scale`,
    which drops an image whose probability is rounded to zero; here it counts.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        embedding_scale: radius of the sphere of embeddings.
        proxy_scale: radius of the sphere of proxies.
        smoothing: share of each target, from 0 to below 1, that the other classes get in equal parts.
        positive_in_sum: whether the true class is in the sum; false as in the paper.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        embedding_scale: float = 1.0,
        proxy_scale: float = 3.0,
        smoothing: float = 0.0,
        positive_in_sum: bool = True,
    ) -> None:
        check_finite(
            "ProxyNCA", embedding_scale=embedding_scale, proxy_scale=proxy_scale, smoothing=smoothing
        )
        super().__init__(num_classes, dim)
        for name, value in (("embedding_scale", embedding_scale), ("proxy_scale", proxy_scale)):
            if value <= 0:
                raise ValueError(f"ProxyNCA {name} {value}: a radius is above 0")
        if not 0 <= smoothing < 1:
            raise ValueError(f"ProxyNCA smoothing {smoothing}: must be at least 0 and below 1")
        if num_classes == 1 and not positive_in_sum:
            raise ValueError("ProxyNCA positive_in_sum False: needs another class, and num_classes is 1")
        self.scale, self.smoothing = 2 * embedding_scale * proxy_scale, smoothing
        self.positive_in_sum = positive_in_sum

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] and class ids [B]."""
        return proxy_loss(self, embeddings, labels, partial(SlopeLoss.apply, self.rule))

    def class_scores(self, embeddings: Tensor) -> Tensor:
        """Logits [B, num_classes] of raw embeddings [B, D]."""
        return self.scale * cosine(embeddings, self.proxies)

    def rule(self, cos: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of the cosines [C, B], which are overwritten, and its derivative."""
        return cross_entropy(
            cos, labels, self.scale, smoothing=self.smoothing, own_in_sum=self.positive_in_sum
        )
