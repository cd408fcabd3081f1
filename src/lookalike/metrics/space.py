"""How well vectors use their space: rank, spread, closeness of one identity."""

import numpy as np
import torch

from lookalike.metrics.estimate import Estimate, identity_estimates
from lookalike.metrics.verification import Pairs, pair_statistics

BLOCK = 8192


def effective_rank(unit: np.ndarray, codes: np.ndarray | None = None) -> Estimate:
    """How many dimensions the vectors really fill: exp of the entropy of their normalised singular values.

    From 1, all on a line, to D, spread alike in all directions. The mean is taken away first, as a shift
    shared by all vectors tells none apart. Source: Roy and Vetterli 2007.

    Args:
        unit: vectors, [N, D].
        codes: identity of each, whose influence is wanted, [N]; each is one of its own if not given.
    """
    codes = np.arange(len(unit)) if codes is None else codes
    mean = unit.mean(axis=0, dtype=np.float64)
    squares, directions = np.linalg.eigh(_scatter(unit, mean))
    values = np.sqrt(np.clip(squares, 0, None))
    nonzero = values > values.max(initial=0.0) * 1e-6
    if not nonzero.any() or values.max() < 1e-6 * len(unit) ** 0.5:
        return Estimate(1.0, identity_estimates(np.zeros(len(unit)), codes))
    values, directions = values[nonzero], directions[:, nonzero]
    share = values / values.sum()
    entropy = -float((share * np.log(share)).sum())
    slope = -(np.log(share) + entropy) / values.sum() / (2 * values)  # of the entropy, by squared values
    moved = np.exp(entropy) * _squared_projections(unit, mean, directions, slope)
    return Estimate(np.exp(entropy), identity_estimates(moved, codes))


def alignment(pairs: Pairs) -> float:
    """Mean squared distance of positive pairs, 2 − 2 · similarity: 0 is best (Wang and Isola 2020, α = 2).

    Raises:
        ValueError: there is no positive pair.
    """
    if not pairs.positives:
        raise ValueError("alignment: there is no positive pair")
    return 2 - 2 * pair_statistics(pairs)["positive_similarity_mean"]


def uniformity(pairs: Pairs, t: float = 2.0) -> float:
    """Log of the mean of exp(−t · squared distance) over all pairs: the lower, the more evenly spread.

    0 where all vectors are one. Source: Wang and Isola 2020 (arXiv 2005.10242).
    """
    return float(
        np.log(np.average(np.exp(-t * (2 - 2 * pairs.centres)), weights=pairs.positive + pairs.negative))
    )


def _scatter(unit: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The sum of outer products around the mean, float64 [D, D], in blocks."""
    total = np.zeros((unit.shape[1], unit.shape[1]))
    for start in range(0, len(unit), BLOCK):
        centred = torch.from_numpy(unit[start : start + BLOCK] - mean)
        total += (centred.T @ centred).numpy()
    return total


def _squared_projections(
    unit: np.ndarray, mean: np.ndarray, directions: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Of each vector the weighed sum of its squared lengths along directions [D, K], in blocks, [N]."""
    parts = [
        (((unit[start : start + BLOCK] - mean) @ directions) ** 2) @ weights
        for start in range(0, len(unit), BLOCK)
    ]
    return np.concatenate([np.empty(0), *parts])
