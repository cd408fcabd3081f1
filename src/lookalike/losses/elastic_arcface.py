"""ElasticFace loss, with the margin on the angle."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._margin_head import MarginHead, MarginOptions, Scale, check_angle, plus_angle


class ElasticArcFace(MarginHead):
    """ArcFace with a random margin for each image (Boutros et al., 2022, arXiv:2109.09416).

    Margins are normal with mean `margin` and deviation `std`. Plus: the margins of a batch are handed out so
    that the image farthest from its proxy gets the largest. The authors' code looks the sorted
    margins up by the order of the images and not by their ranks, so it hands them out permuted. In
    evaluation every image has the mean margin. The tail beyond π - margin is ArcFace's.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: mean, in radians, from 0 to below π.
        std: deviation of the margins; the paper has 0.0125, and 0.0175 with `plus`.
        scale: of the logits, or `auto`.
        plus: the largest margins for the farthest images.
        options: variants, see `MarginOptions`.
        class_counts: number of training images of each class, for `rare_margin`.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: float = 0.5,
        std: float = 0.0125,
        scale: Scale = 64.0,
        plus: bool = False,
        options: MarginOptions | None = None,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        check_finite("ElasticArcFace", margin=margin, std=std)
        super().__init__(num_classes, dim, margin, scale, options, class_counts)
        check_angle("ElasticArcFace", margin)
        check_std("ElasticArcFace", std)
        self.std, self.plus = std, plus

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """`cos(θ + margin)` with a drawn margin, [B]."""
        std = self.std * self.share if self.training else 0.0
        return plus_angle(
            target_cosine, self.margins(target_cosine, labels) + deviations(target_cosine, std, self.plus)
        )


def deviations(target_cosine: Tensor, std: float, plus: bool) -> Tensor:
    """Normal numbers [B]; with `plus`, larger for a smaller cosine [B]."""
    noise = std * torch.randn_like(target_cosine)
    if not plus:
        return noise
    nearest_first = target_cosine.detach().argsort(descending=True)
    return torch.empty_like(noise).scatter_(0, nearest_first, noise.sort().values)


def check_std(owner: str, std: float) -> None:
    """Refuse a deviation below zero.

    Raises:
        ValueError: naming the value.
    """
    if std < 0:
        raise ValueError(f"{owner} std {std}: the deviation of margins, at least 0")
