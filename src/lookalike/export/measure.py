"""How an exported model compares with the original on real images: similarity, metrics, speed."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lookalike.metrics.verification import Pairs, tar_at_far

ROUNDS = 5
BATCHES = (1, 16)
ORIGINAL, EXPORTED = "original", "exported"


@dataclass(frozen=True)
class Gap:
    """1 − cosine similarity between the two embeddings of an image.

    Attributes:
        max: the largest over the images.
        mean: their mean.
        images: how many were compared.
    """

    max: float
    mean: float
    images: int


@dataclass(frozen=True)
class Quality:
    """Retrieval and verification with queries of one model and a gallery of another, or of the same.

    Each image is a query, and all others are its gallery.

    Attributes:
        queries: original or exported.
        gallery: likewise.
        recall_at_1: share of the images with another one of their identity whose nearest image is one.
        tar: true accept rate at `threshold`.
        far: false accept rate at `threshold`.
        threshold: similarity; that of pairs within the gallery's model at the wanted false accept rate.
    """

    queries: str
    gallery: str
    recall_at_1: float
    tar: float
    far: float
    threshold: float


@dataclass(frozen=True)
class Speed:
    """Time per image in milliseconds, median of several rounds that alternate between the two."""

    batch_size: int
    original_ms: float
    exported_ms: float

    @property
    def speedup(self) -> float:
        """How many times faster the exported model is."""
        return self.original_ms / self.exported_ms


def measure_gap(original: np.ndarray, exported: np.ndarray) -> Gap:
    """The gap between unit vectors of the same images, [N, D] each; computed in float64."""
    gaps = 1 - np.einsum("nd,nd->n", _unit(original), _unit(exported))
    gaps = np.maximum(gaps, 0.0)
    return Gap(float(gaps.max()), float(gaps.mean()), len(gaps))


def measure_quality(
    original: np.ndarray, exported: np.ndarray, labels: np.ndarray, far: float, mixed: bool
) -> list[Quality]:
    """Metrics of each model and, if `mixed`, of queries of one in a gallery of the other.

    Args:
        original: unit vectors, [N, D].
        exported: of the same images; of another dimension only if not `mixed`.
        labels: identities, [N].
        far: wanted false accept rate; where the pairs cannot resolve it, the finest rate that they can.
        mixed: whether vectors of the two can be compared at all.
    """
    vectors = {ORIGINAL: _unit(original), EXPORTED: _unit(exported)}
    pairs = [(ORIGINAL, ORIGINAL), (EXPORTED, EXPORTED)]
    if mixed:
        pairs += [(EXPORTED, ORIGINAL), (ORIGINAL, EXPORTED)]
    thresholds = {name: _threshold(each @ each.T, labels, far) for name, each in vectors.items()}
    return [
        _quality(queries, gallery, vectors[queries] @ vectors[gallery].T, labels, thresholds[gallery])
        for queries, gallery in pairs
    ]


def can_measure_quality(labels: np.ndarray) -> bool:
    """Whether there are pairs of the same and of different identities."""
    _, counts = np.unique(labels, return_counts=True)
    return len(counts) > 1 and counts.max() > 1


def measure_speed(
    original: Callable[[np.ndarray], Any], exported: Callable[[np.ndarray], Any], images: np.ndarray
) -> list[Speed]:
    """Time both models on batches of uint8 images [N, 3, H, W]."""
    speeds = []
    for size in BATCHES:
        batch = np.resize(images, (size, *images.shape[1:]))
        times: dict[int, list[float]] = {0: [], 1: []}
        for model in (original, exported):
            model(batch)
        for _ in range(ROUNDS):
            for number, model in enumerate((original, exported)):
                start = time.perf_counter()
                model(batch)
                times[number].append((time.perf_counter() - start) / size * 1000)
        speeds.append(Speed(size, float(np.median(times[0])), float(np.median(times[1]))))
    return speeds


def median_ms(model: Callable[[np.ndarray], Any], batch: np.ndarray, rounds: int) -> float:
    """Median time per image in milliseconds, after one run that is not counted."""
    model(batch)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        model(batch)
        times.append((time.perf_counter() - start) / len(batch) * 1000)
    return float(np.median(times))


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def _off_diagonal(same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks of pairs of the same and of different identities; an image is no pair of itself."""
    other = ~np.eye(len(same), dtype=bool)
    return same & other, ~same & other


def _threshold(scores: np.ndarray, labels: np.ndarray, far: float) -> float:
    positive, negative = _off_diagonal(labels[:, None] == labels[None])
    return tar_at_far(Pairs.from_scores(scores[positive], scores[negative]), far, coarse=True).threshold


def _quality(queries: str, gallery: str, scores: np.ndarray, labels: np.ndarray, threshold: float) -> Quality:
    same = labels[:, None] == labels[None]
    positive, negative = _off_diagonal(same)
    ranked = scores.copy()
    np.fill_diagonal(ranked, -np.inf)
    correct = same[np.arange(len(labels)), ranked.argmax(axis=1)][positive.any(axis=1)]
    return Quality(
        queries,
        gallery,
        float(correct.mean()),
        float((scores[positive] >= threshold).mean()),
        float((scores[negative] >= threshold).mean()),
        threshold,
    )
