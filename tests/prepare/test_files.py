import multiprocessing as mp
import os
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from lookalike.prepare import files
from lookalike.prepare.files import (
    CRASHED,
    FileCheck,
    check_by_decoding,
    check_files,
    check_header,
    run_in_workers,
)


def fragile(file: Path) -> FileCheck:
    """Kills its process where the name says so."""
    if "deadly" in file.name:
        os._exit(1)
    return FileCheck(len(file.name), 1)


def test_a_file_that_kills_its_reader_is_found_and_the_rest_goes_on():
    deadly = {15, 19}  # the ends of the first 2 · 8 chunks and of the others
    names = [Path(f"deadly {row}" if row in deadly else "x" * (row + 1)) for row in range(20)]
    seen = list(run_in_workers(names, fragile, FileCheck(reason=CRASHED), workers=2, chunk=1))
    assert [row for row, one in enumerate(seen) if one.reason == CRASHED] == sorted(deadly)
    assert all(seen[row] == FileCheck(row + 1, 1) for row in range(20) if row not in deadly)


@pytest.mark.skipif("forkserver" not in mp.get_all_start_methods(), reason="processes start otherwise")
def test_a_crash_while_processes_start_leaves_none_behind(monkeypatch):
    start = ForkServerProcess.start
    monkeypatch.setattr(ForkServerProcess, "start", lambda process: start(process) or time.sleep(0.3))
    before = set(mp.active_children())
    items = [Path("deadly"), *map(Path, "abc")]
    seen = list(run_in_workers(items, fragile, FileCheck(reason=CRASHED), workers=2, chunk=1))
    assert [one.reason for one in seen] == [CRASHED, "", "", ""]
    assert set(mp.active_children()) <= before


def test_workers_see_what_one_process_sees(shapes_folder, tmp_path):
    found = sorted(shapes_folder.rglob("*.png"))
    (tmp_path / "cut.png").write_bytes(found[0].read_bytes()[:300])
    found = [*found, tmp_path / "cut.png", tmp_path / "gone.png"]
    alone = list(check_files(found, check_by_decoding, workers=0))
    assert alone == list(check_files(found, check_by_decoding, workers=2))
    assert [bool(one.reason) for one in alone] == [False] * 80 + [True, True]
    assert alone[0] == FileCheck(48, 48)
    assert [one.reason for one in check_files(found[-3:], check_header, workers=0)][:2] == ["", ""]


KILLED = """
import os, signal, time
from lookalike.prepare import files

if __name__ == "__main__":
    with files._pool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_when_the_main_process_is_killed(tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    done = subprocess.run([sys.executable, tmp_path / "killed.py"], stdout=subprocess.PIPE, timeout=900)
    assert done.stdout and done.returncode == -signal.SIGKILL, "run() is back, so no worker holds the output"


def test_no_files():
    assert list(check_files([])) == []


def test_without_workers_it_goes_on_alone(monkeypatch, caplog):
    monkeypatch.setattr(files, "_pool", lambda workers: raise_broken_pool())
    assert len(list(check_files([Path(str(row)) for row in range(40)], fragile, workers=2))) == 40
    assert "worker processes could not be started" in caplog.text


def raise_broken_pool():
    raise files.BrokenProcessPool
