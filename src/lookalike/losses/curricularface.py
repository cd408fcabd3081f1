"""CurricularFace loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._logsumexp import Change
from lookalike.losses._margin_head import MarginHead, MarginOptions, Scale, check_angle, plus_angle
from lookalike.losses._running import Running


class CurricularFace(MarginHead):
    """ArcFace that weighs hard negatives more as training goes on (Huang et al., 2020, arXiv:2004.00288).

    The logit of the true class is ArcFace's. That of another class is `scale * cos θ` if `cos θ` is at most
    the true class's `cos(θ + margin)`, else `scale * cos θ (t + cos θ)`; t follows the mean cosine to the own
    class, from 0. As in the authors' code t includes the batch itself and is held constant for the gradient.
    It moves once a step of the optimizer, does not move in evaluation and is saved. Beyond θ = π - margin
    the target and the bound for hard ones have ArcFace's falling tail (the authors' bound rises again there).

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: in radians, from 0 to below π.
        scale: of the logits, or `auto`.
        momentum: share of the newest batch in t, in (0, 1].
        options: variants, see `MarginOptions`.
        class_counts: number of training images of each class, for `rare_margin`.
    """

    holds_fixed = True

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: float = 0.5,
        scale: Scale = 64.0,
        momentum: float = 0.01,
        options: MarginOptions | None = None,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        check_finite("CurricularFace", margin=margin, momentum=momentum)
        super().__init__(num_classes, dim, margin, scale, options, class_counts)
        check_angle("CurricularFace", margin)
        if not 0 < momentum <= 1:
            raise ValueError(f"CurricularFace momentum {momentum}: from above 0 to 1")
        self.momentum = momentum
        self.running = Running(0.0)

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """`cos(θ + margin)`, [B]."""
        return plus_angle(target_cosine, self.margins(target_cosine, labels))

    def change(self, labels: Tensor) -> Change:
        """`cos (t + cos)` for those above the target; t and the target are found once a batch."""
        hard_cosines: list[Tensor] = []

        def reweight_hard(cos: Tensor, target_cosine: Tensor) -> tuple[Tensor, Tensor]:
            if not hard_cosines:
                hard_cosines.extend(
                    (
                        self._progress(target_cosine),
                        self.target(target_cosine, labels, target_cosine).detach(),
                    )
                )
            t, bound = hard_cosines
            hard = cos > bound
            return torch.where(hard, cos * (t + cos), cos), torch.where(hard, t + 2 * cos, 1.0)

        return reweight_hard

    def _progress(self, target_cosine: Tensor) -> Tensor:
        if self.training:
            self.running.follow(self.proxies, target_cosine.mean()[None], self.momentum)
        return self.running.now.to(target_cosine.dtype).clone()
