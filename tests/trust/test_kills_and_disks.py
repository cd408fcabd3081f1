"""Killed jobs, full disks, folders that cannot be written, and two jobs on one folder."""

import os
import subprocess
import sys

import pytest

from lookalike import files
from lookalike.errors import LookalikeError
from lookalike.search.registry import Registry
from trust import disk, holders, kills


def test_kills_lose_nothing(trust_folder, tmp_path):
    """Training and enrolling through the command line are killed in test_resume.py and test_registry.py."""
    figure = kills.measure_kills(trust_folder, 8, ["prepare shrink", "index sqlite"])
    assert figure.passes, figure.problems


def test_full_and_forbidden_folders_leave_a_message_and_nothing_else(trust_folder):
    figure = disk.measure_disks(trust_folder, 1, ["prepare shrink", "index", "train"])
    assert figure.passes, figure.problems


def test_the_second_job_is_told_who_holds_the_folder(trust_folder):
    figure = holders.measure_holders(trust_folder, 2)
    assert figure.passes, figure.problems


def test_of_two_that_finish_one_is_refused(tmp_path):
    with (
        pytest.raises(LookalikeError, match="another process wrote it in the meantime"),
        files.new_folder(tmp_path / "out") as temporary,
    ):
        (temporary / "a").touch()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "b").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


REPLACE = """
import os, sys
from pathlib import Path
from lookalike import files

renames = 0
def die(*_):
    os.kill(os.getpid(), 9)

out = Path(sys.argv[1])
with files.replace_folder(out, "mark") as temporary:
    (temporary / "mark").write_text("new")
    Path.rename = die
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot exchange two folders in one step")
def test_a_replaced_folder_is_there_at_every_moment(tmp_path):
    out = tmp_path / "out"
    with files.new_folder(out) as temporary:
        (temporary / "mark").write_text("old")
    subprocess.run([sys.executable, "-c", REPLACE, out], check=False)
    assert (out / "mark").read_text() in ("old", "new")


def test_an_interrupted_forgetting_is_finished_by_the_same_command(tmp_path, monkeypatch):
    folder = kills.make_registry(tmp_path / "index")
    secret = kills.make_vectors(50, 5)
    with Registry(folder) as registry:
        registry.enrol(secret, kills.SECRET)
        registry.engine.snapshot("before")
    killed = os.fork()
    if killed == 0:
        monkeypatch.setattr("lookalike.search.engines.sqlite.SqliteEngine._compact", lambda _: os._exit(9))
        with Registry(folder) as registry:
            registry.forget(kills.SECRET)
    os.waitpid(killed, 0)
    assert kills.find_traces(folder, secret, kills.SECRET)
    kills.forget_secret(folder)
    with Registry(folder) as registry, pytest.raises(LookalikeError, match="has no identity"):
        registry.forget(kills.SECRET)
    assert not kills.find_traces(folder, secret, kills.SECRET)
