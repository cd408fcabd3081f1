"""Run and evaluation folders as the jobs write them: plain pictures, and vectors that are nearly right."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from lookalike.data.table import Table
from lookalike.embeddings import Embeddings
from lookalike.evaluation.evaluate import evaluate


def make_images(folder: Path, labels: list[str], size: int = 24) -> list[str]:
    """One picture a label; its colour tells the classes apart."""
    folder.mkdir(parents=True)
    names = {name: number for number, name in enumerate(dict.fromkeys(labels))}
    for row, label in enumerate(labels):
        hue = 37 * names[label] % 256
        Image.new("HSV", (size, size + row % 3), (hue, 200, 120 + row % 100)).convert("RGB").save(
            folder / f"{row}.png"
        )
    return [f"{row}.png" for row in range(len(labels))]


def make_vectors(labels: list[str], noise: float = 0.25, seed: int = 0) -> np.ndarray:
    """Unit vectors around a random centre of each class."""
    rng = np.random.default_rng(seed)
    _, classes = np.unique(labels, return_inverse=True)
    vectors = rng.normal(size=(classes.max() + 1, 16))[classes] / 4 + noise * rng.normal(
        size=(len(labels), 16)
    )
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def make_evaluation() -> Callable[..., Path]:
    """`make_evaluation(root, labels, far=0.01, noise=0.25)` evaluates pictures, made in `root`."""

    def make(
        root: Path,
        labels: list[str],
        far: float = 0.01,
        noise: float = 0.25,
        name: str = "evaluation",
        seed: int = 0,
        **about: str,
    ) -> Path:
        paths = make_images(root / f"{name}-images", labels)
        frame = pl.DataFrame({"path": paths, "label": labels, "split": ["test"] * len(labels)})
        table = Table(frame, root / f"{name}-images")
        embeddings = Embeddings(make_vectors(labels, noise, seed), table, "5pace")
        found = evaluate(embeddings.vectors, embeddings.table.labels, far=far)
        about = {"job": "evaluate", "split": "test", **about}
        replace(found, embeddings=embeddings).save(root / name, about)
        return root / name

    return make


@pytest.fixture
def evaluation(tmp_path: Path, make_evaluation: Callable[..., Path]) -> Callable[..., Path]:
    """`evaluation(labels, far=0.01, noise=0.25)` evaluates pictures and returns the folder."""
    return partial(make_evaluation, tmp_path)


@pytest.fixture(scope="session")
def make_run() -> Callable[[Path], Path]:
    """`make_run(root)` writes a run folder without a model."""
    return write_run


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run folder without a model."""
    return write_run(tmp_path)


def write_run(root: Path) -> Path:
    """The run folder `runs/shapes`, with its history, config and summary."""
    folder = root / "runs" / "shapes"
    folder.mkdir(parents=True)
    pl.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [3.0, 2.0, 1.5],
            "loss_triplet": [2.0, 1.5, 1.0],
            "loss_gor": [1.0, 0.5, 0.5],
            "lr_head": [1e-3, 1e-3, 1e-4],
            "val_recall@1": [0.4, 0.6, 0.5],
            "val_map@r": [0.2, 0.4, 0.3],
            "minutes": [0.5, 1.0, 1.5],
        }
    ).write_csv(folder / "history.csv")
    config = {
        "dataset": "data/shapes",
        "backbone": {"_target_": "lookalike.model.backbones.small_cnn", "channels": None},
        "loss": {"triplet": {"weight": 1.0, "_target_": "x.Triplet", "margin": 0.2}, "gor": {"weight": 0.5}},
        "epochs": 3,
        "image_size": 28,
        "dim": 16,
        "seed": 7,
        "lr": 0.001,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    summary = {
        "status": "finished",
        "epochs": 3,
        "best_epoch": 2,
        "best_metric": "map@r",
        "minutes": 1.5,
        "train_images": 5331,
        "train_classes": 948,
        "validation_images": 90,
        "validation_classes": 9,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder
