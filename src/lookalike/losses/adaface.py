"""AdaFace loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._margin_head import MarginHead, MarginOptions, Scale, angle_of, check_angle
from lookalike.losses._running import Running

EDGE = 1e-3


class AdaFace(MarginHead):
    """A margin that depends on image quality, estimated by the embedding norm (Kim et al., 2022,
    arXiv:2204.00964).

    With `k = clip(h (|x| - μ) / (σ + 0.001), -1, 1)` the logit of the true class is `scale * (cos(θ - k
    margin) - (1 + k) margin)`: a clear image (k = 1) is pushed hardest where it is hard, a poor one (k = -1)
    where it is easy. μ and σ follow mean and deviation of the lengths (kept from 0.001 to 100) of the
    batches, starting at the authors' 20 and 100; lengths are held constant for the gradient. As in the
    authors' code the moved angle stays 0.001 away from 0 and π. μ and σ move once a step of the optimizer, do
    not move in evaluation and are saved; a batch of one image moves only μ.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: in radians and in cosine at once.
        scale: of the logits, or `auto`.
        h: how much of the spread of lengths is used; 0.333 is three deviations.
        momentum: share of the newest batch in μ and σ, in (0, 1].
        options: variants, see `MarginOptions`.
        class_counts: number of training images of each class, for `rare_margin`.
    """

    uses_length = True
    holds_fixed = True

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: float = 0.4,
        scale: Scale = 64.0,
        h: float = 0.333,
        momentum: float = 0.01,
        options: MarginOptions | None = None,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        check_finite("AdaFace", margin=margin, h=h, momentum=momentum)
        super().__init__(num_classes, dim, margin, scale, options, class_counts)
        check_angle("AdaFace", margin)
        if not 0 < momentum <= 1:
            raise ValueError(f"AdaFace momentum {momentum}: from above 0 to 1")
        if h < 0:
            raise ValueError(f"AdaFace h {h}: h must be at least 0")
        self.h, self.momentum = h, momentum
        self.running = Running(20.0, 100.0)

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """`cos(θ - k margin) - (1 + k) margin`, [B]."""
        quality, margin = self._quality(length.detach().clamp(1e-3, 100)), self.margins(target_cosine, labels)
        moved = (angle_of(target_cosine) - quality * margin).clamp(EDGE, torch.pi - EDGE)
        return moved.cos() - (1 + quality) * margin

    def _quality(self, length: Tensor) -> Tensor:
        if self.training:
            spread = length.std() if len(length) > 1 else self.running.previous(self.proxies)[1]
            measured = torch.stack([length.mean(), spread.to(length.dtype)])
            self.running.follow(self.proxies, measured, self.momentum)
        mean, deviation = self.running.now.to(length.dtype)
        return (self.h * (length - mean) / (deviation + EDGE)).clamp(-1, 1)
