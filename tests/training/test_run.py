"""A whole training on drawn shapes: what it writes, what it keeps when stopped, and what it refuses."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import lookalike
from lookalike.errors import ConfigError, DataError, LookalikeError
from lookalike.training.loop import describe_progress

SMALL = {
    "backbone": "small_cnn",
    "backbone.channels": [8, 16],
    "image_size": 28,
    "dim": 16,
    "epochs": 2,
    "sampler.classes_per_batch": 4,
    "sampler.samples_per_class": 4,
    "progress": False,
    "workers": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def dataset(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes: eight classes to train on, two to test with; `train` sets validation classes aside."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    folder.mkdir()
    files = sorted(shapes_folder.glob("*/*.png"))
    labels = [file.parent.name for file in files]
    unseen = sorted(set(labels))[:2]
    split = ["test" if label in unseen else "train" for label in labels]
    frame = pl.DataFrame({"path": [str(file) for file in files], "label": labels, "split": split})
    frame.write_parquet(folder / "table.parquet")
    return folder


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert lookalike.train(dataset, out, val_share=0.3, **SMALL).folder == out
    return out


def test_the_run_folder_tells_what_happened(run):
    files = {"config.yaml", "first_batch.png", "history.csv", "history.xlsx", "curves.png", "summary.json"}
    files |= {"image_uses.csv", "uses.png"}
    assert files | {"model", "state"} == {f.name for f in run.iterdir()}
    history = pl.read_csv(run / "history.csv")
    assert history["epoch"].to_list() == [1, 2]
    assert {"loss", "val_loss", "lr_backbone", "lr_head", "val_recall@1", "val_map@r", "minutes"} <= set(
        history.columns
    )
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["epochs"], summary["validation_classes"]) == ("finished", 2, 2)


def test_the_saved_model_scores_what_training_reported(run, dataset):
    from lookalike.data.datasets import split_validation

    table = split_validation(lookalike.read_table(dataset), 0.3, 0).split("val")
    embeddings = lookalike.embed(lookalike.load(run), table, progress=False)
    scores = lookalike.evaluate(embeddings.vectors, table.labels, intervals=False).metrics
    history = pl.read_csv(run / "history.csv")
    assert scores["map@r"]["value"] == pytest.approx(history["val_map@r"].max(), abs=1e-5)


def test_training_identities_and_validation_identities_are_apart(dataset):
    from lookalike.data.datasets import split_validation

    table = lookalike.read_table(dataset)
    first, again = (split_validation(table, 0.3, 7).frame for _ in range(2))
    other = split_validation(table, 0.3, 8).frame
    assert first.equals(again)
    assert not first.equals(other)
    labels = {split: set(first.filter(split=split)["label"]) for split in ("train", "val", "test")}
    assert len(labels["val"]) == 2
    assert not labels["val"] & labels["train"]
    assert split_validation(table, 0.0, 0).frame.equals(table.frame)


def test_the_same_seed_trains_the_same_model(dataset, run, tmp_path):
    lookalike.train(dataset, tmp_path / "again", val_share=0.3, **SMALL)
    lookalike.train(dataset, tmp_path / "other", val_share=0.3, **{**SMALL, "seed": 1})
    assert lookalike.load(tmp_path / "again").space == lookalike.load(run).space
    assert lookalike.load(tmp_path / "other").space != lookalike.load(run).space


def test_proxies_average_small_images_and_several_losses(dataset, tmp_path):
    keys = {"loss": ["proxy_anchor", "gor"], "average": 0.9, "small_size": 20, "small_share": 0.5}
    lookalike.train(dataset, tmp_path / "run", val_share=0, **SMALL, **keys)
    history = pl.read_csv(tmp_path / "run" / "history.csv")
    assert {"loss_proxy_anchor", "loss_gor", "lr_loss"} <= set(history.columns)
    assert history["loss"].to_list() == pytest.approx(
        (history["loss_proxy_anchor"] + history["loss_gor"]).to_list(), rel=1e-4
    )
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["best_epoch"] == 2


def test_training_learns(dataset, tmp_path):
    keys = {**SMALL, "epochs": 12, "lr": 0.01, "backbone_lr": 0.003, "augment": "none"}
    lookalike.train(dataset, tmp_path / "run", val_share=0, **keys)
    losses = pl.read_csv(tmp_path / "run" / "history.csv")["loss"]
    assert losses[-1] < 0.6 * losses[0]


def test_zero_epochs_keep_the_untrained_model(dataset, tmp_path):
    lookalike.train(dataset, tmp_path / "run", **{**SMALL, "epochs": 0})
    vectors = lookalike.load(tmp_path / "run").embed([np.zeros((28, 28), np.uint8)])
    assert vectors.shape == (1, 16)


def test_frozen_parts_stay_as_they_were(dataset, tmp_path):
    keys = {**SMALL, "freeze": ["backbone"], "epochs": 0}
    lookalike.train(dataset, tmp_path / "before", **keys)
    lookalike.train(dataset, tmp_path / "after", **{**keys, "epochs": 2})
    before = lookalike.load(tmp_path / "before").state_dict()
    after = lookalike.load(tmp_path / "after").state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {"head.layer.weight", "head.layer.bias"}


def test_unreadable_images_are_left_out_and_listed(dataset, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    frame = pl.read_parquet(dataset / "table.parquet")
    label = frame.filter(split="train")["label"][0]
    bad = pl.DataFrame({"path": [str(tmp_path / "bad.png")], "label": [label], "split": ["train"]})
    (tmp_path / "data").mkdir()
    pl.concat([bad, frame]).write_parquet(tmp_path / "data" / "table.parquet")
    lookalike.train(tmp_path / "data", tmp_path / "run", val_share=0, **SMALL)
    skipped = pl.read_csv(tmp_path / "run" / "skipped.csv")
    assert skipped["path"].to_list() == [str(tmp_path / "bad.png")]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["skipped"] == 1


def test_a_run_folder_is_never_overwritten(run, dataset):
    with pytest.raises(ConfigError, match=r"(?s)with other values:.*val_share: 0.3 then, 0.1 now"):
        lookalike.train(dataset, run, **SMALL)


def test_a_metric_that_does_not_exist_leaves_nothing_behind(dataset, tmp_path):
    with pytest.raises(ConfigError, match=r"best_metric=map.*map@r"):
        lookalike.train(dataset, tmp_path / "run", val_share=0.3, best_metric="mapr", **SMALL)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_explodes_says_what_to_do_and_leaves_only_the_batches(dataset, tmp_path, monkeypatch):
    from lookalike.losses.modifiers import Terms

    monkeypatch.setattr(Terms, "forward", lambda self, embeddings, labels: embeddings.sum() * float("nan"))
    with pytest.raises(LookalikeError, match="Lower the learning rates"):
        lookalike.train(dataset, tmp_path / "run", val_share=0, **SMALL)
    assert len(list((tmp_path / "run" / "bad_batches").iterdir())) == 3
    assert not (tmp_path / "run" / "model").exists()


def test_a_full_disk_keeps_the_best_model(dataset, tmp_path, monkeypatch):
    from lookalike.training import validation

    saved = []

    def save(model, folder, card_text=""):
        if not folder.is_relative_to(tmp_path / "run"):
            original(model, folder, card_text)  # of the dry run
            return
        if saved:
            raise OSError(28, "No space left on device", str(folder))
        saved.append(model.space)
        original(model, folder, card_text)

    original = validation.EmbeddingModel.save
    monkeypatch.setattr(validation.EmbeddingModel, "save", save)
    with pytest.raises(OSError, match="No space left"):
        lookalike.train(dataset, tmp_path / "run", val_share=0, **SMALL)
    assert lookalike.load(tmp_path / "run").space == saved[0]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "stopped"


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_model_so_far(dataset, tmp_path):
    keys = [f"{name}={value}" for name, value in {**SMALL, "epochs": 10000}.items()]
    command = [
        sys.executable,
        "-m",
        "lookalike",
        "train",
        f"dataset={dataset}",
        f"out={tmp_path / 'run'}",
        *keys,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "run" / "model" / "config.json", process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=900)[1]
    assert process.returncode == 1
    assert "stopped by Ctrl-C" in message
    assert "is kept in" in message
    assert "Traceback" not in message
    assert lookalike.load(tmp_path / "run").dim == 16


def wait_for(file: Path, process: subprocess.Popen, seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"{file} did not appear"
        time.sleep(0.1)


def test_several_datasets_must_not_share_labels(dataset, tmp_path):
    from lookalike.data.datasets import read_datasets

    with pytest.raises(DataError, match="is in both"):
        read_datasets([str(dataset), f"{dataset}/table.parquet"], Path())
    with pytest.raises(LookalikeError, match="no such folder"):
        read_datasets("nowhere", tmp_path)
    (tmp_path / "mine").symlink_to(dataset)
    assert len(read_datasets("mine", tmp_path)) == 80


def test_half_precision_after_full_precision_in_one_process_and_chunks_train(dataset, tmp_path, caplog):
    keys = {**SMALL, "epochs": 1, "sampler.classes_per_batch": 6}
    lookalike.train(dataset, tmp_path / "full", **keys)
    lookalike.train(dataset, tmp_path / "half", amp="bf16", **keys)
    lookalike.train(dataset, tmp_path / "chunks", chunk=7, **keys)
    full, half, chunks = (
        pl.read_csv(tmp_path / name / "history.csv")["loss"][0] for name in ("full", "half", "chunks")
    )
    assert half == pytest.approx(full, rel=0.05) and half != full
    assert chunks == pytest.approx(full, rel=0.05)


def test_sampled_classes_and_a_memory_train(dataset, tmp_path):
    keys = {**SMALL, "epochs": 3}
    lookalike.train(
        dataset, tmp_path / "run", loss=["arcface", "contrastive"], class_sample=0.7, memory=32, **keys
    )
    losses = pl.read_csv(tmp_path / "run" / "history.csv")["loss"]
    assert losses[2] < losses[0]


def test_weights_that_are_no_numbers_any_more_are_an_error_that_says_what_to_do(dataset, tmp_path):
    with pytest.raises(LookalikeError, match="Lower the learning rates"):
        lookalike.train(dataset, tmp_path / "run", **{**SMALL, "lr": 1e30, "clip": None, "val_share": 0.3})
    assert not (tmp_path / "run" / "model").exists()


def test_the_model_of_every_epoch_can_be_kept(dataset, tmp_path):
    lookalike.train(dataset, tmp_path / "run", **SMALL, keep_epochs="all")
    epochs = sorted((tmp_path / "run" / "epochs").iterdir())
    assert [folder.name for folder in epochs] == ["001", "002"]
    best = json.loads((tmp_path / "run" / "summary.json").read_text())["best_epoch"]
    spaces = [lookalike.load(folder).space for folder in epochs]
    assert spaces[0] != spaces[1]
    assert lookalike.load(tmp_path / "run").space == spaces[best - 1]


def test_the_progress_bar_has_no_loss_before_the_first_batch():
    assert describe_progress(2, 12, float("nan")) == "epoch 2 of 12"
    assert describe_progress(2, 12, 1.5) == "epoch 2 of 12, loss 1.500"
