"""Margin losses whose classes are divided among processes."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lookalike.losses._cosine import inverse_norm
from lookalike.losses._gradient import refuse_second_order
from lookalike.losses._logsumexp import Change, TargetLogSumExp, target_and_logsumexp
from lookalike.losses._margin_head import MarginHead
from lookalike.losses.sampled import ClassSample, SampledClasses, check_head

PROXIES = "head.proxies"


class ShardedClasses(nn.Module):
    """A margin loss of which each process holds some classes (An et al., 2022, arXiv:2203.15565).

    Every process compares the whole batch with its own classes; what a row of cosines comes down to, a few
    numbers an image, is put together. Value and gradient are those of one process with all classes. It wants
    the same batch in every process, as `AcrossProcesses` gives it. The proxies differ by process, so their
    gradients must not be averaged, and `clip_gradients` must be told of them.

    The state of a process holds its own classes; `join_shards` makes one of all, which any number of
    processes can load, and so can `SampledClasses`.

    Args:
        head: the loss over all classes, equal in every process; of its proxies only a part is kept.
        rate: share of its classes that each process draws for a step, see `SampledClasses`.
    """

    def __init__(self, head: MarginHead, rate: float = 1.0) -> None:
        super().__init__()
        check_head("ShardedClasses", head)
        _check_divisible(head)
        process, processes = dist.get_rank(), dist.get_world_size()
        self.head, self.sample, self.uses_length = head, ClassSample(rate), head.uses_length
        self.first, self.stop = (head.num_classes * end // processes for end in (process, process + 1))
        head.proxies = nn.Parameter(self.local_classes(head.proxies.detach()).clone())
        head.compare = compare_over_processes
        self.register_load_state_dict_pre_hook(_keep_local_classes)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] and class ids [B], the same in every process.

        Raises:
            ValueError: if shapes or labels are wrong.
        """
        if not len(embeddings):
            return self.head(embeddings, labels)
        labels = self.head._check(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            is_local = (labels >= self.first) & (labels < self.stop)
            local_labels = (labels - self.first).where(is_local, -1)
            proxies, rows = self.sample(self.head.proxies, local_labels, self.head.centers)
            return self.head.loss_of_rows(embeddings, proxies, rows, labels)

    def local_classes(self, proxies: Tensor) -> Tensor:
        """Of the proxies of all classes those of this process."""
        return proxies[self.first * self.head.centers : self.stop * self.head.centers]


def divide_classes(loss: nn.Module, rate: float = 1.0, shard: bool = False) -> int:
    """Let every margin loss that `loss` holds see a share of its classes at a time; how many there are.

    Args:
        loss: a loss that holds others; changed in place.
        rate: share of the classes that take part in a step.
        shard: also divide the classes among the processes.
    """
    heads = [
        (holder, name, part)
        for holder in loss.modules()
        for name, part in holder.named_children()
        if isinstance(part, MarginHead) and not isinstance(holder, SampledClasses | ShardedClasses)
    ]
    for holder, name, head in heads:
        setattr(holder, name, ShardedClasses(head, rate) if shard else SampledClasses(head, rate))
    return len(heads)


def parameters_by_process(loss: nn.Module) -> list[Tensor]:
    """The parameters in `loss` that differ by process, as parts of something whole."""
    return [part.head.proxies for part in loss.modules() if isinstance(part, ShardedClasses)]


def join_shards(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One state of all classes from the `state_dict` of each process, in the order of the processes."""
    whole = dict(states[0])
    for name in whole:
        if name.endswith(PROXIES):
            whole[name] = torch.cat([state[name] for state in states])
    return whole


def compare_over_processes(
    embeddings: Tensor,
    proxies: Tensor,
    rows: Tensor,
    scale: Tensor | float,
    skip_above: float | None = None,
    centers: int = 1,
    with_mean: bool = False,
    change: Change | None = None,
) -> TargetLogSumExp:
    """`target_and_logsumexp` over the classes of all processes; `proxies` and `rows` are of this one's.

    `with_mean` and `skip_above` do not go together: how many classes were left out is not known elsewhere.
    """
    embeddings = _SumGradients.apply(embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)))
    if isinstance(scale, Tensor):
        scale = _SumGradients.apply(scale)
    if change is not None:
        change = _with_target(change, _target_cosine(embeddings.detach(), proxies.detach(), rows, centers))
    cosines = target_and_logsumexp(embeddings, proxies, rows, scale, skip_above, centers, with_mean, change)
    count = len(proxies) // centers - (rows >= 0).to(cosines.target.dtype)
    target, rest, mean = _Reduce.apply(
        cosines.target,
        cosines.rest,
        torch.zeros_like(cosines.target) if cosines.mean is None else cosines.mean,
        count,
    )
    return TargetLogSumExp(target, rest, mean if with_mean else None)


def _check_divisible(head: MarginHead) -> None:
    name = type(head).__name__
    if not dist.is_initialized():
        raise ValueError("ShardedClasses: needs more than one process; use SampledClasses instead")
    if head.num_classes < dist.get_world_size():
        raise ValueError(f"ShardedClasses: {head.num_classes} classes for {dist.get_world_size()} processes")
    if type(head).loss_of_rows is not MarginHead.loss_of_rows:
        raise ValueError(
            f"ShardedClasses: {name} is not a log-sum-exp over classes, so its classes cannot be distributed"
        )
    if head.options.smoothing and head.options.skip_above is not None:
        raise ValueError("ShardedClasses: smoothing and skip_above cannot be combined across processes")


def _keep_local_classes(module: ShardedClasses, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Of a state with all classes, load those of this process."""
    proxies = state.get(prefix + PROXIES)
    if proxies is not None and len(proxies) == module.head.num_classes * module.head.centers:
        state[prefix + PROXIES] = module.local_classes(proxies)


def _target_cosine(embeddings: Tensor, proxies: Tensor, rows: Tensor, centers: int) -> Tensor:
    """Cosine [B] to the nearest centre of the own class, wherever that is."""
    target_proxies = proxies.view(-1, centers, proxies.shape[1])[rows.clamp_min(0)].to(embeddings.dtype)
    target_proxies = target_proxies * inverse_norm(target_proxies.flatten(0, 1)).view(len(rows), centers, 1)
    cos = (target_proxies @ (embeddings * inverse_norm(embeddings))[:, :, None]).amax(dim=(1, 2)) * (
        rows >= 0
    )
    dist.all_reduce(cos)
    return cos


def _with_target(change: Change, target: Tensor) -> Change:
    """A change that is told the cosines to own classes that are in other processes, too."""
    return lambda cos, _: change(cos, target)


class _Reduce(torch.autograd.Function):
    """Sum, log-sum-exp and mean over processes.

    Every process goes on to compute the same loss, so the gradient of what is put together is the same
    everywhere, and each takes its part of it without asking the others.
    """

    @staticmethod
    def forward(ctx: Any, target: Tensor, rest: Tensor, mean: Tensor, count: Tensor) -> tuple[Tensor, ...]:
        """Of the numbers [B] of this process those of all."""
        mine = torch.stack([target, rest, mean * count, count])
        parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, mine)
        owns, rests, totals, counts = torch.stack(parts, dim=1)
        whole, total = rests.logsumexp(dim=0), counts.sum(dim=0).clamp(min=1)
        ctx.save_for_backward((rest - whole).exp(), count / total)
        return owns.sum(dim=0), whole, totals.sum(dim=0) / total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """The part of this process."""
        refuse_second_order()
        target, rest, mean = grad_outputs
        part_of_rest, part_of_mean = ctx.saved_tensors
        return target, rest * part_of_rest, mean * part_of_mean, None


class _SumGradients(torch.autograd.Function):
    """Leaves numbers as they are; their gradient is the sum of the parts that the processes have of it."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor) -> Tensor:
        """The same."""
        return numbers.view_as(numbers)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        """The sum."""
        refuse_second_order()
        gradient = grad_outputs[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient
