"""Training on several processes: each sees its share of every batch, the loss sees all of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from lookalike.errors import ConfigError
from lookalike.losses.modifiers import AcrossProcesses, Terms

if TYPE_CHECKING:
    from lookalike.training.plan import Batches


def make_accelerator(amp: str, device: torch.device) -> Accelerator:
    """What places, scales and shares; Accelerate refuses other settings in one process unless it forgets."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision=amp, cpu=device.type == "cpu")


class Share:
    """Every `processes`-th row of each batch, from `process` on.

    Args:
        batches: the whole batches, the same in every process.
        process: which share this is, from 0.
        processes: how many shares there are; every batch must divide by it.
    """

    def __init__(self, batches: "Batches", process: int, processes: int):
        self.batches, self.process, self.processes = batches, process, processes

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            if len(batch) % self.processes:
                raise ConfigError(f"a batch of {len(batch)} does not divide by {self.processes} processes")
            yield batch[self.process :: self.processes]


def prepare_loss(loss: Terms, accelerator: Accelerator) -> nn.Module:
    """The loss on its device; over several processes it sees the whole batch."""
    loss.to(accelerator.device)
    return AcrossProcesses(loss) if accelerator.num_processes > 1 else loss


def all_have(rows: int, accelerator: Accelerator) -> bool:
    """Whether every process has images of this batch; where one has none, all leave it out together."""
    if accelerator.num_processes == 1:
        return rows > 0
    fewest = torch.tensor(rows, device=accelerator.device)
    dist.all_reduce(fewest, dist.ReduceOp.MIN)
    return int(fewest) > 0
