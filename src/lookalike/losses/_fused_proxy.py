"""Fused proxy losses with explicit gradients: few large temporaries for any number of classes.

A *rule* takes the cosines [C, B] of all classes to a batch, which it may overwrite, and gives the loss and
its slope: the derivative with respect to each cosine. Classes come first in memory, so that a block of them
is one stretch of it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lookalike.losses._base import ProxyLoss
from lookalike.losses._cosine import inverse_norm
from lookalike.losses._gradient import NOTHING, refuse_second_order

Rule = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""`rule(cos [C, B], labels [B]) -> (loss, slope [C, B])`."""

BLOCK = {"cpu": 2**19}
"""Numbers in a block of work, by device: what a cache holds; where there is none to stay in, more."""


def proxy_loss(
    owner: ProxyLoss, embeddings: Tensor, labels: Tensor, compute: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    """`compute(embeddings, proxies, labels)`, checked, in float32 (float64 for float64), with autocast off.

    Raises:
        ValueError: if shapes or labels do not fit the owner.
    """
    labels = owner._check(embeddings, labels)
    if not len(embeddings):
        return embeddings.float().sum() + 0 * owner.proxies.sum()
    dtype = torch.promote_types(torch.promote_types(embeddings.dtype, owner.proxies.dtype), torch.float32)
    with torch.autocast(embeddings.device.type, enabled=False):
        return compute(embeddings.to(dtype), owner.proxies.to(dtype), labels)


class SlopeLoss(torch.autograd.Function):
    """The loss by a rule of embeddings [B, D] and proxies [C, D]."""

    @staticmethod
    def forward(ctx: Any, rule: Rule, embeddings: Tensor, proxies: Tensor, labels: Tensor) -> Tensor:
        """The loss; of the size [C, B] only the slope is kept."""
        length, inverse = inverse_norm(embeddings), inverse_norm(proxies)
        unit = embeddings * length
        value, slope = rule((proxies @ unit.T).mul_(inverse), labels)
        ctx.save_for_backward(unit, length, proxies, inverse, slope)
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """Each block of classes is read once; the slope stays as it is, so this can run again."""
        refuse_second_order()
        unit, length, proxies, inverse, slope = ctx.saved_tensors
        grads = Gradients(unit, proxies, inverse, ctx.needs_input_grad[1:3])
        with torch.autocast(unit.device.type, enabled=False):
            for part in blocks(len(proxies), unit):
                grads.add(part, slope[part] * (inverse[part] * grad_outputs[0]))
            return None, grads.embedding_gradient(length), grads.proxies, None


class Gradients:
    """Gradients of embeddings and proxies, added up over blocks of proxies.

    Args:
        unit: embeddings at length one, [B, D].
        proxies: raw, [C, D].
        inverse: one over the length of each proxy, [C, 1].
        needed: whether the embeddings and whether the proxies need theirs.
    """

    def __init__(self, unit: Tensor, proxies: Tensor, inverse: Tensor, needed: tuple[bool, bool]) -> None:
        self.unit, self.vectors, self.inverse = unit, proxies, inverse
        self.embeddings = torch.zeros_like(unit) if needed[0] else None
        self.proxies = torch.empty_like(proxies) if needed[1] else None

    def add(self, part: slice, slope: Tensor) -> None:
        """Count in the proxies `part`, with the loss's derivative [n, B] by their products with `unit`."""
        vectors = self.vectors[part]
        if self.embeddings is not None:
            self.embeddings.addmm_(slope.T, vectors)
        if self.proxies is not None:
            split_blocks(
                torch.mm(slope, self.unit, out=self.proxies[part]), vectors, self.inverse[part].square()
            )

    def embedding_gradient(self, length: Tensor) -> Tensor | None:
        """The gradient of the embeddings, whose `length` is given as one over it, [B, 1]."""
        return None if self.embeddings is None else split_blocks(self.embeddings, self.unit).mul_(length)


def split_blocks(gradient: Tensor, vectors: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Take from each row, in place, what lies along its vector; `scale` is one over the vector's length²."""
    along = (gradient * vectors).sum(dim=1, keepdim=True).mul_(scale)
    return gradient.addcmul_(vectors, along, value=-1)


def blocks(count: int, unit: Tensor, width: int = 1) -> Iterator[slice]:
    """Slices of `count` proxies, in multiples of `width`, each a block of work against `unit` [B, D]."""
    step = width * max(1, BLOCK.get(unit.device.type, 2**26) // (width * max(unit.shape)))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def cross_entropy(
    cos: Tensor,
    labels: Tensor,
    scale: float,
    margin: float = 0.0,
    smoothing: float = 0.0,
    own_in_sum: bool = True,
) -> tuple[Tensor, Tensor]:
    """The rule of a softmax over `scale * cos`, mean over images.

    Args:
        cos: [C, B], overwritten.
        labels: class ids, [B].
        scale: of the logits.
        margin: taken from the cosine of the true class.
        smoothing: share of the target that the C - 1 other classes get in equal parts.
        own_in_sum: whether the true class is one of those that the softmax sums over.
    """
    target_index = (labels, torch.arange(len(labels), device=labels.device))
    part = smoothing / max(len(cos) - 1, 1)
    target_logit = cos[target_index] - margin
    cos[target_index] = target_logit
    target = part * cos.sum(dim=0) + (1 - smoothing - part) * target_logit if part else target_logit
    if not own_in_sum:
        cos[target_index] = NOTHING
    logits = cos.mul_(scale)
    share = logits.softmax(dim=0)
    loss = logits.amax(dim=0) - scale * target - share.amax(dim=0).log()
    slope = share.sub_(part) if part else share
    slope[target_index] -= 1 - smoothing - part
    return loss.mean(), slope.mul_(scale / len(labels))
