"""A random rotation, which makes the errors of rounding all but independent of the vectors they meet."""

import math

import numpy as np
import torch

CHANCE = 1e-12
"""The chance, over rotations, that any product of a comparison differs by more than its bound."""


def turn(dim: int, device: torch.device) -> torch.Tensor:
    """A random rotation, uniform over all of them, float64 [D, D]; the same each time.

    The factor Q of a Gaussian matrix, with the signs of R's diagonal (Mezzadri 2007, math-ph/0609050).
    """
    gaussian = torch.from_numpy(np.random.default_rng(0).standard_normal((dim, dim)))
    factor, upper = torch.linalg.qr(gaussian)
    return (factor * upper.diagonal().sign()).to(device)


def widest(dim: int, products: int) -> float:
    """What the cosine of a random direction with a fixed one does not exceed in all of so many products.

    In n dimensions it exceeds t with a chance of at most 2 exp(−n t² / 2) (Ball 1997, "An elementary
    introduction to modern convex geometry", lemma 2.2); two directions a product are looked at. Of 1 and
    more, it says nothing.
    """
    return math.sqrt(2 * math.log(4 * max(products, 1) / CHANCE) / max(dim - 1, 1))
