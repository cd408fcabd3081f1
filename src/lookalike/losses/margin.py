"""Margin loss with distance-weighted sampling."""

from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, check_batch, check_choice
from lookalike.losses._gradient import LEAST
from lookalike.miners import distance_weighted

Learn = Literal["none", "one", "per_class"]


class Margin(PairLoss):
    """Positives within a radius, negatives beyond it, by a margin (Wu et al., 2017, arXiv:1706.07567).

    Sum of `max(0, d - beta + margin)` over positive pairs and of `max(0, beta - d + margin)` over negative
    pairs, divided by the number of pairs above zero, with Euclidean distance d on the unit sphere. A learned
    radius adds `nu * beta`, one for each class the sum of `nu * beta` over the positive pairs, divided
    likewise. The negatives are a weighted draw, one for each positive (`miners.distance_weighted`), unless
    there is another miner. After each call `active_share` holds the share of the pairs that are above zero;
    NaN where there was no pair. Equal to pytorch-metric-learning's MarginLoss, except that it goes over
    triplets, and so counts a pair once for each triplet that holds it.

    Args:
        dim: embedding dimension, for the sampling.
        num_classes: number of classes; only for `learn=per_class`.
        margin: half the gap between positives and negatives, in units of the distance.
        beta: the radius, in units of the distance, from 0 to 2; where it starts if it is learned.
        learn: none, one (a common radius is learned) or per_class (one for the class of each anchor; labels
            are then 0 to num_classes - 1, or -1).
        nu: weight of a learned radius: larger keeps it smaller.
        miner: chooses the pairs; None for the draw, `miners.keep_all` for all pairs.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int | None = None,
        margin: float = 0.2,
        beta: float = 1.2,
        learn: Learn = "none",
        nu: float = 0.0,
        miner: Miner | None = None,
    ) -> None:
        check_finite("Margin", margin=margin, beta=beta, nu=nu)
        super().__init__(partial(distance_weighted, dim=dim) if miner is None else miner)
        check_choice("Margin", "learn", learn, get_args(Learn))
        if margin < 0 or not 0 < beta < 2 or nu < 0:
            values = f"margin {margin}, beta {beta}, nu {nu}"
            raise ValueError(f"Margin {values}: margin and nu must be at least 0, beta between 0 and 2")
        if learn == "per_class" and num_classes is None:
            raise ValueError("Margin num_classes None: learn=per_class needs the number of classes")
        self.margin, self.learn, self.nu = margin, learn, nu
        values = torch.full((num_classes if learn == "per_class" and num_classes else 1,), float(beta))
        self.beta: Tensor
        if learn == "none":
            self.register_buffer("beta", values, persistent=False)
        else:
            self.beta = nn.Parameter(values)
        self.active_share = torch.tensor(float("nan"))
        self._classes = torch.empty(0, dtype=torch.int64)

    def forward(
        self, embeddings: Tensor, labels: Tensor, extra: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """See `PairLoss`.

        Raises:
            ValueError: also if a label has no radius of its own where each class has one.
        """
        labels = check_batch("Margin", embeddings, labels)
        if self.learn == "per_class" and len(labels):
            low, high = (int(end) for end in labels.aminmax())
            if low < -1 or high >= len(self.beta):
                raise ValueError(
                    f"Margin: labels must be from -1 to {len(self.beta) - 1}, got {low} to {high}"
                )
        self._classes = labels
        return super().forward(embeddings, labels, extra) + 0 * self.beta.sum()

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        distance = (2 - 2 * sim).clamp_min(LEAST).sqrt()
        beta = self.beta.to(sim.dtype)
        if self.learn == "per_class":
            beta = beta[self._classes.clamp_min(0)]
        beta = beta[:, None]
        pull = (distance - beta + self.margin).relu()
        push = (beta - distance + self.margin).relu()
        positive_active, negative_active = positive & (pull > 0), negative & (push > 0)
        count = positive_active.sum() + negative_active.sum()
        self.active_share = count / (positive | negative).sum()
        total = pull.masked_fill(~positive_active, 0).sum() + push.masked_fill(~negative_active, 0).sum()
        return (total + self._radii(beta, positive, count)) / count.clamp_min(1)

    def _radii(self, beta: Tensor, positive: Tensor, count: Tensor) -> Tensor | float:
        """What learned radii cost, before the division."""
        if self.learn == "none":
            return 0.0
        if self.learn == "one":
            return self.nu * beta.sum() * count.clamp_min(1) * positive.any()
        return self.nu * (beta * positive.sum(dim=1, keepdim=True)).sum() * (count > 0)
