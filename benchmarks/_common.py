"""What the benchmarks share: where the data is, which machine this is, and a table to print."""

import os
import platform
import resource
from collections.abc import Sequence
from pathlib import Path

import torch


def data(name: str) -> Path:
    """A folder of real images under LOOKALIKE_DATA; exits with a hint where it is missing."""
    root = os.environ.get("LOOKALIKE_DATA")
    folder = Path(root or "") / name
    if not root or not folder.is_dir():
        raise SystemExit(f"set LOOKALIKE_DATA to a folder that holds {name}/ (see benchmarks/README.md)")
    return folder


def machine() -> str:
    """Processor, cores and library versions, for the record."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    return (
        f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def peak_gib() -> float:
    """Most memory this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print(f"\n### {title}\n\n{machine()}\n")
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
