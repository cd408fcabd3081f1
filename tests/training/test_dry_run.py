"""What would fail late fails before the first step, with one message, and the dry run changes nothing."""

import sys
from pathlib import Path

import polars as pl
import pytest

import lookalike
from lookalike.errors import LookalikeError
from lookalike.training.dry_run import dry_run

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
from torch import nn

class Raises(nn.Module):
    def forward(self, embeddings, labels):
        raise KeyError("margin")

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
    monkeypatch.setattr("lookalike.training.loop.dry_run", lambda stage: calls.append(dry_run(stage)))
    lookalike.train(dataset, tmp_path / "with", **kept, **keys)
    assert calls == [None]
    monkeypatch.setattr("lookalike.training.loop.dry_run", lambda stage: None)
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
        ("Several", "a loss is one number"),
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


def test_a_model_that_cannot_be_saved_leaves_nothing(dataset, tmp_path, monkeypatch):
    def failing(*_):
        raise RuntimeError("shared memory")

    monkeypatch.setattr("lookalike.model.embedder.save_file", failing)
    with pytest.raises(LookalikeError, match="saving the model failed: RuntimeError: shared memory"):
        lookalike.train(dataset, tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()
