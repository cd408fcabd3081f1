"""Losses that wrap other losses."""

from collections.abc import Mapping, Sequence
from operator import itemgetter

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lookalike.errors import LookalikeError, check_finite
from lookalike.losses.distillation import Distillation


class Terms(nn.Module):
    """Weighted sum of named losses, used by the training loop.

    After each call `last` maps each name to its share of the sum (weight × loss), so the shares add up to the
    total, and `details` holds values reported by the losses, such as `triplet_active_share`. All are
    detached scalars. `batch` holds the detached embeddings [B, D] and the (first) labels [B] of the
    call.

    Args:
        terms: name to weight and loss. A `Distillation` among them gets the embeddings of its teacher.

    Attributes:
        mixed_share: weight of the first of two labels, for mixed images.
    """

    def __init__(self, terms: Mapping[str, tuple[float, nn.Module]]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("Terms: no loss given; choose at least one")
        for name, (weight, _) in terms.items():
            check_finite(f"loss {name}", weight=weight)
            if weight < 0:
                raise ValueError(f"loss {name} weight {weight}: weight must be at least 0")
        self.weights = {name: float(weight) for name, (weight, _) in terms.items()}
        self.losses = nn.ModuleDict({name: loss for name, (_, loss) in terms.items()})
        self.last: dict[str, Tensor] = {}
        self.details: dict[str, Tensor] = {}
        self.batch: tuple[Tensor, Tensor] = torch.empty(0, 0), torch.empty(0, dtype=torch.int64)
        self.mixed_share = 1.0

    def forward(self, embeddings: Tensor, labels: Tensor, teacher: Tensor | None = None) -> Tensor:
        """Sum of weight × loss.

        Args:
            embeddings: raw vectors, [B, D].
            labels: [B], or [B, 2] for mixed images: a loss is then that of the first labels times
                `mixed_share` plus that of the second labels times the rest.
            teacher: embeddings of the same images, [B, T]; without them distillation is left out.

        Raises:
            LookalikeError: a loss is not a scalar, or does not depend on the embeddings.
        """
        self.batch = embeddings.detach(), labels if labels.ndim == 1 else labels[:, 0]
        shares = {
            name: self.weights[name] * self._value(name, embeddings, labels, teacher)
            for name, loss in self.losses.items()
            if teacher is not None or not isinstance(loss, Distillation)
        }
        self.last = {name: share.detach() for name, share in shares.items()}
        self.details = {}
        for name, loss in self.losses.items():
            share = getattr(loss, "active_share", None)
            if isinstance(share, Tensor):
                self.details[f"{name}_active_share"] = share
        total = torch.stack(list(shares.values())).sum()
        if embeddings.requires_grad and torch.is_grad_enabled() and not total.requires_grad:
            raise LookalikeError(
                f"loss {', '.join(shares)}: has no gradient. Do not detach the embeddings; if a batch "
                "has no informative pairs, return 0 * embeddings.sum()"
            )
        return total

    def logged_values(self) -> dict[str, Tensor]:
        """Values of the last call: the shares of the terms if there are several, and their details."""
        single = {f"loss_{name}": share for name, share in self.last.items()} if len(self.last) > 1 else {}
        return {**single, **self.details}

    def _value(self, name: str, embeddings: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        loss = self.losses[name]
        if isinstance(loss, Distillation):
            return loss(embeddings, teacher)
        if labels.ndim == 1:
            return _scalar_value(name, loss(embeddings, labels))
        weights = (self.mixed_share, 1 - self.mixed_share)
        parts = sorted(zip(weights, labels.unbind(dim=1), strict=True), key=itemgetter(0))
        # What a loss follows from batch to batch is what it saw last: the labels that weigh more.
        return torch.stack(
            [weight * _scalar_value(name, loss(embeddings, part_labels)) for weight, part_labels in parts]
        ).sum()


def _scalar_value(name: str, value: object) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    received = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise LookalikeError(
        f"loss {name}: returned {received}; a loss must return a scalar tensor, such as a mean"
    )


def set_progress(loss: nn.Module, done: float) -> None:
    """Tell every loss in `loss` that changes over training (its method `set_progress`) how far training is.

    Args:
        loss: a loss, or one that holds others.
        done: share of training that is done, from 0 to 1.
    """
    for part in loss.modules():
        tell = getattr(part, "set_progress", None)
        if callable(tell):
            tell(done)


class AcrossProcesses(nn.Module):
    """The loss of the batches of all processes together, with the gradient that one process would have.

    Every process computes the loss of the whole batch and sends back the gradient of its own rows, times the
    number of processes: data-parallel training divides by it when it averages. Parameters of the loss itself
    get the same gradient everywhere and need no averaging. What the loss draws at random is the same
    everywhere, too, and the rows come in turn from each process, as they were dealt out, so that a memory
    holds what it would in one.

    Args:
        loss: a loss on embeddings and labels.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, embeddings: Tensor, *extra_tensors: Tensor) -> Tensor:
        """Loss of the gathered rows; B may differ by process.

        Args:
            embeddings: raw vectors, [B, D].
            extra_tensors: what the loss gets besides, a row an image, such as labels [B].
        """
        processes = dist.get_world_size()
        mine = torch.stack([torch.tensor(len(embeddings)), torch.randint(2**62, ())]).to(embeddings.device)
        gathered_counts = [torch.empty_like(mine) for _ in range(processes)]
        dist.all_gather(gathered_counts, mine)
        counts = [int(count) for count, _ in gathered_counts]
        scaled = embeddings + (processes - 1) * (embeddings - embeddings.detach())
        turns = [torch.arange(count) * processes + process for process, count in enumerate(counts)]
        order = torch.cat(turns).argsort().to(embeddings.device)
        rows = [torch.cat(_gather(tensor, counts))[order] for tensor in (scaled, *extra_tensors)]
        with torch.random.fork_rng([embeddings.device] if embeddings.is_cuda else []):
            torch.manual_seed(int(gathered_counts[0][1]))
            return self.loss(*rows)


def _gather(rows: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """The rows of every process, in order; this process's own keep their gradient."""
    padded = rows.new_zeros((max(counts), *rows.shape[1:]))
    padded[: len(rows)] = rows.detach()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    parts = [part[:count] for part, count in zip(parts, counts, strict=True)]
    parts[dist.get_rank()] = rows
    return parts
