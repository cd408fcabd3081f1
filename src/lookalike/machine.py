"""Device, threads and memory settings."""

import ctypes
import os
import platform
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lookalike.errors import ConfigError

if TYPE_CHECKING:  # the launcher of other processes does not need torch
    import torch


GPU_NAMES = {"gpu": "cuda", "nvidia": "cuda", "rocm": "cuda", "amd": "cuda", "metal": "mps", "apple": "mps"}
"""Common names of devices, and PyTorch's."""


def cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_torch() -> bool:
    """Whether PyTorch is installed; exported models do without."""
    return find_spec("torch") is not None


def choose_device(name: str | None = None) -> Any:
    """The requested torch.device, or the best available one; with several processes, each gets its own GPU.

    None where PyTorch is not installed: exported models choose for themselves.

    Raises:
        ConfigError: the name is unknown, or this machine has no such device, or too few.
    """
    if not has_torch():
        if name in (None, "cpu"):
            return None
        raise ConfigError(f"device={name}: without PyTorch, models run on the cpu; leave out device=")
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        if device.type == "cuda" and _local_processes() > 1:
            return _process_gpu(device, torch.cuda.device_count())
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={name}: {_reject_device(str(name), error)}") from error
    return device


def _reject_device(name: str, error: Exception) -> str:
    """The reason why a device is not available, and the valid names on this machine."""
    import torch

    kind, _, number = name.lower().partition(":")
    available = ["cpu", *(f"cuda:{each}" for each in range(torch.cuda.device_count()))]
    available += ["mps"] if torch.backends.mps.is_available() else []
    choices = f"This machine has {', '.join(available)}; device=null selects the best"
    if kind in GPU_NAMES:
        meant = ":".join(part for part in (GPU_NAMES[kind], number) if part)
        return f"no such device. Did you mean device={meant}? {choices}"
    if kind.isdigit():
        return f"no such device. Did you mean device=cuda:{kind}? {choices}"
    unknown = "Expected one of" in str(error) or "Invalid device string" in str(error)
    return f"{'no such device' if unknown else str(error).splitlines()[0].rstrip('.')}. {choices}"


def _process_gpu(device: "torch.device", count: int) -> "torch.device":
    """The GPU of this process, by its local rank."""
    if device.index is not None:
        raise ConfigError(
            f"device={device}: with several processes, each uses its own GPU. Write device=cuda; "
            "the environment variable CUDA_VISIBLE_DEVICES selects the GPUs"
        )
    if _local_processes() > count:
        raise ConfigError(
            f"{_local_processes()} processes, but {count} GPUs: start at most one process per GPU, "
            "or use device=cpu"
        )
    return type(device)("cuda", int(os.environ["LOCAL_RANK"]))


def _local_processes() -> int:
    """Number of processes of this run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def choose_workers(workers: int | None, device: "torch.device | None") -> int:
    """Number of loader processes: as requested; by default none with a CPU, and one per core with a GPU."""
    if workers is not None:
        return workers
    return 0 if device is None or device.type == "cpu" else max(1, min(16, cores() // _local_processes()))


def configure_memory(threads: int | None = None) -> None:
    """Set the number of compute threads, and keep freed memory for the next step instead of returning it.

    A step on a CPU allocates and frees hundreds of megabytes; returning them to the system each time costs
    more than a third of the step in page faults (glibc only; no effect elsewhere).
    """
    if threads and has_torch():
        import torch

        torch.set_num_threads(threads)
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((-3, 1 << 30), (-1, (1 << 31) - 1)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            mallopt(parameter, value)
