"""Circle loss with proxies."""

import torch.nn.functional as F
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import ProxyLoss
from lookalike.losses._gradient import log_sum_exp
from lookalike.losses._tuplets import check_positive


class ProxyCircle(ProxyLoss):
    """Circle loss on class labels: proxies in place of the other images (Sun et al., 2020, arXiv:2002.10857).

    `log(1 + Σ_c exp(scale w_c (s_c - margin)) exp(-scale w_y (s_y - (1 - margin))))` over the proxies c of
    other classes, with the weights `w_c = max(0, s_c + margin)` and `w_y = max(0, 1 + margin - s_y)`; mean
    over images. As in the paper the weights are held fixed when the gradient is taken. Equal to
    pytorch-metric-learning's CircleLoss with the proxies as `ref_emb`, except that it leaves out images whose
    loss is too small for the number format.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: m of the paper: positives aim at 1 + margin and negatives at -margin.
        scale: gamma of the paper, above 0; 256 for faces.
    """

    holds_fixed = True

    def __init__(self, num_classes: int, dim: int, margin: float = 0.25, scale: float = 256.0) -> None:
        check_finite("ProxyCircle", margin=margin, scale=scale)
        super().__init__(num_classes, dim)
        check_positive("ProxyCircle", "scale", scale)
        self.margin, self.scale = margin, scale

    def classes(self, cos: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of the cosines [B, C]."""
        target = F.one_hot(labels, self.num_classes).bool()
        fixed = cos.detach()
        pull = self.scale * (1 + self.margin - fixed).relu() * (1 - self.margin - cos)
        push = self.scale * (fixed + self.margin).relu() * (cos - self.margin)
        return F.softplus(log_sum_exp(push, ~target) + pull[target]).mean()
