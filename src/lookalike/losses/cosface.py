"""CosFace loss."""

from collections.abc import Sequence

from torch import Tensor

from lookalike.losses._margin_head import MarginHead, MarginOptions, Scale


class CosFace(MarginHead):
    """Cross-entropy with a margin on the cosine of the true class (Wang et al., 2018, arXiv:1801.09414).

    The logit of the true class is `scale * (cos θ - margin)`, of the others `scale * cos θ`. Also known as
    AM-Softmax (arXiv:1801.05599). Equal to pytorch-metric-learning's CosFaceLoss.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: a cosine, at least 0.
        scale: of the logits, or `auto`. The paper's 64 is for millions of face images.
        options: variants, see `MarginOptions`.
        class_counts: number of training images of each class, for `rare_margin`.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: float = 0.35,
        scale: Scale = 30.0,
        options: MarginOptions | None = None,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        super().__init__(num_classes, dim, margin, scale, options, class_counts)
        check_cosine("CosFace", margin)

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """`cos θ - margin`, [B]."""
        return target_cosine - self.margins(target_cosine, labels)


def check_cosine(owner: str, margin: float) -> None:
    """Refuse a margin that cosines cannot have.

    Raises:
        ValueError: naming the margin and what is allowed.
    """
    if not 0 <= margin < 2:
        raise ValueError(f"{owner} margin {margin}: a difference of cosines, from 0 to below 2")
