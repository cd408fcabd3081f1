"""Vectors of validation identities in a model folder, on which identification chooses its threshold."""

import logging
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lookalike.embeddings import Embeddings, load_embeddings
from lookalike.errors import LookalikeError
from lookalike.files import replace_file
from lookalike.metrics.inputs import factorise
from lookalike.model.truncation import split_space, truncate_vectors

log = logging.getLogger(__name__)
FILE = "validation_vectors.safetensors"
MOST = 4000
"""Vectors kept at most; of more, whole identities are drawn at random."""
ANONYMOUS = ("file:", "vectors:")
"""Spaces of vectors whose model is not known."""

Validation = Embeddings | str | Path | tuple[Any, Any] | None
"""Vectors of validation identities: `Embeddings`, their folder, a file of vectors, or vectors and labels."""


class Collection(Protocol):
    """What is needed of an index or of embeddings to find the validation vectors of their model."""

    @property
    def space(self) -> str:
        """Hash of the model."""
        ...

    @property
    def name(self) -> str:
        """In messages."""
        ...

    @property
    def model_folder(self) -> Path | None:
        """Folder of the model, where known."""
        ...


def find_validation_vectors(collection: Collection, validation: Validation) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [n, D] and identities [n] on which the threshold of identification is chosen.

    Args:
        collection: what will be identified or grouped.
        validation: identities that the model was not trained on; those in the model folder if None.

    Raises:
        LookalikeError: there are no validation vectors, or they are of another model.
    """
    vectors, labels = _given_or_stored(collection, validation)
    codes = factorise(labels, len(vectors))[1]
    rows = draw_identities(codes)
    if len(rows) < len(codes):
        log.info("validation: %d of %d images are used, of identities drawn at random", len(rows), len(codes))
    return vectors[rows], codes[rows]


def _given_or_stored(collection: Collection, validation: Validation) -> tuple[np.ndarray, Any]:
    if isinstance(validation, tuple):
        return np.asarray(validation[0], np.float64), validation[1]
    if validation is None:
        folder = collection.model_folder
        stored = None if folder is None else read_validation_vectors(folder, collection.space)
        if stored is None:
            raise LookalikeError(
                f"{collection.name}: {'its model' if folder is None else folder} has no vectors of "
                "validation identities to choose the threshold on. Give validation=, an embeddings folder of "
                "identities that the model was not trained on (lookalike embed … split=val), or train with "
                "val_share=0.2"
            )
        return stored
    embeddings = validation
    if not isinstance(embeddings, Embeddings):
        embeddings = load_embeddings(Path(embeddings), None)
    spaces = (embeddings.space, collection.space)
    if spaces[0] != spaces[1] and not any(space.startswith(ANONYMOUS) for space in spaces):
        raise LookalikeError(
            f"validation: its vectors are of the model {spaces[0]}, and {collection.name} holds those of "
            f"{spaces[1]}; embed the validation identities with the model of the index"
        )
    if "split" in embeddings.table.frame.columns and (embeddings.table.frame["split"] == "train").any():
        log.warning(
            "validation: some images are of the split train. If the model was trained on them, more "
            "strangers are given a name than promised; embed with split=val"
        )
    return embeddings.vectors, embeddings.table.labels


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
