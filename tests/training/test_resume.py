"""A run that was killed goes on and ends as one that was never interrupted, to the last bit."""

import copy
import json
import multiprocessing as mp
import os
import random
import shutil
import signal
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import polars as pl
import pytest
import torch

import lookalike
from lookalike.cli._train_settings import default_values
from lookalike.cli.train import Config
from lookalike.config import load
from lookalike.errors import ConfigError, LookalikeError
from lookalike.training.checkpoint import Checkpoints, read_state, write_state
from lookalike.training.resume import differences

TIMES = {"minutes", "images_per_second", "date"}
KEYS = [
    "backbone=small_cnn",
    "backbone.channels=[8,16]",
    "head=batch_norm",
    "image_size=28",
    "dim=16",
    "epochs=4",
    "loss=[contrastive,arcface]",
    "memory=16",
    "class_sample=0.7",
    "sampler.classes_per_batch=4",
    "sampler.samples_per_class=3",
    "val_share=0.3",
    "progress=false",
    "workers=0",
    "device=cpu",
    "save_minutes=0.0001",
]


@pytest.fixture(scope="module")
def dataset(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    folder.mkdir()
    files = sorted(shapes_folder.glob("*/*.png"))
    labels = [file.parent.name for file in files]
    frame = pl.DataFrame(
        {"path": [str(file) for file in files], "label": labels, "split": ["train"] * len(files)}
    )
    frame.write_parquet(folder / "table.parquet")
    return folder


def command(dataset: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "lookalike", "train", f"dataset={dataset}", f"out={out}", *KEYS, *more]


def end_state(out: Path) -> dict[str, object]:
    """What must not depend on interruptions: weights, history and the last state."""
    state = read_state(Checkpoints(out / "state").all()[-1])
    history = pl.read_csv(out / "history.csv").drop(TIMES, strict=False)
    for row in state["history"]:
        for name in TIMES:
            row.pop(name)
    state["result"].pop("minutes")
    return {
        "model": (out / "model" / "model.safetensors").read_bytes(),
        "history": history.rows(),
        "state": state,
    }


def assert_same(found: object, expected: object, where: str = "") -> None:
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for number, value in enumerate(expected):
            assert_same(found[number], value, f"{where}/{number}")
    else:
        assert found == expected, where


def run_command(arguments: list[str], told: Path | None) -> None:
    from lookalike.cli.main import main

    if told is not None:
        os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.exit(main(arguments))


@pytest.fixture(scope="module", autouse=True)
def loaded_server():
    """A fork server that has imported what is slow, in place of one that other tests have started."""
    forkserver._forkserver._stop()
    loaded = ["torch._dynamo", "lookalike.training.run", "lookalike.cli.train", "lookalike.config"]
    mp.get_context("forkserver").set_forkserver_preload(loaded)
    yield
    forkserver._forkserver._stop()


def start(*words: str, told: Path | None = None) -> mp.process.BaseProcess:
    """The command in a process of its own, forked from the server; what it says goes to the file `told`."""
    process = mp.get_context("forkserver").Process(target=run_command, args=(words, told))
    process.start()
    return process


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory) -> tuple[Path, float]:
    """The run that was never interrupted, and how many seconds it took."""
    out = tmp_path_factory.mktemp("whole") / "run"
    start("--version").join()
    started, process = time.monotonic(), start(*command(dataset, out)[3:])
    process.join()
    assert process.exitcode == 0
    return out, time.monotonic() - started


KILLS = 10


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(dataset, whole, tmp_path):
    out, seconds = whole
    moments, run = random.Random(0), tmp_path / "run"
    order = list(range(KILLS))
    moments.shuffle(order)  # one kill in each part of a run
    for kills in order:
        process = start(*command(dataset, run)[3:])
        process.join(seconds * (0.1 + 0.9 * (kills + moments.random()) / KILLS))
        process.kill()
        process.join()
        if process.exitcode == 0:
            assert_same(end_state(run), end_state(out))
            run = tmp_path / f"run{kills}"
    process = start(*command(dataset, run)[3:])
    process.join()
    assert process.exitcode == 0
    assert_same(end_state(run), end_state(out))


def wait_for_checkpoint(run: Path) -> None:
    for _ in range(9000):
        if Checkpoints(run / "state").all():
            return
        time.sleep(0.1)
    raise AssertionError("no checkpoint within a quarter of an hour")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 1)])
def test_asked_to_stop_it_saves_and_the_same_command_goes_on(dataset, whole, tmp_path, number, code):
    run = tmp_path / "run"
    told = tmp_path / "told"
    process = start(*command(dataset, run)[3:], told=told)
    wait_for_checkpoint(run)
    os.kill(process.pid, number)
    process.join(900)
    assert process.exitcode == code, told.read_text()
    assert "run the same command again to resume" in told.read_text()
    second = start(*command(dataset, run)[3:], told=told)
    second.join()
    assert second.exitcode == 0, told.read_text()
    assert "resuming in epoch" in told.read_text()
    assert_same(end_state(run), end_state(whole[0]))


@pytest.mark.slow
def test_another_process_in_the_same_folder_is_refused(dataset, tmp_path):
    run = tmp_path / "run"
    asked, told = command(dataset, run, "epochs=4000")[3:], tmp_path / "told"
    first = start(*asked)
    wait_for_checkpoint(run)
    second = start(*asked, told=told)
    second.join()
    first.kill()
    first.join()
    assert second.exitcode == 1
    assert f"process {first.pid} on " in told.read_text() and f"is training into {run}" in told.read_text()


def train(dataset, out, *more):
    from lookalike.cli.train import Config, main
    from lookalike.config import load

    return main(load("train", Config, [f"dataset={dataset}", f"out={out}", *KEYS, "epochs=2", *more]))


def test_a_finished_run_is_left_alone_and_may_be_continued_longer(dataset, tmp_path, caplog):
    out = tmp_path / "run"
    train(dataset, out)
    before = (out / "model" / "model.safetensors").stat().st_mtime_ns
    with caplog.at_level("INFO", logger="lookalike"):
        train(dataset, out)
    assert "is finished: nothing to do" in caplog.text
    assert (out / "model" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"(?s)epochs: 2 then, 3 now.*resume.allow=\[epochs\]"):
        train(dataset, out, "epochs=3")
    train(dataset, out, "epochs=3", "resume.allow=[epochs]")
    assert pl.read_csv(out / "history.csv")["epoch"].to_list() == [1, 2, 3]
    assert json.loads((out / "summary.json").read_text())["epochs"] == 3


def test_other_values_or_images_are_refused(dataset, tmp_path):
    out = tmp_path / "run"
    train(dataset, out)
    with pytest.raises(ConfigError, match=r"lr: 0.001 then, 0.005 now"):
        train(dataset, out, "lr=0.005")
    with pytest.raises(ConfigError, match=r"resume.allow: nonsense: train has no such key"):
        train(dataset, out, "lr=0.005", "resume.allow=[nonsense]")
    table = lookalike.read_table(dataset)
    other = tmp_path / "other"
    other.mkdir()
    table.frame.gather_every(2).write_parquet(other / "table.parquet")
    with pytest.raises(ConfigError, match="was started with other training images"):
        train(other, out, "epochs=3", "resume.allow=[epochs,dataset]")


def test_a_folder_that_is_no_run_is_refused(dataset, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("precious")
    with pytest.raises(LookalikeError, match="never overwritten"):
        train(dataset, out)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": torch.ones(3)})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lookalike.training.checkpoint.save_file", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(2, {"a": torch.zeros(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["000000000001"]
    assert torch.equal(checkpoints.latest()["a"], torch.ones(3))


def test_the_last_two_are_kept_and_what_a_crash_left_is_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 30):
        checkpoints.save(step, {"step": step})
    (tmp_path / ".000000000031.7.partial").mkdir()
    assert checkpoints.latest() == {"step": 30}
    assert [path.name for path in checkpoints.all()] == ["000000000002", "000000000030"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000002", "000000000030"]


def test_a_state_comes_back_as_it_was(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    state = {
        "floats": [0.1, float("inf"), -1e-300],
        "keys": {0: "int", "0": "text", (1, "a"): None},
        "tensors": {
            "bf16": shared.bfloat16(),
            "view": shared.T,
            "same": shared,
            "long": torch.tensor(2**63 - 1),
        },
        "nested": [{"empty": {}, "flag": True}, (1, [2, (3,)])],
    }
    write_state(tmp_path, state)
    assert_same(read_state(tmp_path), state)
    (tmp_path / "tensors.safetensors").write_bytes(b"short")
    with pytest.raises(LookalikeError, match=r"cannot be read \("):
        read_state(tmp_path)


def test_differences_name_dotted_keys_and_leave_out_what_changes_nothing():
    old = {"lr": 1.0, "loss": {"a": {"margin": 0.1}}, "workers": 0, "out": "a"}
    new = {"lr": 1.0, "loss": {"b": {"margin": 0.1}}, "workers": 4, "out": "b"}
    assert differences(old, new) == {"loss.a.margin": (0.1, None), "loss.b.margin": (None, 0.1)}


def test_keys_that_an_older_run_lacks_count_as_their_defaults():
    config = load("train", Config, ["dataset=d", "out=o", "loss=[triplet]"])
    defaults, now = default_values(config), config.model_dump(mode="json")
    old = copy.deepcopy(now)
    for lost in ("keep_epochs", "patience", "freeze", "rates"):
        del old[lost]
    del old["loss"]["triplet"]["margin"], old["optimizer"]["betas"], old["augment"]["grain"]
    assert differences(old, now, defaults) == {}
    now["keep_epochs"], now["loss"]["triplet"]["margin"] = "all", 0.7
    assert differences(old, now, defaults) == {
        "keep_epochs": ("best", "all"),
        "loss.triplet.margin": (defaults["loss.triplet.margin"], 0.7),
    }
    old["loss"] = {"triplet": {"_target_": "lookalike.losses.margin.Margin"}}
    assert differences(old, now, defaults)["loss.triplet.margin"] == (None, 0.7)


def test_a_dataset_folder_is_not_taken_for_a_run(dataset):
    before = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
    with pytest.raises(LookalikeError, match="exists; finished results are never overwritten"):
        lookalike.train(dataset, dataset, backbone="small_cnn", epochs=1)
    assert before == {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kept", [1, 2])
def test_a_damaged_checkpoint_is_named_and_nothing_else_is_changed(dataset, tmp_path, kept, monkeypatch):
    out = tmp_path / "run"
    train(dataset, out)
    (out / "summary.json").unlink()
    oldest, newest = Checkpoints(out / "state").all()
    if kept == 1:
        shutil.rmtree(oldest)
    (newest / "tensors.safetensors").write_bytes(b"short")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    then = "begin anew" if kept == 1 else f"go on from {oldest.name}"
    with pytest.raises(LookalikeError, match=rf"{newest.name} cannot be read .*Remove this folder to {then}"):
        train(dataset, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    shutil.rmtree(newest)
    train(dataset, out)
    assert json.loads((out / "summary.json").read_text())["status"] == "finished"


def test_a_damaged_run_folder_is_one_plain_error(dataset, tmp_path):
    out = tmp_path / "run"
    train(dataset, out)
    whole = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def damage_file(file: Path, content: bytes, said: str) -> None:
        file.write_bytes(content)
        with pytest.raises(LookalikeError, match=said):
            train(dataset, out)
        file.write_bytes(whole[file])

    damage_file(out / "summary.json", b"{", r"summary.json is damaged \(.*another out=")
    damage_file(out / "config.yaml", b"", r"config.yaml is damaged \(empty")
    damage_file(out / "config.yaml", b"[", r"config.yaml is damaged \(")
    damage_file(out / "model" / "model.safetensors", b"short", r"is finished, but its model cannot be read")
    (out / "config.yaml").unlink()
    with pytest.raises(LookalikeError, match=r"holds a run without its config.yaml"):
        train(dataset, out)
    (out / "config.yaml").write_bytes(whole[out / "config.yaml"])
    with pytest.raises(ConfigError, match="all of its 2 epochs are done"):
        train(dataset, out, "epochs=1", "resume.allow=[epochs]")
    shutil.rmtree(out / "state")
    with pytest.raises(LookalikeError, match=r"holds a run without its checkpoints, state/,"):
        train(dataset, out)
