"""What a step over very many classes costs, optimiser included, with all classes or a share of them."""

import ctypes
import gc
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from _common import show
from lookalike.losses import ArcFace
from lookalike.losses.sampled import SampledClasses
from lookalike.training.optimise import RowSparse

CLASSES, DIM, BATCH = 1_000_000, 128, 128


class Trained:
    """ArcFace over `rate` of the classes with AdamW, as `lookalike train` has it."""

    def __init__(self, rate: float, classes: int = CLASSES, dim: int = DIM) -> None:
        torch.manual_seed(0)
        self.loss, self.classes, self.dim = SampledClasses(ArcFace(classes, dim), rate), classes, dim
        group = {"params": list(self.loss.parameters()), "lr": 1e-2, "weight_decay": 0.0}
        self.optimizer = RowSparse(torch.optim.AdamW([group]))

    def step(self) -> float:
        """Seconds of forward, backward and the optimiser on a new random batch."""
        embeddings = torch.randn(BATCH, self.dim, requires_grad=True)
        labels = torch.randint(self.classes, (BATCH,))
        started = time.perf_counter()
        self.loss(embeddings, labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - started


def seconds(rates: Sequence[float], steps: int = 5, threads: int = 2, classes: int = CLASSES) -> list[float]:
    """Median seconds of a step with each rate; steps of the rates take turns, after one each to warm up."""
    torch.set_num_threads(threads)
    sides = [Trained(rate, classes) for rate in rates]
    times = [[side.step() for side in sides] for _ in range(steps + 1)][1:]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def extra_bytes(rate: float, threads: int = 2, classes: int = CLASSES) -> int:
    """Most memory that steps take beyond the weights and the optimiser's state, measured in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_extra_bytes, rate, threads, classes).result()


def show_table() -> None:
    """All classes beside a tenth of them."""
    rates = (1.0, 0.1)
    memory, times = [extra_bytes(rate) for rate in rates], seconds(rates)
    rows = [
        [
            f"{rate:g}",
            f"{took:.2f} s",
            f"{most / 2**20:.0f} MB",
            f"{took / times[0]:.3f}",
            f"{most / memory[0]:.3f}",
        ]
        for rate, took, most in zip(rates, times, memory, strict=True)
    ]
    title = (
        f"Partial FC: ArcFace over {CLASSES:,} classes, D = {DIM}, B = {BATCH}, AdamW (goal: shares ≤ 0.2)"
    )
    columns = ("rate", "a step", "memory beyond weights and state", "share of time", "share of memory")
    show(title, columns, rows)


def _extra_bytes(rate: float, threads: int, classes: int) -> int:
    torch.set_num_threads(threads)
    side = Trained(rate, classes)
    side.step()
    for state in side.optimizer.state.values():
        state["exp_avg"].add_(0), state["exp_avg_sq"].add_(0)  # pages of zeros take memory once written
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _memory("VmRSS")
    side.step(), side.step()
    return _memory("VmHWM") - before


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
