"""MNIST with the small CNN: 512 + 512 pairs of unseen digits, threshold at a false accept rate of 0.001.

LOOKALIKE_DATA=… python benchmarks/mnist.py [seeds] [key=value …]

The FaceNet protocol on digits: threshold and scores come from the same 1,024 pairs; with 512 different
pairs a false accept rate of 0.001 means that none of them is accepted. Published elsewhere for this
network with 32 and 64 channels, trained on 60,000 digits for 20 epochs with triplets: accuracy 0.9717, true
accept rate (VAL) 0.9434. Here: 8,000 digits, +experiment=mnist_sup_con with 64 and 128 channels; the network
and the loss as published are +experiment=mnist_facenet.
"""

import gzip
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from PIL import Image

import lookalike
from _common import data, show

PAIRS = 512
RECIPE = {"+experiment": "mnist_sup_con", "progress": False}


def read_idx(file: Path) -> np.ndarray:
    """An IDX file: big-endian magic whose last byte counts the dimensions, their sizes, then bytes."""
    raw = gzip.decompress(file.read_bytes())
    dimensions = raw[3]
    shape = np.frombuffer(raw, ">i4", dimensions, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def write_dataset(source: Path, folder: Path) -> Path:
    """The digits as PNG files with a table."""
    rows = []
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(source / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz")
        (folder / split).mkdir(parents=True)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = f"{split}/{number:05}.png"
            Image.fromarray(image).save(folder / path)
            rows.append({"path": path, "label": str(label), "split": split})
    pl.DataFrame(rows).write_parquet(folder / "table.parquet")
    return folder


def verify(vectors: np.ndarray, labels: np.ndarray, seed: int) -> tuple[float, float]:
    """Accuracy and true accept rate on `PAIRS` random same and `PAIRS` random different pairs."""
    rng = np.random.default_rng(seed)
    anchors = rng.choice(len(labels), PAIRS, replace=False)
    same = [
        rng.choice(np.flatnonzero((labels == labels[a]) & (np.arange(len(labels)) != a))) for a in anchors
    ]
    other = [rng.choice(np.flatnonzero(labels != labels[a])) for a in anchors]
    positive = (vectors[anchors] * vectors[same]).sum(1)
    negative = (vectors[anchors] * vectors[other]).sum(1)
    accepted = positive > negative.max()
    return (accepted.sum() + PAIRS) / (2 * PAIRS), accepted.mean()


def with_spread(scores: Sequence[float]) -> str:
    """The mean of some seeds, and their standard deviation; one seed has none."""
    spread = f" ± {np.std(scores, ddof=1):.4f}" if len(scores) > 1 else ""
    return f"{np.mean(scores):.4f}{spread}"


def main(seeds: int = 5, changes: dict[str, object] | None = None) -> None:
    """Train once a seed, and print accuracy and VAL with their spread."""
    source = data("mnist10k")
    recipe = {**RECIPE, **(changes or {})}
    scores = []
    with tempfile.TemporaryDirectory() as folder:
        digits = write_dataset(source, Path(folder) / "digits")
        test = lookalike.read_table(digits).split("test")
        for seed in range(seeds):
            started = time.perf_counter()
            run = lookalike.train(digits, Path(folder) / f"run{seed}", seed=seed, **recipe)
            minutes = (time.perf_counter() - started) / 60
            embeddings = lookalike.embed(lookalike.load(run), test, batch_size=256, progress=False)
            draws = [verify(embeddings.vectors, test.labels, 1000 * seed + draw) for draw in range(20)]
            scores.append((*np.mean(draws, axis=0), minutes))
            print(
                f"seed {seed}: accuracy {scores[-1][0]:.4f}, VAL {scores[-1][1]:.4f}, {minutes:.1f} min",
                flush=True,
            )
    accuracy, val, minutes = zip(*scores, strict=True)
    rows = [[with_spread(accuracy), with_spread(val), f"{np.mean(minutes):.1f}", seeds]]
    show(
        f"MNIST pairs, small CNN, 8,000 training digits, {recipe['+experiment']}",
        ["accuracy", "VAL at FAR 0.001", "minutes", "seeds"],
        rows,
    )


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
    counts = [int(argument) for argument in sys.argv[1:] if "=" not in argument]
    main(*counts, changes={key: yaml.safe_load(value) for key, value in given.items()})
