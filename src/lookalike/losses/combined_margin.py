"""Combined margin loss."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._margin_head import MarginHead, MarginOptions, Scale, angle_of, falling_cosine


class CombinedMargin(MarginHead):
    """SphereFace's, ArcFace's and CosFace's margins in one (Deng et al., 2019, arXiv:1801.07698, section 3).

    The logit of the true class is `scale * (cos(m1 θ + m2) - m3)`, of the others `scale * cos θ`. Beyond
    m1 θ + m2 = π the cosine goes on falling as in SphereFace, `(-1)^k cos(m1 θ + m2) - 2k`; up to there
    (1, m, 0) equals `ArcFace`, and (1, 0, m) equals `CosFace` everywhere.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        m1: times the angle, at least 1.
        m2: added to the angle, in radians, at least 0.
        m3: taken from the cosine, at least 0.
        scale: of the logits, or `auto`.
        options: variations; all three margins grow together.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        m1: float = 1.0,
        m2: float = 0.3,
        m3: float = 0.2,
        scale: Scale = 30.0,
        options: MarginOptions | None = None,
    ) -> None:
        check_finite("CombinedMargin", m1=m1, m2=m2, m3=m3)
        super().__init__(num_classes, dim, m2, scale, options)
        self.options.refuse("CombinedMargin", "rare_margin")
        for name, value, least in (("m1", m1, 1), ("m2", m2, 0), ("m3", m3, 0)):
            if value < least:
                raise ValueError(f"CombinedMargin {name} {value}: at least {least}")
        self.m1, self.m2, self.m3 = m1, m2, m3

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """`cos(m1 θ + m2) - m3`, [B]."""
        times = 1 + (self.m1 - 1) * self.share
        return falling_cosine(times * angle_of(target_cosine) + self.m2 * self.share) - self.m3 * self.share
