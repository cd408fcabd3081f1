"""SphereFace loss."""

from torch import Tensor

from lookalike.losses._margin_head import MarginHead, MarginOptions, Scale, angle_of, falling_cosine


class SphereFace(MarginHead):
    """Cross-entropy with the true class's angle multiplied (A-Softmax; Liu et al., 2017, arXiv:1704.08063).

    The logit of the true class is `scale * |x| * ψ(margin θ)`, of the others `scale * |x| * cos θ`, with |x|
    the length of the embedding and `ψ(a) = (-1)^k cos a - 2k`, k = floor(a / π), a cosine that falls all the
    way. The margin may be any number from 1. For a whole margin equal to pytorch-metric-learning's
    SphereFaceLoss. Where the paper mixes ψ with `cos θ` and lowers the share of the latter, here the margin
    itself grows from 1 (`options.start`); without that, 4 is hard to train. For a scale without |x| see
    `CombinedMargin`.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: times the angle, at least 1.
        scale: of the logits, beside the length of the embedding; or `auto`.
        options: variants, see `MarginOptions`.
    """

    uses_length = True

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: float = 4.0,
        scale: Scale = 1.0,
        options: MarginOptions | None = None,
    ) -> None:
        super().__init__(num_classes, dim, margin, scale, options)
        self.options.refuse("SphereFace", "rare_margin")
        if margin < 1:
            raise ValueError(f"SphereFace margin {margin}: multiplies the angle, at least 1")

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """`ψ(margin θ)`, [B]."""
        return falling_cosine((1 + (self.margin - 1) * self.share) * angle_of(target_cosine))

    def logit_scale(self, length: Tensor) -> Tensor:
        """`scale * |x|`, [B]."""
        return self.scale * length
