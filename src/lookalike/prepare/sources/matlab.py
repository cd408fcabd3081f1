"""MATLAB files, read where a crash does no harm. A light module: workers import it."""

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from lookalike.errors import DataError
from lookalike.prepare.files import run_in_process


def read(*files: Path) -> list[dict[str, Any]]:
    """What each file holds, by name; read in a process of its own, since a damaged one may crash it.

    Raises:
        DataError: one is no MATLAB file, or damaged.
    """
    try:
        return run_in_process(load_files, files)
    except BrokenProcessPool as error:
        names = " or ".join(map(str, files))
        raise DataError(f"{names}: damaged: reading it crashed. Fetch it again") from error


def load_files(files: tuple[Path, ...]) -> list[dict[str, Any]]:
    """What `read` does, in this process.

    Raises:
        DataError: one is no MATLAB file, or damaged.
    """
    import scipy.io

    contents = []
    for file in files:
        try:
            contents.append(scipy.io.loadmat(file, simplify_cells=True))
        except Exception as error:  # on damaged files the library raises nearly anything
            raise DataError(f"{file}: not a readable MATLAB file: {error}. Fetch it again") from None
    return contents
