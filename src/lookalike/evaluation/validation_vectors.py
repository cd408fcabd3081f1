"""Vectors of validation identities in a model folder, on which identification chooses its threshold."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lookalike.errors import LookalikeError
from lookalike.files import replace_file
from lookalike.metrics.inputs import factorise
from lookalike.model.truncation import split_space, truncate_vectors

FILE = "validation_vectors.safetensors"
MOST = 4000
"""Vectors kept at most; of more, whole identities are drawn at random."""


def draw_identities(codes: np.ndarray, most: int = MOST, seed: int = 0) -> np.ndarray:
    """Rows of identities drawn at random, at most `most` rows in total; all if there are no more."""
    if len(codes) <= most:
        return np.arange(len(codes))
    counts = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(len(counts))
    chosen = order[np.cumsum(counts[order]) <= most]
    return np.flatnonzero(np.isin(codes, chosen))


def write_validation_vectors(vectors: np.ndarray, labels: object, space: str, folder: Path) -> None:
    """Write validation_vectors.safetensors into a model folder: vectors, and identities as numbers."""
    codes = factorise(labels, len(vectors))[1]
    rows = draw_identities(codes)
    tensors = {"vectors": np.ascontiguousarray(vectors[rows], np.float32), "codes": codes[rows]}
    replace_file(folder / FILE, lambda file: save_file(tensors, file, {"space": space}))


def read_validation_vectors(folder: Path, space: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Vectors [n, D] and identities [n] of a model folder, or of OUT with OUT/model in it; None without any.

    Raises:
        LookalikeError: the file is damaged, or is of another model.
    """
    file = next((path for path in (folder / FILE, folder / "model" / FILE) if path.is_file()), None)
    if file is None:
        return None
    try:
        with safe_open(file, framework="numpy") as content:
            stored = (content.metadata() or {}).get("space")
            vectors, codes = content.get_tensor("vectors"), content.get_tensor("codes")
    except (OSError, SafetensorError, ValueError) as error:
        raise LookalikeError(f"{file}: cannot be read: {error}") from error
    whole, dim = split_space(space)
    truncate = dim is not None and stored == whole
    if stored != space and not truncate:
        raise LookalikeError(f"{file}: has vectors of the model {stored}, and this one is {space}")
    if vectors.ndim != 2 or codes.shape != (len(vectors),):
        raise LookalikeError(f"{file}: {list(codes.shape)} identities for vectors {list(vectors.shape)}")
    return (truncate_vectors(vectors, dim) if truncate and dim else vectors), codes
