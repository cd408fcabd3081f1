"""Projections of embeddings to two dimensions by t-SNE, UMAP or PCA."""

import warnings
from importlib.util import find_spec
from typing import Literal

import numpy as np

from lookalike.errors import ConfigError
from lookalike.plots.tsne_map import tsne

Method = Literal["tsne", "umap", "pca"]
NAMES = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}


def project(vectors: np.ndarray, method: Method, seed: int = 0) -> np.ndarray:
    """Positions [N, 2] by one of the three methods, with its own defaults.

    Raises:
        ValueError: there are fewer than 4 vectors.
        ConfigError: the method needs a package that is not there.
    """
    if method == "tsne":
        return tsne(vectors, seed)
    return umap(vectors, seed=seed) if method == "umap" else pca(vectors)[0]


def pca(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal components (Pearson 1901).

    Returns:
        positions [N, 2], and the share of the variance along each, [2]. The direction of an axis is such
        that its largest weight is positive.

    Raises:
        ValueError: there are fewer than 4 vectors.
    """
    _check(vectors, "pca")
    return principal_components(vectors)


def principal_components(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `pca`, for any number of vectors."""
    centred = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    values, directions = np.linalg.eigh(centred.T @ centred)
    values, axes = np.clip(values[::-1], 0, None), directions[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    positions, shares = centred @ axes, values[:2] / max(values.sum(), 1e-300)
    missing = 2 - axes.shape[1]
    return np.pad(positions, ((0, 0), (0, missing))), np.pad(shares, (0, missing))


def umap(vectors: np.ndarray, neighbours: int = 15, min_dist: float = 0.1, seed: int = 0) -> np.ndarray:
    """Positions by UMAP (McInnes, Healy and Melville 2018, arXiv 1802.03426), deterministic for a seed.

    Args:
        vectors: embeddings, [N, D], N at least 4.
        neighbours: how far around each image its structure is kept; fewer show finer groups.
        min_dist: how close points may lie.
        seed: of the optimisation.

    Raises:
        ValueError: there are fewer than 4 vectors.
        ConfigError: umap-learn is not installed.
    """
    _check(vectors, "umap")
    if find_spec("umap") is None:
        raise ConfigError("UMAP needs more packages: pip install 'lookalike[explore]'. t-SNE and PCA do not")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        reach = min(neighbours, len(vectors) - 1)
        start = "spectral" if len(vectors) > 10 else "random"
        method = UMAP(n_neighbors=reach, min_dist=min_dist, init=start, random_state=seed, n_jobs=1)
        positions = np.asarray(method.fit_transform(np.asarray(vectors, np.float32)), np.float64)
    positions = np.where(np.isfinite(positions), positions, np.nanmean(positions, axis=0))
    return positions - positions.mean(axis=0)


def _check(vectors: np.ndarray, method: str) -> None:
    if len(vectors) < 4:
        raise ValueError(f"{method}: {len(vectors)} vectors; a map needs at least 4")
