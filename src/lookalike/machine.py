"""Settling on a machine: device, threads, memory."""

import ctypes
import os
import platform

import torch

from lookalike.errors import ConfigError


def choose_device(name: str | None = None) -> torch.device:
    """The device asked for, or the best there is.

    Raises:
        ConfigError: the name is unknown, or this machine has no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={name}: {str(error).splitlines()[0]}") from error
    return device


def choose_workers(workers: int | None, device: torch.device) -> int:
    """Loader processes: as asked; else none beside a CPU that computes, and one a core beside a GPU."""
    if workers is not None:
        return workers
    return 0 if device.type == "cpu" else min(16, os.cpu_count() or 1)


def settle(threads: int | None = None) -> None:
    """Set the number of compute threads, and keep freed memory for the next step instead of returning it.

    A step on a CPU allocates and frees hundreds of megabytes; giving them back to the system each time
    costs more than a third of the step in page faults (glibc only; elsewhere nothing is changed).
    """
    if threads:
        torch.set_num_threads(threads)
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((-3, 1 << 30), (-1, (1 << 31) - 1)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            mallopt(parameter, value)
