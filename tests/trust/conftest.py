"""The rows of `make trust`, with small amounts."""

import fcntl
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from trust.jobs import make_workspace


@pytest.fixture(scope="session")
def trust_folder(tmp_path_factory):
    """A folder with the workspace of the jobs, made once for all workers of a test run."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if base.name.startswith("popen-") else base) / "trust"
    shared.mkdir(exist_ok=True)
    with (shared / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_workspace(shared / "workspace", classes=12)
    return shared
