import os
import signal
import subprocess
import sys
from pathlib import Path

from lookalike.prepare import files
from lookalike.prepare.files import CRASHED, FileCheck, check_by_decoding, check_files, check_header


def fragile(file: Path) -> FileCheck:
    """Kills its process where the name says so."""
    if "deadly" in file.name:
        os._exit(1)
    return FileCheck(len(file.name), 1)


def test_a_file_that_kills_its_reader_is_found_and_the_rest_goes_on(monkeypatch):
    deadly = {1, 11}
    monkeypatch.setattr(files, "CHUNK", 3)
    monkeypatch.setattr(files, "CHUNKS_PER_WORKER", 1)
    names = [Path(f"deadly {row}" if row in deadly else "x" * (row + 1)) for row in range(12)]
    seen = list(check_files(names, fragile, workers=2))
    assert [row for row, one in enumerate(seen) if one.reason == CRASHED] == sorted(deadly)
    assert all(seen[row] == FileCheck(row + 1, 1) for row in range(12) if row not in deadly)


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
    done = subprocess.run([sys.executable, tmp_path / "killed.py"], stdout=subprocess.PIPE, timeout=60)
    assert done.stdout and done.returncode == -signal.SIGKILL, "run() is back, so no worker holds the output"


def test_no_files():
    assert list(check_files([])) == []


def test_without_workers_it_goes_on_alone(monkeypatch, caplog):
    monkeypatch.setattr(files, "_pool", lambda workers: raise_broken_pool())
    assert len(list(check_files([Path(str(row)) for row in range(40)], fragile, workers=2))) == 40
    assert "worker processes could not be started" in caplog.text


def raise_broken_pool():
    raise files.BrokenProcessPool
