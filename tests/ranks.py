"""Two gloo processes for tests, which meet in a file and end without a trace."""

import gc
import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

PROCESSES = 2


def run_ranks(work: Callable[..., None], folder: Path, *arguments: object) -> None:
    """Run `work(rank, folder, *arguments)` in two processes of one group; an error in one is raised here."""
    mp.spawn(_run, (work, folder, arguments), nprocs=PROCESSES)


def _run(rank: int, work: Callable[..., None], folder: Path, arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    if "lo" in (name for _, name in socket.if_nameindex()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=PROCESSES)
    work(rank, folder, *arguments)
    gc.collect()  # reference cycles of DistributedDataParallel keep the group's threads alive until exit
    dist.barrier()
    dist.destroy_process_group()
