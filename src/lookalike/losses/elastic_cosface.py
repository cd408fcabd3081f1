"""ElasticFace loss, with the margin on the cosine."""

from collections.abc import Sequence

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._margin_head import MarginHead, MarginOptions, Scale
from lookalike.losses.cosface import check_cosine
from lookalike.losses.elastic_arcface import check_std, deviations


class ElasticCosFace(MarginHead):
    """CosFace with a random margin for each image (Boutros et al., 2022, arXiv:2109.09416).

    Margins are normal with mean `margin` and deviation `std`. Plus: the margins of a batch are handed out so
    that the image farthest from its proxy gets the largest (the authors' code permutes them,
    see `ElasticArcFace`). In evaluation every image has the mean margin.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: mean, a cosine.
        std: deviation of the margins; the paper has 0.0125, and 0.025 with `plus`.
        scale: of the logits, or `auto`.
        plus: the largest margins for the farthest images.
        options: variants, see `MarginOptions`.
        class_counts: number of training images of each class, for `rare_margin`.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: float = 0.35,
        std: float = 0.0125,
        scale: Scale = 64.0,
        plus: bool = False,
        options: MarginOptions | None = None,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        check_finite("ElasticCosFace", margin=margin, std=std)
        super().__init__(num_classes, dim, margin, scale, options, class_counts)
        check_cosine("ElasticCosFace", margin)
        check_std("ElasticCosFace", std)
        self.std, self.plus = std, plus

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """`cos θ - margin` with a drawn margin, [B]."""
        std = self.std * self.share if self.training else 0.0
        return target_cosine - self.margins(target_cosine, labels) - deviations(target_cosine, std, self.plus)
