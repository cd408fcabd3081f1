"""A local web server that tests give its answers, a disk that fills, and MATLAB files read at once."""

import shutil
from collections.abc import Callable

import pytest
from hostile import serving

from lookalike.prepare.sources import matlab


@pytest.fixture(scope="module")
def running():
    with serving() as server:
        yield server


@pytest.fixture
def server(running):
    running.answers.clear()
    running.log.clear()
    return running


@pytest.fixture
def set_free_bytes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`set_free_bytes(9, 7)`: a disk that has 9 bytes free when it is asked first, and 7 from then on."""

    def set_free(*free: int) -> None:
        waiting = list(free)

        def disk_usage(folder: str) -> shutil._ntuple_diskusage:
            return shutil._ntuple_diskusage(0, 0, waiting.pop(0) if len(waiting) > 1 else waiting[0])

        monkeypatch.setattr(shutil, "disk_usage", disk_usage)

    return set_free


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """MATLAB files are read in this process, which is faster."""
    monkeypatch.setattr(matlab, "run_in_process", lambda work, *arguments: work(*arguments))
