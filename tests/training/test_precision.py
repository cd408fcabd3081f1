"""Half precision: bf16 trains as full precision does, also on a CPU; fp16 is for GPUs."""

from pathlib import Path

import polars as pl
import pytest
import torch

import lookalike
from lookalike.errors import ConfigError
from lookalike.training.processes import make_accelerator

SMALL = {
    "backbone": "small_cnn",
    "backbone.channels": [8, 16],
    "image_size": 28,
    "dim": 16,
    "epochs": 4,
    "lr": 0.003,
    "backbone_lr": 0.003,
    "augment": "none",
    "sampler.classes_per_batch": 4,
    "sampler.samples_per_class": 4,
    "val_share": 0,
    "progress": False,
    "workers": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def dataset(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = sorted(shapes_folder.glob("*/*.png"))
    rows = {"path": [str(file) for file in files], "label": [file.parent.name for file in files]}
    file = tmp_path_factory.mktemp("data") / "table.parquet"
    pl.DataFrame({**rows, "split": ["train"] * len(files)}).write_parquet(file)
    return file


def losses(run: Path) -> list[float]:
    return pl.read_csv(run / "history.csv")["loss"].to_list()


@pytest.mark.parametrize("loss", ["multi_similarity", "arcface"])
def test_bf16_on_a_cpu_trains_as_full_precision_does(loss, dataset, tmp_path):
    for amp in ("no", "bf16"):
        lookalike.train(dataset, tmp_path / amp, amp=amp, loss=loss, **SMALL)
    full, half = losses(tmp_path / "no"), losses(tmp_path / "bf16")
    assert half != full and half[-1] < 0.9 * half[0]
    assert half == pytest.approx(full, rel=0.05)
    weights = lookalike.load(tmp_path / "bf16").state_dict().values()
    assert {each.dtype for each in weights if each.is_floating_point()} == {torch.float32}


def test_fp16_on_a_cpu_is_refused_before_anything_is_written(dataset, tmp_path):
    with pytest.raises(ConfigError, match=r"amp=fp16 needs a GPU.*amp=bf16"):
        lookalike.train(dataset, tmp_path / "run", amp="fp16", **SMALL)
    assert not (tmp_path / "run").exists()


def test_a_device_that_cannot_is_an_error_that_says_so(monkeypatch):
    def refuse(**_: object) -> None:
        raise ValueError("bf16 mixed precision requires PyTorch >= 1.10 and a supported device.")

    monkeypatch.setattr("lookalike.training.processes.Accelerator", refuse)
    with pytest.raises(ConfigError, match="amp=bf16 on cpu: bf16 mixed precision requires"):
        make_accelerator("bf16", torch.device("cpu"))
