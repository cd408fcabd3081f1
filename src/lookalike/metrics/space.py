"""How well vectors use their space: rank, spread, closeness of one identity."""

import numpy as np
import torch

from lookalike.metrics.verification import Pairs, distances

BLOCK = 8192


def effective_rank(unit: np.ndarray) -> float:
    """How many dimensions the vectors really fill: exp of the entropy of their normalised singular values.

    From 1, all on a line, to D, spread alike in all directions. The mean is taken away first, as a shift
    shared by all vectors tells none apart. Source: Roy and Vetterli 2007.
    """
    values = np.sqrt(np.clip(np.linalg.eigvalsh(_scatter(unit)), 0, None))
    share = values[values > values.max(initial=0.0) * 1e-6]
    if not len(share) or values.max() < 1e-6 * len(unit) ** 0.5:
        return 1.0
    share = share / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def alignment(pairs: Pairs) -> float:
    """Mean squared distance of positive pairs, 2 − 2 · similarity: 0 is best (Wang and Isola 2020, α = 2).

    Raises:
        ValueError: there is no positive pair.
    """
    if not pairs.positives:
        raise ValueError("alignment: there is no positive pair")
    return 2 * distances(pairs)["positive_cosine_mean"]


def uniformity(pairs: Pairs, t: float = 2.0) -> float:
    """Log of the mean of exp(−t · squared distance) over all pairs: the lower, the more evenly spread.

    0 where all vectors are one. Source: Wang and Isola 2020 (arXiv 2005.10242).
    """
    return float(
        np.log(np.average(np.exp(-t * (2 - 2 * pairs.centres)), weights=pairs.positive + pairs.negative))
    )


def _scatter(unit: np.ndarray) -> np.ndarray:
    """The sum of outer products around the mean, float64 [D, D], in blocks."""
    mean = unit.mean(axis=0, dtype=np.float64)
    total = np.zeros((unit.shape[1], unit.shape[1]))
    for start in range(0, len(unit), BLOCK):
        centred = torch.from_numpy(unit[start : start + BLOCK] - mean)
        total += (centred.T @ centred).numpy()
    return total
