"""Reading MATLAB files in a separate process. This module has few imports, since workers import it."""

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from lookalike.errors import DataError
from lookalike.prepare.files import run_in_process


def read(*files: Path) -> list[dict[str, Any]]:
    """The content of each file, by name, read in a separate process, since damaged files may crash the
    reader.

    Raises:
        DataError: one is not a MATLAB file, or damaged.
    """
    try:
        return run_in_process(load_files, files)
    except BrokenProcessPool as error:
        names = " or ".join(map(str, files))
        raise DataError(f"{names}: damaged: reading it crashed. Download it again") from error


def load_files(files: tuple[Path, ...]) -> list[dict[str, Any]]:
    """`read` without a separate process.

    Raises:
        DataError: one is not a MATLAB file, or damaged.
    """
    import scipy.io

    contents = []
    for file in files:
        try:
            contents.append(scipy.io.loadmat(file, simplify_cells=True))
        except Exception as error:  # for damaged files the library raises all kinds of errors
            raise DataError(f"{file}: not a readable MATLAB file: {error}. Download it again") from None
    return contents
