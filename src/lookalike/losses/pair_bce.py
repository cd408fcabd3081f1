"""Binary cross-entropy on a classifier of pairs."""

import math
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.losses._base import Miner, PairLoss, check_batch, check_choice, mean_over, relations
from lookalike.losses._cosine import Product, unit
from lookalike.losses._gradient import refuse_second_order

Features = Literal["difference", "product", "both"]
SCALE = 10.0


class PairBCE(PairLoss):
    """A learned classifier says of each pair whether both show the same (Taigman et al., 2014, DeepFace,
    and Koch et al., 2015, learn such a weighted difference).

    With unit vectors a and b the logit is `Σ w_i |a_i - b_i| + Σ v_i a_i b_i + c`, or one of the two sums, so
    the order of the pair does not matter; the loss is binary cross-entropy over all pairs of the batch. The
    classifier starts as a plain threshold half way between equal and unrelated vectors and learns which
    numbers of the embedding to trust; `logits` gives its verdict on any vectors. Memory O(B·R): no list of
    pairs' features is made.

    Args:
        dim: embedding dimension.
        features: difference, product or both.
        balanced: whether positives and negatives count one half each, however many there are; otherwise the
            mean is over all pairs alike.
        miner: narrows the pairs first, by their cosine.
    """

    def __init__(
        self, dim: int, features: Features = "both", balanced: bool = True, miner: Miner | None = None
    ) -> None:
        super().__init__(miner)
        check_choice("PairBCE", "features", features, get_args(Features))
        if dim < 1:
            raise ValueError(f"PairBCE dim {dim}: dim must be at least 1")
        self.dim, self.features, self.balanced = dim, features, balanced
        share = 0.5 if features == "both" else 1.0
        if features != "product":  # |a - b| of unrelated vectors sums to about √dim
            self.difference = nn.Parameter(torch.full((dim,), -share * SCALE / math.sqrt(dim)))
        if features != "difference":
            self.product = nn.Parameter(torch.full((dim,), share * SCALE))
        middle = {"difference": SCALE / 2, "product": -SCALE / 2, "both": 0.0}
        self.bias = nn.Parameter(torch.tensor(middle[features]))

    def forward(
        self, embeddings: Tensor, labels: Tensor, extra: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Loss of a batch, as `PairLoss.forward`.

        Raises:
            ValueError: if shapes or label type are wrong.
        """
        labels = check_batch("PairBCE", embeddings, labels)
        if embeddings.shape[1] != self.dim:
            raise ValueError(
                f"PairBCE: built for embeddings of dimension {self.dim}, got {embeddings.shape[1]}"
            )
        if not len(embeddings):
            return embeddings.float().sum() + 0 * sum(parameter.sum() for parameter in self.parameters())
        with torch.autocast(embeddings.device.type, enabled=False):
            with torch.no_grad():
                sim, positive, negative = relations(embeddings, labels, extra)
                if self.miner is not None:
                    positive, negative = self.miner(sim, positive, negative)
            others = embeddings if extra is None else torch.cat([unit(embeddings), unit(extra[0])])
            return self.pairs(self.logits(embeddings, others), positive, negative)

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the logits [B, R], which stand in for similarities."""
        pull, push = F.softplus(-sim), F.softplus(sim)
        if self.balanced:
            return (mean_over(pull, positive) + mean_over(push, negative)) / 2
        return mean_over(torch.where(positive, pull, push), positive | negative)

    def logits(self, a: Tensor, b: Tensor) -> Tensor:
        """How sure it is that rows of `a` [A, D] and `b` [B, D] show the same, [A, B]; above 0 is yes."""
        a, b = unit(a), unit(b)
        total = self.bias.expand(len(a), len(b))
        if self.features != "product":
            total = total + _Difference.apply(a, b, self.difference)
        if self.features != "difference":
            total = total + Product.apply(a * self.product, b)
        return total


class _Difference(torch.autograd.Function):
    """`Σ_i w_i |a_i - b_i|` of all rows of `a` and `b`, [A, B]; one number of the embedding after another."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        """Weighted differences; only the inputs are kept."""
        ctx.save_for_backward(a, b, weight)
        total = a.new_zeros(len(a), len(b))
        differences = torch.empty_like(total)
        for x, y, w in zip(a.T.contiguous(), b.T.contiguous(), weight, strict=True):
            torch.sub(x[:, None], y, out=differences)
            total.addcmul_(differences.abs_(), w)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, ...]:
        """The gradient with the sign of each difference, summed by row and by column."""
        refuse_second_order()
        (gradient,) = grad_outputs
        a, b, weight = ctx.saved_tensors
        rows, columns = torch.empty_like(a.T), torch.empty_like(b.T)
        signed = torch.empty_like(gradient)
        for x, y, by_row, by_column in zip(a.T.contiguous(), b.T.contiguous(), rows, columns, strict=True):
            torch.sub(x[:, None], y, out=signed)
            signed.sign_().mul_(gradient)
            by_row.copy_(signed.sum(dim=1))
            by_column.copy_(signed.sum(dim=0))
        slope = (a * rows.T).sum(dim=0) - (b * columns.T).sum(dim=0)
        return rows.T * weight, -columns.T * weight, slope
