"""What trackers get is read back with their own tools; nothing leaves this machine; none can end a run."""

import json
import os
import socket
import struct
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from lookalike.config import catalogue
from lookalike.errors import ConfigError, LookalikeError
from lookalike.trackers.group import Trackers, check_every, plain_value, require_package

CONFIG = {
    "lr": 0.1,
    "loss": {"triplet": {"_target_": "x.Y", "margin": 0.2}},
    "freeze": [],
    "out": "runs/日本",
}
ROW = {
    "epoch": 1,
    "loss": 0.5,
    "val_recall@1": 0.25,
    "lr_a:b": float("nan"),
    "date": "2026",
    "notes": "=look",
}


@pytest.fixture(autouse=True)
def nothing_is_sent(monkeypatch):
    """Fail a test that reaches out, be it caught or not."""
    tried = []
    original = socket.socket.connect

    def connect(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
            tried.append(address)
            raise OSError("no network in tests")
        return original(self, address)

    def resolve(host, *rest, **more):
        tried.append(host)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield
    assert [each for each in tried if each not in ("127.0.0.1", "localhost")] == []


def built(name, **changes):
    from lookalike.config import build

    node = yaml.safe_load((catalogue.CONF / "tracker" / f"{name}.yaml").read_text())[name]
    return Trackers({name: build({**node, "every": 2, **changes})})


def follow(trackers, folder, first=1, status="finished"):
    """A run of four steps and an epoch."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (40, 30), "red").save(folder / "first_batch.png")
    trackers.start(folder, CONFIG, first - 1)
    if first == 1:
        trackers.log_image("first_batch", folder / "first_batch.png")
    for step in range(first, first + 4):
        trackers.log_step(lambda step=step: 1.0 / step, step)
    trackers.log_epoch({**ROW, "epoch": first // 4 + 1}, first + 3)
    trackers.finish(status)


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    follow(built("tensorboard"), tmp_path / "run")
    follow(built("tensorboard"), tmp_path / "run", first=5)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "step/loss",
        "epoch/epoch",
        "epoch/loss",
        "epoch/val_recall_at_1",
    }
    assert [(each.step, each.value) for each in events.Scalars("step/loss")] == [
        (2, 0.5),
        (4, 0.25),
        (6, pytest.approx(1 / 6)),
        (8, 0.125),
    ]
    assert events.Images("first_batch")[0].width == 40
    texts = {
        tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]
    }
    assert texts["notes/text_summary"] == "=look"
    assert '"margin": 0.2' in texts["config/text_summary"]
    assert "runs/日本" in texts["config/text_summary"]


def test_tensorboard_goes_on_where_the_checkpoint_was(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    follow(built("tensorboard"), tmp_path / "run", status="stopped")
    follow(built("tensorboard"), tmp_path / "run", first=3)  # killed after step 4, saved after step 2
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [each.step for each in events.Scalars("step/loss")] == [2, 4, 6]


def test_mlflow(tmp_path):
    pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    from mlflow import MlflowClient

    follow(built("mlflow"), tmp_path / "run", status="failed")
    client = MlflowClient((tmp_path / "run" / "mlruns").as_uri())
    (experiment,) = [each for each in client.search_experiments() if each.name == "lookalike"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    follow(built("mlflow"), tmp_path / "run", first=5)
    (again,) = client.search_runs([experiment.experiment_id])
    assert (again.info.run_id, again.info.status, again.info.run_name) == (run.info.run_id, "FINISHED", "run")
    assert again.data.params["loss.triplet.margin"] == "0.2"
    told = client.get_metric_history(run.info.run_id, "step/loss")
    assert [(each.step, each.value) for each in told] == [(2, 0.5), (4, 0.25), (6, 1 / 6), (8, 0.125)]
    assert again.data.metrics["epoch/val_recall_at_1"] == 0.25
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {"first_batch.png", "notes"}


def test_mlflow_elsewhere(tmp_path):
    pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    follow(built("mlflow", uri=str(tmp_path / "all")), tmp_path / "run")
    follow(built("mlflow", uri=str(tmp_path / "all")), tmp_path / "other")
    assert not (tmp_path / "run" / "mlruns").exists()
    ids = {json.loads((tmp_path / name / "trackers.json").read_text())["mlflow"] for name in ("run", "other")}
    assert {path.name for path in (tmp_path / "all").glob("*/*")} >= ids


def wandb_records(file):
    """The records of a .wandb file: a LevelDB log of blocks of 32 KiB behind a header of 7 bytes."""
    data, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts, at = parts + data[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def test_wandb_offline(tmp_path):
    pytest.importorskip("wandb", reason="wandb is not installed")
    from wandb.proto.wandb_internal_pb2 import Record

    follow(built("wandb"), tmp_path / "run")
    (place,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    records = []
    for _ in range(200):  # another process writes the file, and may still do so when the run has ended
        records = [Record.FromString(data) for data in wandb_records(next(place.glob("*.wandb")))]
        if records and records[-1].HasField("exit"):
            break
        time.sleep(0.1)
    told = {}
    for record in records:
        for item in record.history.item:
            told.setdefault("/".join(item.nested_key) or item.key, []).append(json.loads(item.value_json))
    assert told["step/loss"] == [0.5, 0.25]
    assert told["epoch/val_recall@1"] == [0.25]
    assert told["notes"] == ["=look"]
    assert list(place.glob("files/media/images/first_batch*.png"))
    known = json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]
    follow(built("wandb"), tmp_path / "run", first=5)
    assert all(path.name.endswith(known) for path in (tmp_path / "run" / "wandb").glob("offline-run-*"))


def test_trackio(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("HF_TOKEN", "hf_nothing_is_asked_with_this")
    pytest.importorskip("trackio", reason="trackio is not installed")
    from trackio.sqlite_storage import SQLiteStorage

    follow(built("trackio"), tmp_path / "run")
    follow(built("trackio"), tmp_path / "run", first=5)
    (name,) = SQLiteStorage.get_runs("lookalike")
    logs = SQLiteStorage.get_logs("lookalike", name)
    assert [log["step/loss"] for log in logs if "step/loss" in log] == [
        0.5,
        0.25,
        pytest.approx(1 / 6),
        0.125,
    ]
    assert [log["epoch/val_recall@1"] for log in logs if "epoch/val_recall@1" in log] == [0.25, 0.25]
    assert list((tmp_path / "trackio" / "media").rglob("*.png"))


class Broken:
    """Fails at one of its calls."""

    every = 1

    def __init__(self, at):
        self.at, self.calls = at, []

    def __getattr__(self, name):
        def call(*_):
            self.calls.append(name)
            if name == self.at:
                raise RuntimeError("server\ngone")

        return call


def test_a_tracker_that_fails_is_left_out_and_the_others_go_on(tmp_path, caplog):
    broken, sound = Broken("log_numbers"), Broken(None)
    follow(Trackers({"broken": broken, "sound": sound}), tmp_path / "run")
    assert broken.calls == ["start", "log_image", "log_numbers"]
    assert sound.calls == ["start", "log_image", *["log_numbers"] * 5, "log_text", "finish"]
    assert (
        caplog.text.count("tracker=broken failed and is disabled for the rest of the run: server gone") == 1
    )


def test_a_tracker_that_cannot_begin_stops_the_run_before_training(tmp_path):
    with pytest.raises(LookalikeError, match="tracker=broken cannot start: server gone"):
        follow(Trackers({"broken": Broken("start")}), tmp_path / "run")


def test_without_trackers_or_start_nothing_happens(tmp_path):
    follow(Trackers({}), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["first_batch.png"]
    silent = Broken(None)
    trackers = Trackers({"silent": silent})
    trackers.log_step(lambda: 1 / 0, 1)
    trackers.finish("failed")
    assert silent.calls == []


def test_the_loss_is_fetched_only_when_it_is_wanted(tmp_path):
    tracker = Broken(None)
    tracker.every = 5
    trackers = Trackers({"seldom": tracker})
    trackers.start(tmp_path, CONFIG)
    fetched = []
    for step in range(1, 21):
        trackers.log_step(lambda step=step: fetched.append(step) or float("nan"), step)
    assert fetched == [5, 10, 15, 20]
    assert tracker.calls == ["start"]  # a loss that is no number is not told


def test_names_and_wishes_are_checked():
    assert plain_value("val_recall@1") == "val_recall_at_1"
    assert plain_value("lr:α b/c.d") == "lr__ b/c.d"
    with pytest.raises(
        ConfigError, match=r"tracker=x requires additional packages: pip install 'lookalike\[track\]'"
    ):
        require_package("no_such_package", "x")
    with pytest.raises(ValueError, match="every=0"):
        check_every("x", 0)
    for name in ("tensorboard", "wandb", "mlflow", "trackio"):
        with pytest.raises(ConfigError, match=r"every=0: must be at least 1"):
            built(name, every=0)


def test_a_run_tells_its_tracker_everything(shapes_folder, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tests.training.test_run import SMALL

    import lookalike

    keys = {**SMALL, "tracker": "tensorboard", "tracker.tensorboard.every": 1, "val_share": 0.3}
    prepared = prepare(shapes_folder, tmp_path / "data")
    lookalike.train(prepared, tmp_path / "run", **keys)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    steps = [each.step for each in events.Scalars("step/loss")]
    assert steps == list(range(1, len(steps) + 1))
    assert len(events.Scalars("epoch/val_map_at_r")) == 2
    assert events.Scalars("epoch/rows")[0].value > 0
    assert events.Tags()["images"] == ["first_batch"]


def test_a_missing_package_is_said_before_anything_is_trained(tmp_path, monkeypatch):
    import lookalike

    monkeypatch.setattr("lookalike.trackers.group.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'lookalike\[track\]'"):
        lookalike.train(tmp_path / "no data", tmp_path / "run", tracker=["mlflow"])
    assert not (tmp_path / "run").exists()


def prepare(photos: Path, folder: Path) -> Path:
    import polars as pl

    folder.mkdir()
    files = sorted(photos.glob("*/*.png"))
    rows = [{"path": os.fspath(file), "label": file.parent.name, "split": "train"} for file in files]
    pl.DataFrame(rows).write_csv(folder / "table.csv")
    return folder
