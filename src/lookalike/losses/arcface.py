"""ArcFace loss."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.losses._base import ProxyLoss


class ArcFace(ProxyLoss):
    """Cross-entropy with an angular margin on the true class (Deng et al., 2019, arXiv:1801.07698).

    The logit of the true class is `scale * cos(θ + margin)`, of the others `scale * cos θ`, with θ the angle
    to the class's proxy. `cos(θ + m) = cos θ cos m - sin θ sin m` with the sine cut off just above zero gives
    the paper's gradient at every angle but keeps it finite at 0 and π. Tail: beyond θ = π - m, where cos(θ +
    m) would rise again, the logit is `cos θ - m sin m`, which keeps falling. Equal to
    pytorch-metric-learning's ArcFaceLoss, whose margin is in degrees.

    Args:
        num_classes: number of classes.
        dim: length of the embeddings.
        margin: in radians, from 0 to below π; 0 is the normalised softmax.
        scale: of the logits. The paper's 64 is for millions of face images.
    """

    def __init__(self, num_classes: int, dim: int, margin: float = 0.5, scale: float = 30.0) -> None:
        super().__init__(num_classes, dim)
        if not 0 <= margin < math.pi:
            raise ValueError(f"ArcFace margin {margin}: an angle in radians, from 0 to below {math.pi:.4f}")
        self.margin, self.scale = margin, scale

    def classes(self, cos: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of the similarities to the proxies."""
        own = labels[:, None]
        target = self.with_margin(cos.gather(1, own))
        return F.cross_entropy((self.scale * cos).scatter(1, own, self.scale * target), labels)

    def with_margin(self, cos: Tensor) -> Tensor:
        """`cos(θ + margin)` for `cos θ`, with the tail beyond π - margin."""
        sine = (1 - cos.square()).clamp_min(1e-12).sqrt()
        shifted = cos * math.cos(self.margin) - sine * math.sin(self.margin)
        return torch.where(cos > -math.cos(self.margin), shifted, cos - self.margin * math.sin(self.margin))
