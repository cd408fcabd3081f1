"""SphereFace2 loss."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.errors import check_finite
from lookalike.losses._base import ProxyLoss
from lookalike.losses._tuplets import check_positive


class SphereFace2(ProxyLoss):
    """A binary classifier for each class instead of a softmax over all (Wen et al., 2022, arXiv:2108.01513).

    `balance / scale * log(1 + exp(-scale (g(s_y) - margin) - b))` for the true class plus
    `(1 - balance) / scale * log(1 + exp(scale (g(s_c) + margin) + b))` for each other class, with cosine s,
    `g(s) = 2 ((s + 1) / 2)^t - 1` and a learned bias b; mean over images. The classifiers do not
    compete, so images with a wrong label pull less at other classes. b starts where the pull of the true
    class equals the push of the others for embeddings at right angles to all proxies. This is the paper's
    additive margin (SphereFace2-C). Without a counterpart in pytorch-metric-learning.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: on g, added for other classes and subtracted for the true one.
        scale: r of the paper, above 0.
        balance: λ of the paper, weight of the true class, between 0 and 1.
        t: exponent of the similarity adjustment, above 0; 1 leaves cosines as they are.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: float = 0.4,
        scale: float = 40.0,
        balance: float = 0.7,
        t: float = 3.0,
    ) -> None:
        check_finite("SphereFace2", margin=margin, scale=scale, balance=balance, t=t)
        super().__init__(num_classes, dim)
        check_positive("SphereFace2", "scale", scale)
        check_positive("SphereFace2", "t", t)
        if not 0 < balance < 1:
            raise ValueError(f"SphereFace2 balance {balance}: balance must be between 0 and 1")
        self.margin, self.scale, self.balance, self.t = margin, scale, balance, t
        self.bias = nn.Parameter(torch.tensor(self._balanced_bias()))

    def classes(self, cos: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of the cosines [B, C]."""
        target = F.one_hot(labels, self.num_classes).bool()
        logits = self.scale * self.adjust(cos) + self.bias
        shift = self.scale * self.margin
        pull = F.softplus(shift - logits[target]).mean()
        push = F.softplus(logits + shift).masked_fill(target, 0).sum(dim=1).mean()
        return (self.balance * pull + (1 - self.balance) * push) / self.scale

    def adjust(self, cos: Tensor) -> Tensor:
        """`g(cos)`, from -1 to 1; the gradient is finite at -1 for t below 1."""
        return 2 * ((cos + 1) / 2).clamp_min(1e-6).pow(self.t) - 1

    def _balanced_bias(self) -> float:
        """The b with `balance σ(-a_y - b) = (1 - balance) (C - 1) σ(a_c + b)` at a cosine of 0.

        With `v = exp(a_y + b)` and `z = balance / ((1 - balance) (C - 1))` it is the positive root of
        `v² + (1 - z) v - z exp(a_y - a_c) = 0`.
        """
        middle = self.scale * (2 * 0.5**self.t - 1)
        own_logit, other_logit = middle - self.scale * self.margin, middle + self.scale * self.margin
        z = self.balance / ((1 - self.balance) * max(1, self.num_classes - 1))
        gap = z * math.exp(min(700.0, own_logit - other_logit))
        root = math.sqrt((1 - z) ** 2 + 4 * gap)
        positive_root = 2 * gap / (1 - z + root) if z < 1 else (z - 1 + root) / 2
        return math.log(max(positive_root, 1e-300)) - own_logit
