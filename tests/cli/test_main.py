import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import BaseModel, Field

from lookalike import cli
from lookalike.cli import main as cli_
from lookalike.config import catalogue
from lookalike.errors import ConfigError, DataError, LookalikeError, Problem


class Nap(BaseModel):
    """The keys of the job in these tests."""

    out: Path = Field(description="where to write")
    hours: int = Field(ge=0, le=24, description="how long")


@pytest.fixture
def nap(tmp_path, monkeypatch):
    """A job whose `main` a test replaces."""
    (tmp_path / "nap.yaml").write_text("# Sleep\nout: ???\nhours: 1\n", encoding="utf-8")
    work = SimpleNamespace(Config=Nap, main=lambda config: config.out)
    monkeypatch.setattr(catalogue, "CONF", tmp_path)
    monkeypatch.setitem(cli.JOBS, "nap", cli.Job("Sleep", "lookalike nap out=bed"))
    monkeypatch.setattr(cli_, "module", lambda job: work)
    monkeypatch.chdir(tmp_path)
    yield work
    cli_.log.handlers.clear()


def raises(error):
    def main(config):
        raise error

    return main


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "lookalike", *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        **options,
    )


def test_the_last_line_is_the_result(nap, capsys):
    nap.main = lambda config: print("some", config.hours, "lines") or config.out
    assert cli_.main(["nap", "out=bed", "hours=2"]) == 0
    assert capsys.readouterr().out == "some 2 lines\nbed\n"
    nap.main = lambda config: None
    assert cli_.main(["nap", "out=bed"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["npa", "out=bed"], ["npa: no such job", "Did you mean nap?", "Jobs: prepare, prepare-split"]),
        (["out=bed"], ["a job comes first"]),
        (["--out", "bed"], ["a job comes first"]),
        (["nap", "--hours", "3"], ["Keys are written without dashes: hours=3"]),
        (["nap", "--hours=3"], ["hours=3"]),
        (["nap", "photo.jpg"], ["photo.jpg", "key=value", "lookalike nap out=bed"]),
        (["nap", "out=bed", "hours=25"], ["hours=25", "at most 24"]),
        (["nap", "out=bed", "hour=2"], ["Did you mean hours?"]),
        (["nap"], ["nap needs out=…"]),
        (["nap", "--help", "hour"], ["key=value"]),
    ],
)
def test_a_wrong_command_line_is_two_lines_and_exit_code_2(nap, capsys, arguments, words):
    nap.main = raises(AssertionError("the job must not start"))
    assert cli_.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) <= 2
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (LookalikeError("no luck"), 1, "no luck"),
        (ConfigError("wrong key"), 2, "wrong key"),
        (DataError("bad rows", [Problem("a.jpg", "empty", 3)]), 1, "a.jpg, row 3: empty"),
        (KeyboardInterrupt(), 1, "interrupted by Ctrl-C"),
        (KeyboardInterrupt("stopped; runs/mine holds epoch 3"), 1, "runs/mine holds epoch 3"),
        (
            OSError(errno.ENOSPC, "No space left on device", "run/model"),
            1,
            "disk is full: could not write run/model",
        ),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 1, "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "run"), 1, "run: Permission denied"),
    ],
)
def test_a_failed_job_says_why_in_plain_words(nap, capsys, error, code, said):
    nap.main = raises(error)
    assert cli_.main(["nap", "out=bed"]) == code
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in err
    assert out == ""
    assert cli_.main(["nap", "out=bed", "-v"]) == code
    assert "Traceback" in capsys.readouterr().err


def test_all_of_many_bad_rows_are_listed_where_asked_for(nap, capsys):
    nap.main = raises(DataError("bad rows", [Problem(f"{row}.jpg", "empty", row) for row in range(50)]))
    assert cli_.main(["nap", "out=bed"]) == 1
    err = capsys.readouterr().err
    assert "19.jpg" in err and "20.jpg" not in err
    assert err.endswith("… and 30 more\n  (-v lists all)\n")
    cli_.main(["nap", "out=bed", "-v"])
    assert "  49.jpg, row 49: empty" in capsys.readouterr().err


def test_two_words_may_be_one_job(nap, monkeypatch, capsys):
    monkeypatch.setitem(cli.JOBS, "nap-long", cli.Job("Sleep long", "lookalike nap long out=bed"))
    monkeypatch.setattr(cli_, "module", lambda job: SimpleNamespace(Config=Nap, main=lambda config: job))
    (catalogue.CONF / "nap-long.yaml").write_text("# Sleep long\nout: ???\nhours: 9\n", encoding="utf-8")
    for words in (["nap", "long"], ["nap-long"]):
        assert cli_.main([*words, "out=bed"]) == 0
        assert capsys.readouterr().out == "nap-long\n"
    assert cli_.main(["nap", "lang", "out=bed"]) == 2
    assert "Did you mean `lookalike nap long`?" in capsys.readouterr().err


def test_a_bug_is_written_to_a_file_and_shown_where_asked_for(nap, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    nap.main = raises(KeyError("nobody expected this"))
    assert cli_.main(["nap", "out=bed"]) == 1
    err = capsys.readouterr().err
    (file,) = tmp_path.glob("lookalike-error-*.log")
    assert len(err.splitlines()) == 1
    assert str(file) in err
    assert "Traceback" in file.read_text(encoding="utf-8")
    assert cli_.main(["nap", "out=bed", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "write",
    [
        lambda: Path("/dev/full").write_text("x", encoding="utf-8"),
        lambda: np.zeros(10**6).tofile("/dev/full"),
        lambda: np.save(Path("/dev/full").open("wb"), np.zeros(10**6)),  # noqa: SIM115
    ],
)
def test_a_full_disk_is_recognised(nap, capsys, write):
    nap.main = lambda config: write()
    assert cli_.main(["nap", "out=bed"]) == 1
    err = capsys.readouterr().err
    assert "the disk is full" in err
    assert "Traceback" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_an_error(tmp_path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lookalike", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=900,
        )
    assert done.returncode == 1
    assert "the disk is full" in done.stderr


def test_log_lines_go_to_stderr_whole(nap, capsys):
    def main(config):
        log = logging.getLogger("lookalike.somewhere")
        log.debug("details")
        log.info("a [bold] path %s", "x" * 300)
        log.warning("careful")

    nap.main = main
    assert cli_.main(["nap", "out=bed"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"a [bold] path {'x' * 300}\nwarning: careful\n"
    assert cli_.main(["nap", "out=bed", "--verbose"]) == 0
    assert capsys.readouterr().err.startswith("details\n")


def test_nothing_is_written_beside_the_job(nap, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert cli_.main(["nap", "out=bed"]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert Path.cwd() == tmp_path


def test_help_lists_the_jobs_in_the_order_of_the_data():
    done = run("--help")
    assert done.returncode == 0
    places = [done.stdout.index(f"\n  {job} ") for job in cli.JOBS]
    assert places == sorted(places)
    data_first = [job for job in cli.JOBS if not job.startswith("prepare-")]
    assert data_first[:4] == ["prepare", "clean", "preview", "train"]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_help_fits_the_terminal(columns):
    done = run("--help", env={**os.environ, "COLUMNS": columns})
    assert max(map(len, done.stdout.splitlines())) <= int(columns)


def test_without_a_job_there_is_help_and_an_error():
    done = run()
    assert done.returncode == 2
    assert "Usage:" in done.stderr


def test_version():
    assert run("--version").stdout.strip().count(".") == 2


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["train", "loss=triplet", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    """Seconds depend on the machine; what is imported does not."""
    code = (
        "import json, sys; from lookalike.cli.main import main; code = main(sys.argv[1:]);"
        "print(json.dumps([code, sorted({name.split('.')[0] for name in sys.modules})]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=900
    )
    exit_code, loaded = json.loads(done.stderr.splitlines()[-1])
    assert exit_code == 0
    assert not {"torch", "timm", "torchvision", "polars", "pyarrow", "matplotlib", "numpy"} & set(loaded)


def test_a_closed_pipe_is_no_traceback():
    with subprocess.Popen(
        [sys.executable, "-m", "lookalike", "train", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_own_modules_are_found_in_the_current_folder(tmp_path):
    text = "from torch import nn\n\n\nclass MyLoss(nn.Module):\n    def __init__(self, margin: float): ...\n"
    (tmp_path / "my_module.py").write_text(text, encoding="utf-8")
    add = ["+loss.mine._target_=my_module.MyLoss", "+loss.mine.margin=far"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lookalike")), "train", "dataset=d", "out=o", *add],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=900,
    )
    assert done.returncode == 2
    assert done.stderr == "lookalike: loss.mine.margin=far: must be a number\n"


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("epoch=3", "Did you mean epochs or keep_epochs?"),
        ("epochs=abc", "epochs=abc: must be a whole number"),
        ("epochs=-1", "at least 0"),
        ("loss=tripplet", "Did you mean triplet or soft_triple? Choices: adacos,"),
        ("loss=triplet loss.triplet.margn=1", "Did you mean margin or soft_margin?"),
        ("loss=triplet loss.triplet.margin=abc", "loss.triplet.margin=abc: must be a number"),
        ("loss=triplet loss.triplet.mining=batch_hrd", "Did you mean batch_hard?"),
        ("loss=[triplet,gor] epochs=x", "epochs=x"),
        ("backbone=resnet", "Choices: "),
    ],
)
def test_wrong_arguments_of_train(argument, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli_.main(["train", "dataset=d", "out=o", *argument.split()]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) <= 2
    assert not list(tmp_path.iterdir())
