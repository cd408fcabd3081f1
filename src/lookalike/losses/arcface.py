"""ArcFace loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lookalike.losses._margin_head import MarginHead, MarginOptions, Scale, check_angle, plus_angle


class ArcFace(MarginHead):
    """Cross-entropy with an angular margin on the true class (Deng et al., 2019, arXiv:1801.07698).

    The logit of the true class is `scale * cos(θ + margin)`, of the others `scale * cos θ`, with θ the angle
    to the class's proxy. `cos(θ + m) = cos θ cos m - sin θ sin m` with the sine cut off just above zero gives
    the paper's gradient at every angle but keeps it finite at 0 and π. Tail: beyond θ = π - m, where cos(θ +
    m) would rise again, the logit is `cos θ - m sin m`, which keeps falling. Equal to
    pytorch-metric-learning's ArcFaceLoss, whose margin is in degrees. insightface's code computes the angle
    without gradient, so that the gradient there is that of the plain cosine; the value is the same up to the
    tail.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: in radians, from 0 to below π; 0 is the normalised softmax.
        scale: of the logits, or `auto`. The paper's 64 is for millions of face images.
        easy_margin: add the margin only where θ is below π / 2, and leave the cosine as it is elsewhere.
        options: variants, see `MarginOptions`.
        class_counts: number of training images of each class, for `rare_margin`.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: float = 0.5,
        scale: Scale = 30.0,
        easy_margin: bool = False,
        options: MarginOptions | None = None,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        super().__init__(num_classes, dim, margin, scale, options, class_counts)
        check_angle("ArcFace", margin)
        self.easy_margin = easy_margin

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """`cos(θ + margin)`, [B]."""
        shifted = plus_angle(target_cosine, self.margins(target_cosine, labels))
        return torch.where(target_cosine > 0, shifted, target_cosine) if self.easy_margin else shifted

    def with_margin(self, cos: Tensor) -> Tensor:
        """`cos(θ + margin)` for `cos θ` of any shape, with the tail beyond π - margin."""
        return plus_angle(cos, torch.full_like(cos, self.margin))
