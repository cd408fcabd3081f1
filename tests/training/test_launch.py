"""Processes that are started together end together: whose error is told, and none is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lookalike.errors import ConfigError, DataError, LookalikeError, PeerError, Problem
from lookalike.training import launch as launching
from lookalike.training.launch import launch, must_launch
from lookalike.training.worker import LEVEL

WORK = """
import os, signal, time
from pathlib import Path
from lookalike.errors import ConfigError, DataError, LookalikeError, PeerError, Problem
from lookalike.training.worker import run_as_process

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")

def work(given):
    rank = int(os.environ["RANK"])
    names = ("WORLD_SIZE", "LOCAL_RANK", "OMP_NUM_THREADS")
    told = " ".join([str(os.getpid()), *(os.environ[name] for name in names)])
    (Path(given["folder"]) / f"{rank}.partial").write_text(told)
    (Path(given["folder"]) / f"{rank}.partial").rename(Path(given["folder"]) / f"{rank}.txt")
    exec(given["does"][rank], {**globals(), "rank": rank})

run_as_process(work)
"""
WAIT = "time.sleep(600)"


@pytest.fixture
def start_processes(tmp_path, monkeypatch):
    """`start_processes("code of process 0", "code of process 1")` runs them."""
    (tmp_path / "its_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(launching, "GRACE", 1.0)
    given = {"folder": str(tmp_path), LEVEL: 30}
    return lambda *does: launch("its_work", {**given, "does": does}, len(does))


def read_words(folder: Path, rank: int) -> list[str]:
    return (folder / f"{rank}.txt").read_text().split()


def is_gone(pid: int) -> bool:
    """A process that nobody has waited for yet counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition, seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_each_knows_its_place_and_gets_its_share_of_the_cores(start_processes, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(launching, "cores", lambda: 6)
    start_processes("pass", "time.sleep(0.2)", "pass")
    assert [read_words(tmp_path, rank)[1:] for rank in range(3)] == [
        ["3", str(rank), "2"] for rank in range(3)
    ]


def test_the_users_own_number_of_threads_stays(start_processes, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    start_processes("pass")
    assert read_words(tmp_path, 0)[3] == "5"


def test_the_error_of_one_ends_the_others_and_is_raised_here(start_processes, tmp_path):
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"^lr: must be positive$") as raised:
        start_processes(WAIT, 'raise ConfigError("lr: must be positive")')
    assert time.monotonic() - began < 120
    assert "In process 1:" in str(raised.value.__cause__)
    assert is_gone(int(read_words(tmp_path, 0)[0]))


def test_errors_keep_their_type_and_cause(start_processes):
    with pytest.raises(DataError, match=r"(?s)bad.*photo.jpg, row 3: broken") as raised:
        start_processes('raise DataError("bad", [Problem("photo.jpg", "broken", 3)])')
    assert raised.value.problems == [Problem("photo.jpg", "broken", 3)]
    with pytest.raises(ValueError, match="second") as raised:
        start_processes(
            'try:\n    open("/nowhere")\nexcept OSError as error:\n    raise ValueError("second") from error'
        )
    assert isinstance(raised.value.__cause__, FileNotFoundError)
    assert raised.value.__cause__.filename == "/nowhere"
    with pytest.raises(RuntimeError, match=r"^Odd: this and that$"):
        start_processes('raise Odd("this", "that")')


def test_what_follows_from_anothers_end_is_not_the_cause(start_processes):
    with pytest.raises(LookalikeError, match=r"^the cause$"):
        start_processes('raise PeerError("follows")', 'time.sleep(0.5); raise LookalikeError("the cause")')
    with pytest.raises(LookalikeError, match=r"process 1 of 0 to 1 was killed by SIGKILL.*memory"):
        start_processes('time.sleep(0.5); raise PeerError("follows")', "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(LookalikeError, match="process 0 of 0 to 1 ended with exit code 7"):
        start_processes("os._exit(7)", WAIT)
    with pytest.raises(PeerError):
        start_processes('raise PeerError("nobody else says more")')


def test_the_first_of_several_errors_is_raised(start_processes):
    with pytest.raises(ValueError, match="first"):
        start_processes('time.sleep(0.6); raise ValueError("second")', 'raise ValueError("first")')


PARENT = """
import json, sys
from lookalike.training.launch import launch
launch("its_work", json.loads(sys.argv[1]), 2)
"""


@pytest.fixture
def parent(tmp_path):
    """`parent(code)` starts a process that starts two, and waits until they work."""
    (tmp_path / "its_work.py").write_text(WORK)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *map(os.path.abspath, sys.path)]),
    }
    begun = []

    def begin(*does: str) -> tuple[subprocess.Popen, list[int]]:
        given = json.dumps({"folder": str(tmp_path), LEVEL: 30, "does": does})
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, given], env=environment, stderr=subprocess.PIPE, text=True
        )
        begun.append(process)
        wait_until(lambda: all((tmp_path / f"{rank}.txt").exists() for rank in range(2)))
        return process, [int(read_words(tmp_path, rank)[0]) for rank in range(2)]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def test_when_the_parent_is_killed_none_is_left(parent):
    process, ranks = parent(WAIT, WAIT)
    process.kill()
    wait_until(lambda: all(map(is_gone, ranks)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_once_and_what_comes_of_them_is_told(parent, tmp_path, number):
    note = (
        "asked = []\n"
        f"signal.signal({int(number)}, lambda *_: asked.append(1))\n"
        f"(Path({str(tmp_path)!r}) / f'ready{{rank}}').touch()\n"
        "while not asked: time.sleep(0.01)\n"
        "time.sleep(0.3)\n"
        "raise SystemExit(0 if len(asked) == 1 else 3)"
    )
    process, ranks = parent(note, note)
    wait_until(lambda: all((tmp_path / f"ready{rank}").exists() for rank in range(2)))
    process.send_signal(number)
    _, words = process.communicate(timeout=900)
    assert process.returncode == 0, words
    assert all(map(is_gone, ranks))


def test_before_there_is_anything_to_save_sigterm_just_ends_all(parent):
    process, ranks = parent(WAIT, WAIT)
    process.terminate()
    _, words = process.communicate(timeout=900)
    assert process.returncode == -signal.SIGTERM, words
    assert not words
    assert all(map(is_gone, ranks))


@pytest.fixture
def no_launcher(monkeypatch):
    """Nobody has started this process as one of several."""
    for name in (*launching.WORLD, "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)


def test_whether_to_start_others(no_launcher, monkeypatch):
    assert [must_launch(count) for count in (None, 1, 2)] == [False, False, True]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert [must_launch(count) for count in (None, 2)] == [False, False]
    with pytest.raises(ConfigError, match="processes=3, but 2 were started: leave out processes="):
        must_launch(3)


def test_accelerate_that_ignores_how_many_were_asked_for_is_told(no_launcher, monkeypatch, caplog):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    with caplog.at_level("WARNING", logger="lookalike"):
        assert not must_launch(None)
        assert must_launch(2)
    assert caplog.text.count("`accelerate launch` has started one process") == 1
