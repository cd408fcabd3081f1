"""`lookalike train processes=2` as a user runs it: the model of one process, and plain words at its end."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file

import lookalike
from lookalike.training.checkpoint import Checkpoints, read_state

KEYS = {
    "backbone": "small_cnn",
    "backbone.channels": [8, 16],
    "image_size": 28,
    "dim": 16,
    "epochs": 2,
    "loss": ["contrastive", "arcface"],
    "memory": 40,
    "keep_statistics": True,
    "augment": "none",
    "sampler.classes_per_batch": 3,
    "sampler.samples_per_class": 3,
    "average": 0.5,
    "val_share": 0.3,
    "progress": False,
    "workers": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def dataset(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten classes; four images cannot be read."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    folder.mkdir()
    files = [str(file) for file in sorted(shapes_folder.glob("*/*.png"))]
    labels = [Path(file).parent.name for file in files]
    for number in (3, 20, 21, 60):
        files[number] = f"broken{number}.png"
        (folder / files[number]).write_bytes(b"no picture")
    table = {"path": files, "label": labels, "split": ["train"] * len(files)}
    pl.DataFrame(table).write_parquet(folder / "table.parquet")
    return folder


def words(values: dict[str, object]) -> list[str]:
    return [f"{key}={value}".replace("'", "").replace(" ", "") for key, value in values.items()]


def command(dataset: Path, out: Path, *more: str, start: tuple[str, ...] = ()) -> list[str]:
    job = ["-m", "lookalike", "train", f"dataset={dataset}", f"out={out}", *words(KEYS), *more]
    return [sys.executable, *(("-m", *start) if start else ()), *job]


def do(asked: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(asked, check=False, capture_output=True, text=True, cwd=cwd, timeout=900)


@pytest.fixture(scope="module")
def one(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lookalike.train(dataset, tmp_path_factory.mktemp("runs") / "one", **KEYS).folder


@pytest.fixture(scope="module")
def two(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lookalike.train(dataset, tmp_path_factory.mktemp("runs") / "two", processes=2, **KEYS).folder


def state(run: Path) -> dict:
    return read_state(Checkpoints(run / "state").all()[-1])


def assert_close(found: dict, expected: dict, bound: float) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        difference = (found[name].double() - values.double()).abs().max()
        assert difference <= bound, (name, difference)


def test_two_processes_train_the_model_of_one(one, two):
    proxies = "losses.arcface.proxies"
    found = [{**state(run)["model"], proxies: state(run)["loss"][proxies]} for run in (one, two)]
    assert_close(found[1], found[0], 1e-5)
    kept = [load_file(run / "model" / "model.safetensors") for run in (one, two)]
    assert_close(kept[1], kept[0], 1e-5)
    histories = [pl.read_csv(run / "history.csv") for run in (one, two)]
    assert histories[0].columns == histories[1].columns
    for name in ("loss", "val_loss_contrastive", "val_map@r"):
        assert histories[1][name].to_list() == pytest.approx(histories[0][name].to_list(), abs=1e-3)


def test_what_any_process_cannot_read_is_told_once(one, two):
    skipped = [pl.read_csv(run / "skipped.csv").sort("path")["path"].to_list() for run in (one, two)]
    assert skipped[0] == skipped[1]
    assert [Path(path).name for path in skipped[0]] == [f"broken{number}.png" for number in (20, 21, 3, 60)]
    assert len(skipped[0]) == json.loads((two / "summary.json").read_text())["skipped"]


def test_only_the_main_process_writes(one, two):
    listed = [{str(file.relative_to(run)) for file in run.rglob("*")} for run in (one, two)]
    assert listed[0] == listed[1]
    assert json.loads((two / "summary.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_torchrun_does_the_same(dataset, two, tmp_path):
    start = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = do(command(dataset, tmp_path / "run", start=start))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "run")]
    assert done.stderr.count("epoch 1 of 2") == 1
    assert_close(state(tmp_path / "run")["model"], state(two)["model"], 0)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["processes"], summary["epochs"]) == ("finished", 2, 2)
    assert lookalike.load(tmp_path / "run").dim == KEYS["dim"]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_another_number_of_processes_may_go_on(dataset, tmp_path, first, then, caplog, capfd):
    out = tmp_path / "run"
    lookalike.train(dataset, out, **{**KEYS, "epochs": 1, "processes": first})
    more = {"processes": then, "resume.allow": ["epochs", "scheduler"]}
    with caplog.at_level("INFO", "lookalike"):
        lookalike.train(dataset, out, **{**KEYS, **more})
    said = caplog.text + capfd.readouterr().err  # of this process, or of those that it started
    assert f"started with {first} processes and continues with {then}" in said
    assert said.count("resuming in epoch 2") == 1
    assert pl.read_csv(out / "history.csv")["epoch"].to_list() == [1, 2]


BREAKS = """
import os
from pathlib import Path
from lookalike.data.transforms import Resize
from lookalike.errors import LookalikeError

class Breaks(Resize):
    seen = 0

    def __call__(self, image):
        Breaks.seen += 1
        if Breaks.seen == 60 and os.environ["RANK"] == "1":
            Path("broken").touch()
            {how}
        return super().__call__(image)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raise LookalikeError('the camera is off')", "lookalike: the camera is off"),
        ("os.kill(os.getpid(), 9)", "lookalike: process 1 of 0 to 1 was killed by SIGKILL"),
    ],
)
def test_one_that_dies_ends_the_others_within_a_minute_and_its_error_is_told_once(
    dataset, tmp_path, how, told
):
    (tmp_path / "my_breaks.py").write_text(BREAKS.format(how=how))
    asked = command(dataset, tmp_path / "run", "processes=2", "augment._target_=my_breaks.Breaks", "epochs=9")
    done = do(asked, cwd=tmp_path)
    assert time.time() - (tmp_path / "broken").stat().st_mtime < 60
    assert done.returncode == 1, done.stderr
    assert done.stderr.count(told) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "run the same command again to resume" in done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 1)])
def test_asked_to_stop_all_save_and_the_same_command_goes_on(dataset, tmp_path, number, code):
    run = tmp_path / "run"
    asked = command(dataset, run, "processes=2", "epochs=40")
    process = subprocess.Popen(asked, stderr=subprocess.PIPE, text=True)
    while not Checkpoints(run / "state").all():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, told = process.communicate(timeout=900)
    assert process.returncode == code, told
    assert told.count("run the same command again to resume") == 1, told
    assert "Traceback" not in told
    if number == signal.SIGINT:
        return
    at = state(run)["position"]
    process = subprocess.Popen(asked, stderr=subprocess.PIPE, text=True)
    while state(run)["position"] == at:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert "everyone" in state(run) and len(state(run)["everyone"]) == 2


@pytest.mark.slow
def test_a_run_that_another_trains_is_refused_once(dataset, tmp_path):
    run = tmp_path / "run"
    asked = command(dataset, run, "processes=2", "epochs=400")
    first = subprocess.Popen(asked, stderr=subprocess.DEVNULL)
    while not Checkpoints(run / "state").all():
        assert first.poll() is None
        time.sleep(0.05)
    second = do(asked)
    first.kill()
    first.wait()
    assert second.returncode == 1
    (refusal,) = [line for line in second.stderr.splitlines() if "is training into" in line]
    assert re.search(r"process \d+ on \S+, since \S+, is training into .*run; wait for its end", refusal)
