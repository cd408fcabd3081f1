"""Sub-centre ArcFace loss."""

from collections.abc import Sequence

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._margin_head import MarginHead, MarginOptions, Scale, check_angle, plus_angle


class SubCenterArcFace(MarginHead):
    """ArcFace with several proxies a class, of which the nearest counts (Deng et al., 2020, ECCV).

    `cos θ` of a class is the largest of its centres'; then as `ArcFace`. Wrong labels and odd images gather
    at a centre of their own instead of spoiling the main one. Equal to pytorch-metric-learning's
    SubCenterArcFaceLoss, whose margin is in degrees.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: in radians, from 0 to below π.
        scale: of the logits, or `auto`.
        centers: proxies for each class, 1 to 255.
        options: variants, see `MarginOptions`.
        class_counts: number of training images of each class, for `rare_margin`.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: float = 0.5,
        scale: Scale = 30.0,
        centers: int = 3,
        options: MarginOptions | None = None,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        check_finite("SubCenterArcFace", margin=margin, centers=centers)
        super().__init__(num_classes, dim, margin, scale, options, class_counts, centers)
        check_angle("SubCenterArcFace", margin)
        if centers > 255:
            raise ValueError(f"SubCenterArcFace centers {centers}: proxies for each class, 1 to 255")

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """`cos(θ + margin)`, [B]."""
        return plus_angle(target_cosine, self.margins(target_cosine, labels))
