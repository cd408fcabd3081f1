"""AdaCos loss."""

import math

import torch
from torch import Tensor

from lookalike.losses._logsumexp import TargetLogSumExp
from lookalike.losses._margin_head import MarginHead, MarginOptions, angle_of
from lookalike.losses._running import Running


class AdaCos(MarginHead):
    """Cross-entropy over cosines with an adaptive scale (Zhang et al., 2019, arXiv:1905.00292).

    Fixed: `s = √2 ln(C - 1)`. Dynamic: it starts there, and each batch sets `s = ln(B) / cos(min(π/4, θ))`
    with B the mean over the batch of `Σ exp(s cos)` over the other classes, under the scale before, and θ the
    median angle to the own class (of two middle ones the smaller). The scale is held constant for the
    gradient, kept at 1 or more (the formula falls below with few classes that lie apart), moves once a step
    of the optimizer, does not move in evaluation and is saved. There is no margin.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        dynamic: follow the batches; false for the fixed scale.
        options: variants; those of the margin do not apply here and are rejected.
    """

    holds_fixed = True

    def __init__(
        self, num_classes: int, dim: int, dynamic: bool = True, options: MarginOptions | None = None
    ) -> None:
        super().__init__(num_classes, dim, 0.0, "auto", options)
        self.options.refuse("AdaCos", "start", "grow_from", "grow_until", "rare_margin")
        self.dynamic = dynamic
        self.running = Running(self.scale)

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """The cosine as it is."""
        return target_cosine

    def logit_scale(self, length: Tensor) -> Tensor:
        """The scale of this batch."""
        return self.running.now[0].clone()

    def cosines(
        self, embeddings: Tensor, proxies: Tensor, rows: Tensor, labels: Tensor, length: Tensor
    ) -> TargetLogSumExp:
        """First the scale of this batch, from the cosines under the scale before."""
        if self.dynamic and self.training:
            with torch.no_grad():
                before = self.running.previous(self.proxies)
                cosines = self.compare(embeddings, proxies, rows, before, self.options.skip_above)
                self.running.follow(self.proxies, self._scale(cosines), 1.0)
        return super().cosines(embeddings, proxies, rows, labels, length)

    def _scale(self, cosines: TargetLogSumExp) -> Tensor:
        others = cosines.rest.logsumexp(dim=0) - math.log(len(cosines.rest))
        middle = angle_of(cosines.target).median().clamp_max(math.pi / 4)
        return (others / middle.cos()).clamp_min(1)[None]
