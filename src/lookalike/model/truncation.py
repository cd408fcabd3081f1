"""The first dimensions of an embedding as another embedding (Kusupati et al., 2022, arXiv:2205.13147)."""

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.errors import ConfigError
from lookalike.files import parse_json
from lookalike.metrics.inputs import unit_length

log = logging.getLogger(__name__)
MARK = "+dim"
"""Between the ID of a space and the number of dimensions that were kept: another number is another space."""


def truncate_vectors(vectors: np.ndarray, dim: int) -> np.ndarray:
    """The first `dim` numbers of each vector, at length 1: float32 [N, dim].

    Raises:
        ConfigError: `dim` is more than the vectors have.
        ValueError: all of the first numbers of a row are 0; it is named.
    """
    check_dim(dim, vectors.shape[1])
    return vectors if dim == vectors.shape[1] else unit_length(vectors[:, :dim])


def check_dim(dim: int, available: int) -> None:
    """Refuse a number of dimensions that embeddings do not have.

    Raises:
        ConfigError: it is below 1 or above `available`.
    """
    if not 1 <= dim <= available:
        raise ConfigError(f"dim={dim}: the embeddings have dimension {available}; give 1 to {available}")


def truncated_space(space: str, dim: int) -> str:
    """The ID of the space of the first `dim` dimensions of vectors of `space`."""
    return f"{split_space(space)[0]}{MARK}{dim}"


def split_space(space: str) -> tuple[str, int | None]:
    """The ID of the space of whole vectors, and how many dimensions were kept; None for all."""
    whole, mark, dim = space.rpartition(MARK)
    return (whole, int(dim)) if mark and dim.isdigit() else (space, None)


def truncate_model(model: Any, dim: int) -> Any:
    """A view of a model that gives the first `dim` dimensions; it shares the weights.

    Raises:
        ConfigError: `dim` is more than the model has.
    """
    check_dim(dim, model.dim)
    if dim == model.dim:
        return model
    warn_of_truncation(dim, model.matryoshka)
    return _cut(model, dim)


def match_space(model: Any, space: str) -> Any:
    """The model, truncated if `space` is that of its first dimensions; else as it is."""
    whole, dim = split_space(space)
    return _cut(model, dim) if dim is not None and model.space == whole and dim < model.dim else model


def _cut(model: Any, dim: int) -> Any:
    part = copy.copy(model)
    part.truncation = dim
    return part


def warn_of_truncation(dim: int, trained: Sequence[int] | None) -> None:
    """Warn if a model was not trained to be truncated to `dim` dimensions.

    Args:
        dim: dimensions to keep.
        trained: dimensions that it was trained with; empty for none, None if that is not known.
    """
    if trained is None:
        log.info("dim=%d: whether the model was trained with matryoshka= is not known", dim)
    elif not trained:
        log.warning(
            "dim=%d: the model was not trained with matryoshka=, so its first dimensions say no more than "
            "any others; a PCA usually loses less (evaluate pca.dim=%d, export fold=[preprocess,pca])",
            *(dim, dim),
        )
    elif dim < min(trained):
        log.warning(
            "dim=%d: the model was trained to be truncated to %s dimensions, and this is fewer",
            *(dim, ", ".join(map(str, trained))),
        )


def trained_dims(model: Path | None) -> list[int] | None:
    """The dimensions that the model of a folder was trained to be truncated to; None if that is not known."""
    for folder in () if model is None else (model, model / "model"):
        if (folder / "config.json").is_file():
            try:
                dims = parse_json((folder / "config.json").read_text(encoding="utf-8")).get("matryoshka", [])
                return [int(dim) for dim in dims]
            except (OSError, ValueError, TypeError, AttributeError):
                return None
    return None
