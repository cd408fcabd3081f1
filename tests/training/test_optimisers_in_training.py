"""Optimisers and schedules in whole runs: they train, resume to the last bit, and are refused in time."""

from pathlib import Path

import polars as pl
import pytest
from tests.training.test_resume import assert_same, end_state
from tests.training.training_steps import stop_in_step

import lookalike
from lookalike.errors import ConfigError, LookalikeError
from lookalike.training.checkpoint import Checkpoints, read_state

KEYS = {
    "backbone": "small_cnn",
    "backbone.channels": [4, 8],
    "image_size": 28,
    "dim": 8,
    "epochs": 2,
    "augment": "none",
    "loss": ["arcface"],
    "sampler.classes_per_batch": 4,
    "sampler.samples_per_class": 4,
    "val_share": 0.3,
    "progress": False,
    "workers": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def dataset(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    folder.mkdir()
    files = sorted(shapes_folder.glob("*/*.png"))
    labels = [file.parent.name for file in files]
    frame = pl.DataFrame({"path": [str(file) for file in files], "label": labels})
    frame.with_columns(split=pl.lit("train")).write_parquet(folder / "table.parquet")
    return folder


@pytest.mark.parametrize("more", [{"chunk": 6}, {"accumulate": 2}, {"amp": "bf16", "matryoshka": [4]}])
def test_sophia_lowers_the_loss_and_sees_curvature(dataset, tmp_path, more):
    keys = KEYS | {
        "optimizer": "sophia_g",
        "optimizer.every": 2,
        "epochs": 4,
        "lr": 0.003,
        "backbone_lr": 0.003,
    }
    lookalike.train(dataset, tmp_path / "run", **keys | more)
    loss = pl.read_csv(tmp_path / "run" / "history.csv")["loss"]
    assert loss[-1] < 0.95 * loss[0]
    state = read_state(Checkpoints(tmp_path / "run" / "state").all()[-1])
    assert all((each["curvature"] > 0).any() for each in state["optimizer"]["state"].values())


@pytest.mark.parametrize(
    "more",
    [
        {"optimizer": "sophia_g", "optimizer.every": 3, "layer_decay": 0.5},
        {"scheduler": "plateau", "scheduler.patience": 0, "scheduler.threshold": 0.5, "optimizer": "lion"},
    ],
)
def test_a_stopped_run_goes_on_to_the_last_bit(dataset, tmp_path, more):
    keys = KEYS | {"epochs": 3, "save_minutes": 1e-6} | more
    lookalike.train(dataset, tmp_path / "whole", **keys)
    error = RuntimeError("power cut")
    with stop_in_step(6, error), pytest.raises(RuntimeError, match="power cut"):
        lookalike.train(dataset, tmp_path / "run", **keys)
    lookalike.train(dataset, tmp_path / "run", **keys)
    assert_same(end_state(tmp_path / "run"), end_state(tmp_path / "whole"))


def test_plateau_cuts_the_rates_where_no_score_is_better(dataset, tmp_path):
    keys = KEYS | {"epochs": 4, "scheduler": "plateau", "scheduler.patience": 0, "scheduler.threshold": 2}
    lookalike.train(dataset, tmp_path / "run", **keys, layer_decay=0.5, rates={"head": 0.02})
    history = pl.read_csv(tmp_path / "run" / "history.csv")
    factors = [1, 1, 0.1, 0.01]  # the first score is better than none
    assert history["lr_head"].to_list() == pytest.approx([0.02 * factor for factor in factors])
    assert history["lr_backbone"].to_list() == pytest.approx([3e-4 * factor for factor in factors], abs=1e-6)
    assert history["lr_backbone_lowest"][0] == pytest.approx(1.5e-4)


def test_epochs_are_those_of_the_stage(dataset, tmp_path):
    step = {"scheduler": "step", "scheduler.unit": "epochs", "scheduler.every": 1.0}
    stages = [{"epochs": 2, "lr": 1.0}, {"epochs": 1, "lr": 0.5}]
    lookalike.train(dataset, tmp_path / "run", **KEYS | step, stages=stages)
    history = pl.read_csv(tmp_path / "run" / "history.csv")
    assert history["lr_head"].to_list() == pytest.approx([1.0, 0.1, 0.5])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"optimizer": "sophia_g", "loss": ["triplet"]}, "triplet has none. Take one that has"),
        ({"optimizer": "sophia_g", "class_sample": 0.5}, "class_sample=1"),
        ({"stages": [{}, {"optimizer": "sophia_g", "loss": ["triplet"]}]}, "triplet has none"),
        ({"optimizer": "sgd", "optimizer.momentum": 0.0}, "optimizer: Nesterov"),
        ({"optimizer": "lion", "optimizer.betas": [1.5, 0.9]}, "optimizer: Invalid beta"),
        ({"scheduler": "plateau", "val_share": 0}, "scheduler=plateau: waits for the validation score"),
        ({"scheduler": "plateau", "scheduler.warmup": 3.0}, "scheduler: warmup 3: a share"),
        ({"stages": [{}, {"scheduler": "step", "scheduler.every": 3.0}]}, "scheduler: every 3: a share"),
        ({"rates": {"backbone.boddy": 0.1}}, "rates: 'backbone.boddy' matches no part"),
        ({"stages": [{}, {"rates": {"loss.triplet": 0.1}}]}, "rates: 'loss.triplet' matches no part"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(dataset, tmp_path, more, words):
    with pytest.raises((ConfigError, LookalikeError), match=words):
        lookalike.train(dataset, tmp_path / "run", **KEYS | more)
    assert not (tmp_path / "run").exists()
