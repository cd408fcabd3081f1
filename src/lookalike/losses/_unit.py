"""Unit vectors, for losses that read the vectors themselves."""

import torch
from torch import Tensor

from lookalike.losses._cosine import inverse_norm


def unit(vectors: Tensor) -> Tensor:
    """The rows of `vectors` [N, D] at length one, in float32 (float64 for float64).

    A zero row stays zero and gets no gradient.
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    return vectors * inverse_norm(vectors)
