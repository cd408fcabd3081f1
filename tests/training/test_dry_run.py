"""What would fail late fails before the first step, with one message, and the dry run changes nothing."""

import importlib
import sys
from pathlib import Path

import polars as pl
import pytest
import torch

import lookalike
from lookalike.errors import LookalikeError
from lookalike.model.backbones import SmallCNN
from lookalike.training.dry_run import dry_run
from lookalike.training.state_preservation import preserve_state

SMALL = {
    "backbone": "small_cnn",
    "backbone.channels": [4, 8],
    "image_size": 16,
    "dim": 8,
    "epochs": 2,
    "sampler.classes_per_batch": 3,
    "sampler.samples_per_class": 3,
    "val_share": 0.3,
    "progress": False,
    "workers": 0,
    "device": "cpu",
}
OWN = """
import numpy
from torch import nn

class Raises(nn.Module):
    def forward(self, embeddings, labels):
        raise KeyError("margin")

class NotSaved(nn.Module):
    def forward(self, embeddings, labels):
        return embeddings.square().mean()

    def get_extra_state(self):
        return object()

    def set_extra_state(self, state):
        pass

class Draws(nn.Module):
    def __init__(self):
        super().__init__()
        self.rng = numpy.random.default_rng(0)

    def forward(self, embeddings, labels):
        return float(self.rng.random()) * embeddings.square().mean()

class Several(nn.Module):
    def forward(self, embeddings, labels):
        return embeddings
"""


@pytest.fixture
def dataset(shapes_folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    files = sorted(shapes_folder.glob("*/*.png"))
    labels = [file.parent.name for file in files]
    frame = pl.DataFrame({"path": [str(file) for file in files], "label": labels, "split": "train"})
    frame.write_parquet(tmp_path / "data" / "table.parquet")
    return tmp_path / "data"


@pytest.mark.parametrize(
    "keys",
    [
        {"loss": ["contrastive", "adaface"], "memory": 16, "head": "batch_norm", "keep_statistics": False},
        {"loss": "curricularface", "chunk": 4, "mixup": 0.2, "average": 0.9},
        {"sampler": "shuffle", "sampler.batch_size": 9, "loss": "margin", "augment": "strong"},
    ],
)
def test_training_is_the_same_to_the_last_bit_without_it(keys, dataset, tmp_path, monkeypatch):
    kept = {key: value for key, value in SMALL.items() if "sampler" not in keys or "sampler" not in key}
    calls = []
    monkeypatch.setattr("lookalike.training.state.dry_run", lambda stage: calls.append(dry_run(stage)))
    lookalike.train(dataset, tmp_path / "with", **kept, **keys)
    assert calls == [None]
    monkeypatch.setattr("lookalike.training.state.dry_run", lambda stage: None)
    lookalike.train(dataset, tmp_path / "without", **kept, **keys)
    files = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("with", "without")]
    assert files[0] == files[1]
    with_it, without = (pl.read_csv(tmp_path / name / "history.csv") for name in ("with", "without"))
    times = ["minutes", "images_per_second", "date"]
    assert with_it.drop(times).equals(without.drop(times))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            "Raises",
            r"a training step on 9 images failed: KeyError.*own_dry.py, line",
        ),
        ("Several", "a loss must return a scalar"),
        ("NotSaved", "writing a checkpoint of the loss failed: TypeError.* got object"),
    ],
)
def test_a_loss_of_ones_own_that_fails_leaves_nothing(kind, said, dataset, tmp_path, monkeypatch):
    (tmp_path / "own_dry.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LookalikeError, match=said):
        lookalike.train(
            dataset, tmp_path / "run", **SMALL, loss="gor", **{"loss.gor._target_": f"own_dry.{kind}"}
        )
    sys.modules.pop("own_dry", None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sampler.batch_size": 1}, "a training step on 1 image failed.*sampler.batch_size"),
        ({"sampler.batch_size": 8, "chunk": 7}, "in chunks of 7 leaves one alone"),
    ],
)
def test_a_single_image_before_batch_normalization_is_named(keys, message, dataset, tmp_path):
    rows = pl.read_parquet(dataset / "table.parquet").head(48)
    rows.write_parquet(dataset / "table.parquet")
    small = {key: value for key, value in SMALL.items() if "sampler" not in key} | {"val_share": 0}
    keys = {**small, "sampler": "shuffle", "head": "batch_norm", "loss": "gor", **keys}
    with pytest.raises(LookalikeError, match=message):
        lookalike.train(dataset, tmp_path / "run", **keys)
    assert not (tmp_path / "run").exists()


def test_a_size_that_the_model_cannot_read_is_named(dataset, tmp_path, monkeypatch):
    original = SmallCNN.maps

    def only_full_size(self, images):
        if images.shape[-1] != 16:
            raise AssertionError("Input height (8) doesn't match model (16)")
        return original(self, images)

    monkeypatch.setattr(SmallCNN, "maps", only_full_size)
    with pytest.raises(LookalikeError, match=r"of 8 px failed: .*set small_size=0"):
        lookalike.train(dataset, tmp_path / "run", **SMALL, small_size=8, pooling="average")


def test_validation_images_are_embedded(dataset, tmp_path, monkeypatch):
    def failing(*_, **__):
        raise RuntimeError("not on this device")

    monkeypatch.setattr("lookalike.training.dry_run.embed_rows", failing)
    with pytest.raises(LookalikeError, match="embedding validation images failed: RuntimeError: not on this"):
        lookalike.train(dataset, tmp_path / "run", **SMALL)


def test_generators_of_a_loss_are_as_before(tmp_path, monkeypatch):
    (tmp_path / "own_draws.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    loss = importlib.import_module("own_draws").Draws()
    vectors = torch.ones(2, 2)
    with preserve_state(loss):
        first = loss(vectors, None)
    assert loss(vectors, None) == first


def test_a_model_that_cannot_be_saved_leaves_nothing(dataset, tmp_path, monkeypatch):
    def failing(*_):
        raise RuntimeError("shared memory")

    monkeypatch.setattr("lookalike.model.embedder.save_file", failing)
    with pytest.raises(LookalikeError, match="saving the model failed: RuntimeError: shared memory"):
        lookalike.train(dataset, tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()
