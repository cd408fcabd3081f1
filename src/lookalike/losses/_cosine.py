"""Cosines and products with explicit gradients: few temporaries, and no autocast in the backward pass."""

from typing import Any

import torch
from torch import Tensor

from lookalike.losses._gradient import refuse_second_order


def unit(vectors: Tensor) -> Tensor:
    """The rows of `vectors` [N, D] at length one, in float32 (float64 for float64).

    A zero row stays zero and gets no gradient.
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    return vectors * inverse_norm(vectors)


def inverse_norm(vectors: Tensor) -> Tensor:
    """One over the length of each row, [N, 1]; zero for a zero row, which so is similar to nothing."""
    norm = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return torch.where(norm > 1e-12, norm.clamp_min(1e-12).reciprocal(), torch.zeros_like(norm))


class Cosine(torch.autograd.Function):
    """Cosine [A, B] of the rows of `a` [A, D] and `b` [B, D], in their own precision.

    The rows of `b` are not copied: the similarities are divided by their lengths instead, which is less work
    where `b` has more rows than `D` has columns to save, as with many proxies. A zero row gets no gradient.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        """Similarities; the units of `a`, both lengths and the result are kept for the gradient."""
        scale_a, scale_b = inverse_norm(a), inverse_norm(b)
        unit = a * scale_a
        sim = (unit @ b.T).mul_(scale_b.T)
        ctx.save_for_backward(unit, b, scale_a, scale_b, sim)
        return sim

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, Tensor | None]:
        """For both sides the part of the gradient at right angles to the vector, over its length."""
        refuse_second_order()
        (gradient,) = grad_outputs
        unit, b, scale_a, scale_b, sim = ctx.saved_tensors
        along, scaled = gradient * sim, gradient * scale_b.T
        grad_a = grad_b = None
        with torch.autocast(gradient.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                grad_a = (scaled @ b).addcmul_(unit, along.sum(dim=1, keepdim=True), value=-1).mul_(scale_a)
            if ctx.needs_input_grad[1]:
                length = along.sum(dim=0)[:, None] * scale_b.square()
                grad_b = (scaled.T @ unit).addcmul_(b, length, value=-1)
        return grad_a, grad_b


class SelfCosine(torch.autograd.Function):
    """Cosine [N, N] of the rows of `a` [N, D] among themselves; its gradient takes one product, not two."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        """Similarities; the units and the lengths are kept for the gradient."""
        scale = inverse_norm(a)
        unit = a * scale
        ctx.save_for_backward(unit, scale)
        return unit @ unit.T

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        """The part of the gradient at right angles to each vector, over its length."""
        refuse_second_order()
        (gradient,) = grad_outputs
        unit, scale = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            turn = (gradient + gradient.T) @ unit
            return turn.addcmul_(unit, (turn * unit).sum(dim=1, keepdim=True), value=-1).mul_(scale)


class Product(torch.autograd.Function):
    """Products [A, B] of the rows of `a` [A, D] and `b` [B, D], both ways in their own precision."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        """Products; both sides are kept for the gradient."""
        ctx.save_for_backward(a, b)
        return a @ b.T

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, Tensor | None]:
        """Each side's gradient is a mix of the rows of the other."""
        refuse_second_order()
        (gradient,) = grad_outputs
        a, b = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            grad_a = gradient @ b if ctx.needs_input_grad[0] else None
            grad_b = gradient.T @ a if ctx.needs_input_grad[1] else None
        return grad_a, grad_b
