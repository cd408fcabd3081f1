"""Losses from which nothing can be learned are refused or said, and a weight of 0 breaks nothing."""

import sys
from pathlib import Path

import polars as pl
import pytest

import lookalike
from lookalike.errors import ConfigError, LookalikeError

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
OWN = """
from torch import nn

class Constant(nn.Module):
    def forward(self, embeddings, labels):
        return 0 * embeddings.sum() + 3

class Detached(nn.Module):
    def forward(self, embeddings, labels):
        return embeddings.detach().pow(2).mean()

class NanLater(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, embeddings, labels):
        self.calls += 1
        return embeddings.pow(2).mean() * (float("nan") if self.calls > BATCHES else 1)
"""


@pytest.fixture
def dataset(shapes_folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    files = sorted(shapes_folder.glob("*/*.png"))
    labels = [file.parent.name for file in files]
    frame = pl.DataFrame({"path": [str(file) for file in files], "label": labels, "split": "train"})
    frame.write_parquet(tmp_path / "data" / "table.parquet")
    return tmp_path / "data"


@pytest.fixture
def own_losses(tmp_path, monkeypatch):
    """Losses of the user's own; a batch is one of `batches` of an epoch."""
    (tmp_path / "own_degenerate.py").write_text(OWN.replace("BATCHES", "10"))
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda kind: {"loss": "gor", "loss.gor._target_": f"own_degenerate.{kind}"}
    sys.modules.pop("own_degenerate", None)


def test_a_single_loss_of_weight_0_is_refused(dataset, tmp_path):
    with pytest.raises(ConfigError, match=r"loss.triplet.weight=0: nothing is left to minimise"):
        lookalike.train(dataset, tmp_path / "run", loss="triplet", **SMALL, **{"loss.triplet.weight": 0})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["triplet", "multi_similarity", "arcface", "gor"])
def test_a_weight_of_0_beside_another_loss_leaves_it_out(name, dataset, tmp_path):
    keys = SMALL | {"loss": [name, "contrastive"], f"loss.{name}.weight": 0, "val_share": 0.3}
    lookalike.train(dataset, tmp_path / "run", **keys)
    history = pl.read_csv(tmp_path / "run" / "history.csv")
    assert history["loss"].to_list() == pytest.approx(history["loss_contrastive"].to_list())


def test_a_constant_loss_is_said(dataset, tmp_path, own_losses, caplog):
    lookalike.train(dataset, tmp_path / "run", val_share=0, **SMALL, **own_losses("Constant"))
    assert "the gradient was exactly zero in all" in caplog.text
    assert "the gradient was exactly zero" in pl.read_csv(tmp_path / "run" / "history.csv")["notes"][0]


def test_a_loss_without_a_gradient_is_refused(dataset, tmp_path, own_losses):
    with pytest.raises(LookalikeError, match="gor: has no gradient"):
        lookalike.train(dataset, tmp_path / "run", val_share=0, **SMALL, **own_losses("Detached"))
    assert not (tmp_path / "run" / "model").exists()


def test_a_loss_that_is_nan_from_the_second_epoch_on_keeps_the_first(dataset, tmp_path, own_losses):
    with pytest.raises(LookalikeError, match="Lower the learning rates"):
        lookalike.train(
            dataset, tmp_path / "run", val_share=0, **{**SMALL, "epochs": 6}, **own_losses("NanLater")
        )
    history = pl.read_csv(tmp_path / "run" / "history.csv")
    assert lookalike.load(tmp_path / "run").dim == 16
    assert history["loss"].is_finite().all()
