"""How far `auc`, which is smoothed between cells of many pairs, lies from that of all pairs one by one.

python benchmarks/auc.py [size …]
"""

import sys
import time

import numpy as np
import polars as pl

from _common import show
from lookalike.evaluation.protocol_result import rank_parts
from lookalike.evaluation.protocols.base import Samples
from lookalike.evaluation.protocols.retrieval import SelfRetrieval
from lookalike.metrics.inputs import unit_vectors
from lookalike.metrics.verification import auc

SIZES = (3000, 4500, 8000)
SEEDS = 3


def images(size: int, dim: int, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around the centres of identities with about so many images, and the identities."""
    rng = np.random.default_rng(seed)
    codes = np.sort(rng.integers(0, size // each, size))
    centres = rng.normal(size=(size // each, dim))
    return unit_vectors(centres[codes] + 0.8 * rng.normal(size=(size, dim))), codes


def one_by_one(unit: np.ndarray, codes: np.ndarray) -> float:
    """The share of negative pairs below each positive one, from exact similarities of all pairs."""
    rows = unit.astype(np.float64)
    first, second = np.triu_indices(len(rows), 1)
    scores, same = (rows @ rows.T)[first, second], codes[first] == codes[second]
    negative, positive = np.sort(scores[~same]), np.sort(scores[same])
    places = [np.searchsorted(negative, positive, side) for side in ("left", "right")]
    return float(np.mean(places) / len(negative))


def main(sizes: list[int]) -> None:
    """Measure."""
    lines = []
    for size in sizes:
        for dim, each in ((8, 4), (64, 4), (64, 100)):
            apart, took = [], []
            for seed in range(SEEDS):
                unit, codes = images(size, dim, each, seed)
                samples = Samples(unit, codes, np.arange(size // each), pl.DataFrame())
                begun = time.perf_counter()
                found = rank_parts(SelfRetrieval().parts(samples), {}, neighbours=0, depth=0, fars=[0.01])
                took.append(time.perf_counter() - begun)
                apart.append(abs(auc(found.pairs) - one_by_one(unit, codes)))
            lines.append([size, dim, each, f"{max(apart):.1e}", f"{np.mean(apart):.1e}", f"{min(took):.2f}"])
    columns = ["images", "numbers", "of one identity", "greatest error of auc", "mean", "seconds"]
    show(f"AUC, {SEEDS} seeds", columns, lines)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or list(SIZES))
