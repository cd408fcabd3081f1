"""UniFace loss."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.errors import check_finite
from lookalike.losses._base import cosine
from lookalike.losses._gradient import NOTHING
from lookalike.losses._margin_head import MarginHead, MarginOptions, Scale
from lookalike.losses.cosface import check_cosine


class UniFace(MarginHead):
    """One learned threshold between all own and all other classes (UniFace; Zhou et al., 2023, ICCV).

    For each image `log(1 + exp(b - scale (cos θ - margin)))` for its own class plus `balance * Σ log(1 +
    exp(scale cos θ - b))` over the others, mean over the batch, with b learned. It asks every own cosine to
    be above b / scale and all others to be below, whatever the image, as verification does. b starts at
    `ln(10 num_classes)` as in the authors' code, which besides clamps the logits to ±scale before the
    exponential and so has no gradient beyond; here there is no clamp.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: a cosine, at least 0.
        scale: of the cosines, or `auto`.
        balance: weight of the other classes.
        options: variations; `smoothing` and `focal` belong to a softmax and are refused.
        class_counts: number of training images of each class, for `rare_margin`.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: float = 0.4,
        scale: Scale = 64.0,
        balance: float = 1.0,
        options: MarginOptions | None = None,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        check_finite("UniFace", margin=margin, balance=balance)
        super().__init__(num_classes, dim, margin, scale, options, class_counts)
        self.options.refuse("UniFace", "smoothing", "focal")
        check_cosine("UniFace", margin)
        if balance <= 0:
            raise ValueError(f"UniFace balance {balance}: balance must be above 0")
        self.balance = balance
        self.bias = nn.Parameter(torch.tensor(math.log(10 * num_classes)))

    def loss_of_rows(self, embeddings: Tensor, proxies: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        """Loss over some classes only; `rows` are those of the own proxies."""
        cos = cosine(embeddings, proxies)
        target_cosine = cos.gather(1, rows[:, None])[:, 0]
        others = cos.scatter(1, rows[:, None], NOTHING)
        if self.options.skip_above is not None:
            others = others.masked_fill(others > self.options.skip_above, NOTHING)
        push = F.softplus(self.scale * others - self.bias).sum(dim=1)
        pull = F.softplus(self.bias - self.scale * self.target(target_cosine, labels, target_cosine))
        return (pull + self.balance * push).mean()

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """`cos θ - margin`, [B]."""
        return target_cosine - self.margins(target_cosine, labels)
