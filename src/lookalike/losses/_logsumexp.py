"""The cosine to the true class, and the log-sum-exp of those to all others, keeping one matrix.

Written out for many classes: beside the gradient of the proxies the only large thing in memory is one matrix
of cosines [C, B], made and read by blocks of classes that fit the cache. The proxies are never copied.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lookalike.losses._cosine import inverse_norm
from lookalike.losses._gradient import NOTHING, refuse_second_order

Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""`change(cos [n, B], own [B]) -> (changed cos [n, B], its derivative [n, B])`, for the other classes."""

NONE = -1e15
"""Sums and cosines below this belong to no class."""

LEAST_SCALE = 1e-12
"""What a scale of 0 is taken for, so that `NOTHING` times the scale is still out of reach."""

BLOCK = {"cpu": 2**23}
"""Numbers in a block of proxies, by device. Less would stay in the cache, but threads would wait more."""


class TargetLogSumExp(NamedTuple):
    """What a row of cosines comes down to, each [B].

    Attributes:
        target: cosine to the own class; 0, without gradient, where it is not among these classes.
        rest: `log Σ exp(scale * cos)` over the other classes; `NOTHING`, without gradient, if there are none.
        mean: mean (changed) cosine over the other classes, 0 if there are none; None unless asked for.
    """

    target: Tensor
    rest: Tensor
    mean: Tensor | None


class _Options(NamedTuple):
    skip_above: float | None
    centers: int
    with_mean: bool
    change: Change | None


def target_and_logsumexp(
    embeddings: Tensor,
    proxies: Tensor,
    rows: Tensor,
    scale: Tensor | float,
    skip_above: float | None = None,
    centers: int = 1,
    with_mean: bool = False,
    change: Change | None = None,
) -> TargetLogSumExp:
    """The cosine to the own class, and what those to all other classes add up to.

    In float32 (float64 for float64) whatever autocast says. A zero vector is similar to nothing and gets no
    gradient.

    Args:
        embeddings: raw vectors, [B, D].
        proxies: raw vectors, [C * centers, D]; a class is as near as its nearest centre.
        rows: the own class of each embedding, 0 to C - 1, [B]; -1 where it is not among these.
        scale: of the cosines, a number or [B]; gets its gradient.
        skip_above: other classes with a larger cosine are left out.
        centers: proxies for each class, side by side; at most 255.
        with_mean: also compute `mean`.
        change: applied to the cosines of the other classes. What it reads gets no gradient, and
            must not change before the backward pass.
    """
    dtype = torch.promote_types(torch.promote_types(embeddings.dtype, proxies.dtype), torch.float32)
    embeddings, proxies = embeddings.to(dtype), proxies.to(dtype)
    scale = torch.as_tensor(scale, device=embeddings.device).to(dtype).clamp_min(LEAST_SCALE)
    options = _Options(skip_above, centers, with_mean, change)
    with torch.autocast(embeddings.device.type, enabled=False):
        return TargetLogSumExp(*_TargetLogSumExp.apply(embeddings, proxies, scale, rows, options))


class _TargetLogSumExp(torch.autograd.Function):
    """See `target_and_logsumexp`. The backward pass leaves what it reads as it was, so it can run again."""

    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, proxies: Tensor, scale: Tensor, rows: Tensor, options: _Options
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """All cosines; then the own ones are taken out of them and the rest is summed."""
        length = inverse_norm(embeddings)
        unit = embeddings * length
        cos, best, inverse = _cosines(unit, proxies, options.centers)
        target, target_row = _take_target(cos, best, rows, options.centers)
        rest, mean, count = _sums(cos, target, scale, proxies, options)
        some = rest > NONE
        shift = rest.where(some, 0)
        ctx.save_for_backward(
            unit, length, proxies, inverse, cos, best, target, target_row, rows, scale, shift, count
        )
        ctx.how = options
        return target, rest.where(some, NOTHING), mean

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """Gradients of embeddings, proxies and scale; each block of classes is read once."""
        refuse_second_order()
        own_gradient, rest_gradient, mean_gradient = grad_outputs
        unit, length, proxies, inverse, cos, best, target, target_row, rows, scale, shift, count = (
            ctx.saved_tensors
        )
        grad_unit, grad_scale = torch.zeros_like(unit), torch.zeros_like(target)
        grad_proxies = torch.empty_like(proxies) if ctx.needs_input_grad[1] else None
        own_gradient = (own_gradient * (rows >= 0))[:, None]
        with torch.autocast(unit.device.type, enabled=False):
            for classes, vectors in _blocks(proxies, ctx.how.centers):
                block_cosine, part, inv = cos[classes], proxies[vectors], inverse[vectors]
                changed, slope = _apply_change(block_cosine, target, ctx.how.change)
                pull = torch.addcmul(-shift, changed, scale).exp_().mul_(rest_gradient * scale)
                if ctx.needs_input_grad[2]:
                    grad_scale += (pull * changed).sum(dim=0) / scale
                if count is not None:
                    pull += (block_cosine > NONE) * (mean_gradient / count)
                if slope is not None:
                    pull *= slope
                along = _expand_to_centers(pull * block_cosine, best, classes, ctx.how.centers).sum(
                    dim=1, keepdim=True
                )
                pull = _expand_to_centers(pull, best, classes, ctx.how.centers).mul_(inv)
                grad_unit.addmm_(pull.T, part)
                if grad_proxies is not None:
                    torch.mm(pull, unit, out=grad_proxies[vectors])
                    grad_proxies[vectors].addcmul_(part, along * inv * inv, value=-1)
            _add_target(grad_unit, grad_proxies, own_gradient, unit, proxies, inverse, target, target_row)
            grad_unit.addcmul_(unit, (grad_unit * unit).sum(dim=1, keepdim=True), value=-1)
        grad_scale = grad_scale.sum_to_size(scale.shape) if ctx.needs_input_grad[2] else None
        return grad_unit.mul_(length), grad_proxies, grad_scale, None, None


def _blocks(proxies: Tensor, centers: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the classes and of their proxies, of a size that fits the cache."""
    classes = len(proxies) // centers
    step = max(1, BLOCK.get(proxies.device.type, 2**25) // (centers * proxies.shape[1]))
    for start in range(0, classes, step):
        stop = min(start + step, classes)
        yield slice(start, stop), slice(start * centers, stop * centers)


def _cosines(unit: Tensor, proxies: Tensor, centers: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """Cosines [C, B], which centre is nearest [C, B] if there are several, 1 / length [C * centers, 1]."""
    cos = unit.new_empty(len(proxies) // centers, len(unit))
    best = torch.empty_like(cos, dtype=torch.uint8) if centers > 1 else None
    inverse = unit.new_empty(len(proxies), 1)
    for classes, vectors in _blocks(proxies, centers):
        part = proxies[vectors]
        inverse[vectors] = inverse_norm(part)
        if best is None:
            torch.mm(part, unit.T, out=cos[classes]).mul_(inverse[vectors])
        else:
            block_cosine = (part @ unit.T).mul_(inverse[vectors]).view(-1, centers, len(unit)).max(dim=1)
            cos[classes], best[classes] = block_cosine.values, block_cosine.indices
    return cos, best, inverse


def _take_target(cos: Tensor, best: Tensor | None, rows: Tensor, centers: int) -> tuple[Tensor, Tensor]:
    """The own cosines [B], replaced in `cos` by `NOTHING`, and the rows of the own proxies [B]."""
    is_known, row_index, column = rows >= 0, rows.clamp_min(0), torch.arange(len(rows), device=rows.device)
    target = cos[row_index, column]
    cos[row_index, column] = target.masked_fill(is_known, NOTHING)
    nearest = row_index if best is None else row_index * centers + best[row_index, column]
    return target.masked_fill(~is_known, 0), nearest


def _sums(
    cos: Tensor, target: Tensor, scale: Tensor, proxies: Tensor, options: _Options
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Log-sum-exp [B], mean cosine [B] and count [B] of the other classes; dirty ones are struck out."""
    parts, total, count = [], torch.zeros_like(target), torch.zeros_like(target)
    for classes, _ in _blocks(proxies, options.centers):
        block_cosine = cos[classes]
        if options.skip_above is not None:
            block_cosine.masked_fill_(block_cosine > options.skip_above, NOTHING)
        changed, _ = _apply_change(block_cosine, target, options.change)
        parts.append(_log_sum_exp(changed, scale))
        if options.with_mean:
            is_kept = block_cosine > NONE
            count += is_kept.sum(dim=0)
            total += changed.masked_fill(~is_kept, 0).sum(dim=0)
    rest = torch.stack(parts).logsumexp(dim=0)
    if not options.with_mean:
        return rest, None, None
    count.clamp_(min=1)
    return rest, total / count, count


def _log_sum_exp(changed: Tensor, scale: Tensor) -> Tensor:
    """`log Σ exp(scale * changed)` over the n of [n, B], in fewer passes than torch; -inf if all are out."""
    top = (changed.amax(dim=0) * scale).clamp_min(NONE)
    return torch.addcmul(-top, changed, scale).exp_().sum(dim=0).log_().add_(top)


def _add_target(
    grad_unit: Tensor,
    grad_proxies: Tensor | None,
    own_gradient: Tensor,
    unit: Tensor,
    proxies: Tensor,
    inverse: Tensor,
    target: Tensor,
    own_row: Tensor,
) -> None:
    """Add what comes through the own cosines, whose gradient is [B, 1]."""
    inv = inverse[own_row]
    direction = proxies[own_row] * inv
    grad_unit.addcmul_(direction, own_gradient)
    if grad_proxies is not None:
        turn = (unit - target[:, None] * direction) * (own_gradient * inv)
        grad_proxies.index_add_(0, own_row, turn)


def _apply_change(
    block_cosine: Tensor, target: Tensor, change: Change | None
) -> tuple[Tensor, Tensor | None]:
    """Changed cosines [n, B] and the derivative of the change; classes that are left out stay so."""
    if change is None:
        return block_cosine, None
    changed, slope = change(block_cosine, target)
    return changed.masked_fill(block_cosine < NONE, NOTHING), slope


def _expand_to_centers(values: Tensor, best: Tensor | None, classes: slice, centers: int) -> Tensor:
    """Values [n, B] put to the nearest centre of each class, zero at the others, [n * centers, B]."""
    if best is None:
        return values
    spread = values.new_zeros(len(values), centers, values.shape[1])
    return spread.scatter_(1, best[classes].long()[:, None], values[:, None]).flatten(0, 1)
