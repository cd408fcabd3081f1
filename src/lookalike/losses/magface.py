"""MagFace loss."""

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._logsumexp import TargetLogSumExp
from lookalike.losses._margin_head import MarginHead, MarginOptions, Scale, check_angle, plus_angle


class MagFace(MarginHead):
    """ArcFace whose margin grows with the embedding norm (Meng et al., 2021, arXiv:2103.06627).

    With a the length of the raw embedding, kept from `shortest` to `longest`, the margin is linear from
    `margin` to `long_margin`, and `regularizer * (1 / a + a / longest²)` is added, which rewards length:
    clear images end up longer than poor ones. The gradient reaches the length through both. Outside of the
    two lengths there is none, so `shortest` is 1 here and not the authors' 10, which fits a network that ends
    in batch normalisation over 512 numbers. The tail beyond π - margin is ArcFace's. The authors' code has
    `easy_margin=True` by default, the paper and this do not.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: of an embedding of length `shortest`, in radians, from 0 to below π.
        long_margin: of one of length `longest`, likewise.
        shortest: length, above 0.
        longest: length, above `shortest`.
        regularizer: weight of the reward for length.
        scale: of the logits, or `auto`.
        easy_margin: only images within 90° of their proxy have a margin, the others none, as in the authors'
            code.
        options: variants, see `MarginOptions`.
    """

    uses_length = True

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: float = 0.45,
        long_margin: float = 0.8,
        shortest: float = 1.0,
        longest: float = 110.0,
        regularizer: float = 35.0,
        scale: Scale = 64.0,
        easy_margin: bool = False,
        options: MarginOptions | None = None,
    ) -> None:
        check_finite(
            "MagFace",
            margin=margin,
            long_margin=long_margin,
            shortest=shortest,
            longest=longest,
            regularizer=regularizer,
        )
        super().__init__(num_classes, dim, margin, scale, options)
        self.options.refuse("MagFace", "rare_margin")
        check_angle("MagFace", margin)
        check_angle("MagFace", long_margin)
        if not 0 < shortest < longest:
            raise ValueError(f"MagFace shortest {shortest}: a length above 0 and below longest ({longest})")
        if regularizer < 0:
            raise ValueError(f"MagFace regularizer {regularizer}: a weight of at least 0")
        self.long_margin, self.shortest, self.longest = long_margin, shortest, longest
        self.regularizer, self.easy_margin = regularizer, easy_margin

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """`cos(θ + margin)` with the margin of the length, [B]."""
        part = (length.clamp(self.shortest, self.longest) - self.shortest) / (self.longest - self.shortest)
        moved = plus_angle(
            target_cosine, (self.margin + part * (self.long_margin - self.margin)) * self.share
        )
        return torch.where(target_cosine > 0, moved, target_cosine) if self.easy_margin else moved

    def loss_of_cosines(self, cosines: TargetLogSumExp, labels: Tensor, length: Tensor) -> Tensor:
        """Cross-entropy and the reward for length."""
        clamped_length = length.clamp(self.shortest, self.longest)
        reward = (clamped_length.reciprocal() + clamped_length / self.longest**2).mean()
        return super().loss_of_cosines(cosines, labels, length) + self.regularizer * reward
