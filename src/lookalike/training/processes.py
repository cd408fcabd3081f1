"""Training on several processes: each sees its share of every batch, the loss sees all of it."""

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from lookalike.data.table import Table
from lookalike.embeddings import EmbeddedRows, Embeddings, embed_rows, join_parts
from lookalike.errors import ConfigError, DataError, PeerError
from lookalike.losses.modifiers import AcrossProcesses, Terms
from lookalike.losses.sharded import parameters_by_process
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.components import Batches
from lookalike.training.worker import MEETING

log = logging.getLogger(__name__)
Value = TypeVar("Value")
PATIENCE = timedelta(hours=2)
"""How long processes wait for one another, as while the main one evaluates. A dead one is noticed at once."""
LOST = re.compile(r"gloo|nccl|by peer|broken pipe|socket|store", re.IGNORECASE)


def make_accelerator(amp: str, device: torch.device, processes: int | None = None) -> Accelerator:
    """What places, scales and shares; of several processes, this is where they meet.

    Accelerate refuses other settings than the last in one process, unless it forgets.

    Args:
        amp: "no", "bf16" or "fp16".
        device: of this process.
        processes: how many there must be; None for any number.

    Raises:
        ConfigError: there are others, or the device cannot compute so, or is not one for several.
        PeerError: another process has ended.
    """
    if amp == "fp16" and device.type == "cpu":
        raise ConfigError("amp=fp16 needs a GPU, and this is a CPU: take amp=bf16 or amp=no")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if device.type not in ("cpu", "cuda"):
            raise ConfigError(f"device={device}: several processes work on cpu or cuda")
        backend = "nccl" if device.type == "cuda" else "gloo"
        with peer_processes():
            dist.init_process_group(backend, timeout=PATIENCE, **_rendezvous())
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        accelerator = Accelerator(mixed_precision=amp, cpu=device.type == "cpu")
    except ValueError as error:
        raise ConfigError(f"amp={amp} on {device}: {str(error).splitlines()[0]}") from error
    if processes not in (None, accelerator.num_processes):
        raise ConfigError(f"processes={processes}, but {accelerator.num_processes} train together")
    return accelerator


def _rendezvous() -> dict[str, Any]:
    """Where processes find each other: a file, if we have started them; else what torchrun has set."""
    folder = os.environ.get(MEETING)
    if folder is None:
        return {}
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return {"store": dist.FileStore(f"{folder}/store", count), "rank": rank, "world_size": count}


@contextmanager
def peer_processes() -> Iterator[None]:
    """Tell apart what went wrong here from what follows when another process has ended.

    Raises:
        PeerError: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        is_peer_error = isinstance(error, dist.DistError) or LOST.search(str(error)) is not None
        if dist.is_initialized() and dist.get_world_size() > 1 and is_peer_error:
            raise PeerError("another process of this run has ended; its own message says why") from error
        raise


def run_on_main(accelerator: Accelerator, work: Callable[[], Value]) -> Value:
    """What `work` gives in the main process, in all of them; the others do not call it.

    Raises:
        Exception: what `work` raises, in the main process.
        PeerError: in the others, then.
    """
    if accelerator.num_processes == 1:
        return work()
    outcome: list[Any] = [None, True]
    if not accelerator.is_main_process:
        dist.broadcast_object_list(outcome)
        if outcome[1]:
            raise PeerError("the main process has failed; its own message says why")
        return outcome[0]
    try:
        outcome = [work(), False]
    finally:
        dist.broadcast_object_list(outcome)
    return outcome[0]


def average_gradients(model: nn.Module) -> None:
    """What data-parallel training does in a backward pass, for gradients that were left apart."""
    if dist.is_available() and dist.is_initialized():
        for parameter in model.parameters():
            if parameter.grad is not None:
                flat = parameter.grad.contiguous()
                dist.all_reduce(flat)
                parameter.grad.copy_(flat / dist.get_world_size())


@torch.no_grad()
def equalise_parameters(models: Iterable[nn.Module], loss: nn.Module) -> None:
    """Give all processes the batch statistics of the main one, and what the loss has learned there.

    Weights of models are equal already, since their gradients are. Statistics are not: each process has those
    of its own images, and what is judged and kept must be one model. What a loss has learned is equal but for
    the order in which a GPU may add. Parts of something whole stay as they are.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    shard_ids = {id(parameter) for parameter in parameters_by_process(loss)}
    learned = [numbers for numbers in [*loss.parameters(), *loss.buffers()] if id(numbers) not in shard_ids]
    for numbers in [*(buffer for model in models for buffer in model.buffers()), *learned]:
        dist.broadcast(numbers.detach(), src=0)


class Share:
    """Every `processes`-th row of each batch, from `process` on.

    Shares may differ by one row; the loss of the whole batch weighs every row alike.

    Args:
        batches: the whole batches, the same in every process.
        process: which share this is, from 0.
        processes: how many shares there are; every batch must have as many rows.
    """

    def __init__(self, batches: Batches, process: int, processes: int):
        self.batches, self.process, self.processes = batches, process, processes

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            if len(batch) < self.processes:
                raise ConfigError(
                    f"a batch of {len(batch)} images for {self.processes} processes: take larger batches"
                )
            yield batch[self.process :: self.processes]


def prepare_loss(loss: Terms, accelerator: Accelerator) -> nn.Module:
    """The loss on its device; over several processes it starts alike and sees the whole batch."""
    loss.to(accelerator.device)
    if accelerator.num_processes == 1:
        return loss
    equalise_parameters([], loss)
    return AcrossProcesses(loss)


def count_all_images(images: int, accelerator: Accelerator) -> int:
    """Images of this batch in all processes together; 0 where one has none, so that all leave it out."""
    if accelerator.num_processes == 1:
        return images
    mine = torch.tensor([images], device=accelerator.device)
    all_counts = [torch.empty_like(mine) for _ in range(accelerator.num_processes)]
    dist.all_gather(all_counts, mine)
    counts = [int(count) for count in all_counts]
    return sum(counts) if min(counts) else 0


@dataclass(frozen=True)
class Embedded:
    """Vectors of a table.

    Attributes:
        embeddings: of length 1.
        lengths: of the raw embeddings, [N]; None if they were not asked for.
    """

    embeddings: Embeddings
    lengths: np.ndarray | None = None


class WithLengths:
    """A model whose embeddings have one more number, their raw length.

    Args:
        model: in eval mode.
    """

    def __init__(self, model: EmbeddingModel):
        self.model, self.dim, self.device, self.space = model, model.dim + 1, model.device, model.space
        self.transform = model.transform

    def __call__(self, images: Tensor) -> Tensor:
        """Embeddings of length 1 and their raw length, [B, dim + 1]."""
        raw = self.model.features(images).float()
        return torch.cat([F.normalize(raw, dim=1), raw.norm(dim=1, keepdim=True)], dim=1)


def embed_together(
    model: EmbeddingModel, table: Table | None, accelerator: Accelerator, lengths: bool
) -> Embedded | str | None:
    """Vectors of a table, of whose rows each process embeds its share.

    Returns:
        Why there are none, if the images cannot be embedded in one of the processes. None without a table,
        and in all processes but the main one.
    """
    if table is None:
        return None
    count, process = accelerator.num_processes, accelerator.process_index
    part = _embed_share(model, table, range(process, len(table), count), lengths)
    parts: list[Any] | None = [part]
    if count > 1:
        parts = [None] * count if process == 0 else None
        dist.gather_object(part, parts)
    if not parts:
        return None
    problems = [each for each in parts if isinstance(each, str)]
    if problems:
        return problems[0]
    try:
        embeddings = join_parts(model, table, parts)
    except DataError as error:
        return str(error)
    if not lengths:
        return Embedded(embeddings)
    vectors = np.ascontiguousarray(embeddings.vectors[:, :-1])
    return Embedded(replace(embeddings, vectors=vectors), embeddings.vectors[:, -1])


def _embed_share(model: EmbeddingModel, table: Table, rows: range, lengths: bool) -> EmbeddedRows | str:
    """Vectors of the rows of this process, or why there are none: the others must not wait for it in vain."""
    was_training = model.training
    model.eval()
    try:
        return embed_rows(WithLengths(model) if lengths else model, table, rows, progress=False)  # type: ignore
    except Exception as error:
        log.debug("embedding validation images failed", exc_info=True)
        return f"{type(error).__name__}: {error}"
    finally:
        model.train(was_training)


def gather_from_all(values: Iterable[Value], accelerator: Accelerator) -> list[Value]:
    """The values of all processes, in all of them."""
    parts: list[Any] = [list(values)]
    if accelerator.num_processes > 1:
        parts = [None] * accelerator.num_processes
        dist.all_gather_object(parts, list(values))
    return [value for part in parts for value in part]
