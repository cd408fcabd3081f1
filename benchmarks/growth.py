"""Memory and time of batches, evaluation and indexing as a set grows: memory goes with the number of
images.

python benchmarks/growth.py [largest]

Each size runs in a process of its own; the memory is what the work added over an idle process with the
same imports.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

import lookalike
from _common import peak_gib, show
from lookalike.data.samplers import PerClass
from lookalike.data.table import Table
from lookalike.search.index import Index

DIM, PER_CLASS = 256, 5
SIZES = (2_000, 4_000, 8_000, 16_000, 32_000)


def work(task: str, size: int) -> None:
    """One task at one size, in this process; prints seconds and GiB."""
    rng = np.random.default_rng(0)
    labels = np.arange(size) // PER_CLASS
    vectors = np.empty((0, DIM), np.float32)
    if task != "batches":
        vectors = rng.standard_normal((size, DIM), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    before, started = peak_gib(), time.perf_counter()
    if task == "batches":
        sampler = PerClass(labels, 16, 4, seed=0)
        for epoch in range(3):
            sampler.set_epoch(epoch)
            for _ in sampler:
                pass
    elif task == "evaluate":
        lookalike.evaluate(vectors, labels, intervals=True)
    else:
        frame = pl.DataFrame(
            {"path": [f"{row}.jpg" for row in range(size)], "label": labels.astype(str), "split": "test"}
        )
        with tempfile.TemporaryDirectory() as folder:
            Index(vectors, Table(frame, Path(folder)), "0" * 16).save(Path(folder) / "index")
            Index.load(Path(folder) / "index")
    print(time.perf_counter() - started, peak_gib() - before)


def main(largest: int = SIZES[-1]) -> None:
    """Every task at every size."""
    rows = []
    for task in ("batches", "evaluate", "index"):
        for size in (size for size in SIZES if size <= largest):
            command = [sys.executable, __file__, task, str(size)]
            seconds, gib = map(
                float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            )
            rows.append(
                [task, f"{size:,}", f"{seconds:.2f}", f"{1024 * gib:.0f}", f"{2**30 * gib / size:.0f}"]
            )
    show("Growth", ["task", "images", "seconds", "added MiB", "bytes an image"], rows)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        work(sys.argv[1], int(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]))
