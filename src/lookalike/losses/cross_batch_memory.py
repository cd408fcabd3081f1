"""A memory of past batches for pair losses."""

import inspect

import torch
from torch import Tensor, nn

from lookalike.errors import check_finite
from lookalike.losses._base import UNKNOWN, check_batch


class CrossBatchMemory(nn.Module):
    """Also compare each batch with the embeddings of past batches (Wang et al., 2020, arXiv:1912.06798).

    Holds the last `size` embeddings and labels, without gradient. Each call gives the loss of the batch
    against itself and the memory, then puts the batch into the memory, which in eval mode stays as it is. All
    of it is in the state dict, so a saved run resumes exactly. Inside `AcrossProcesses` every process keeps
    the same memory.

    The loss gets the batch with its gradient, and the memory as `extra`. pytorch-metric-learning puts a batch
    into the memory first and compares with the memory alone: the same pairs, but those within a batch have
    a gradient on one side only. The paper fills the memory after the warm-up, this fills it during it.

    Args:
        loss: a loss with the argument `extra`, such as any `PairLoss`.
        size: number of embeddings held.
        dim: embedding dimension.
        warm_up: number of calls before the memory is compared with, while embeddings still move fast.

    Attributes:
        vectors: raw embeddings in float32, [size, dim].
        labels: [size]; -1 for empty rows.
        position: row that the next embedding is written to.
        steps: calls so far in training mode.
    """

    vectors: Tensor
    labels: Tensor
    position: Tensor
    steps: Tensor

    def __init__(self, loss: nn.Module, size: int, dim: int, warm_up: int = 0) -> None:
        check_finite("CrossBatchMemory", size=size, warm_up=warm_up)
        super().__init__()
        if "extra" not in inspect.signature(loss.forward).parameters:
            raise ValueError(
                f"CrossBatchMemory loss {type(loss).__name__}: the loss has no argument `extra` for the "
                "memory; only pair losses have it"
            )
        for name, value, least in (("size", size, 1), ("dim", dim, 1), ("warm_up", warm_up, 0)):
            if value < least:
                raise ValueError(f"CrossBatchMemory {name} {value}: {name} must be at least {least}")
        self.loss, self.size, self.dim, self.warm_up = loss, size, dim, warm_up
        self.uses_length = getattr(loss, "uses_length", False)
        self.register_buffer("vectors", torch.zeros(size, dim))
        self.register_buffer("labels", torch.full((size,), UNKNOWN))
        self.register_buffer("position", torch.tensor(0))
        self.register_buffer("steps", torch.tensor(0))

    @property
    def active_share(self) -> Tensor | None:
        """Details reported by the loss, if any."""
        return getattr(self.loss, "active_share", None)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, dim] with labels [B].

        Raises:
            ValueError: if shapes or label type are wrong.
        """
        labels = check_batch("CrossBatchMemory", embeddings, labels)
        if embeddings.shape[1] != self.dim:
            raise ValueError(
                f"CrossBatchMemory: built for embeddings of dimension {self.dim}, got {embeddings.shape[1]}"
            )
        ready = int(self.steps) >= self.warm_up
        extra = (self.vectors.clone(), self.labels.clone()) if ready else None
        value = self.loss(embeddings, labels, extra=extra)
        if self.training:
            self._keep(embeddings.detach(), labels)
        return value

    @torch.no_grad()
    def _keep(self, embeddings: Tensor, labels: Tensor) -> None:
        """Write the last `size` rows of the batch over the oldest ones."""
        embeddings, labels = embeddings[-self.size :], labels[-self.size :]
        rows = (self.position + torch.arange(len(labels), device=labels.device)) % self.size
        self.vectors[rows] = embeddings.to(self.vectors.dtype)
        self.labels[rows] = labels.to(self.labels.dtype)
        self.position.copy_((self.position + len(labels)) % self.size)
        self.steps += 1
