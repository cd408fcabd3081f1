"""What identification gives on labelled images, at the threshold that `Index.identify` chooses for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lookalike.embeddings import Embeddings
from lookalike.errors import LookalikeError
from lookalike.evaluation.identification import IdentificationPoint, choose_identification_point
from lookalike.evaluation.validation_vectors import Validation, find_validation_vectors
from lookalike.metrics.estimate import Estimate, identity_estimates

BLOCK = 1 << 24
"""Similarities held at once."""
THRESHOLD, TPIR, RATE = "identification_threshold", "operating_tpir", "operating_fpir"


@dataclass(frozen=True)
class _Origin:
    """What validation vectors are found by."""

    space: str
    model_folder: Path | None
    name: str = "the embeddings"


def own_point(
    embeddings: Embeddings | None, codes: np.ndarray, validation: Validation, fpir: float, is_plain: bool
) -> tuple[IdentificationPoint | None, list[str]]:
    """The operating point of an index of these images, and notes; None without validation identities.

    Args:
        embeddings: vectors and their model, where known.
        codes: identities, [N].
        validation: identities that the model was not trained on; those in the model folder if None.
        fpir: allowed share of strangers who are given a name.
        is_plain: whether every image is searched among all others by its own vector; else there is none.

    Raises:
        ValueError: `fpir` is out of range.
        LookalikeError: `validation` cannot be read, or is of another model.
    """
    if not 0 < fpir < 1:
        raise ValueError(f"fpir={fpir:g}: must be more than 0 and less than 1")
    folder = None if embeddings is None else embeddings.model
    if not is_plain and validation is not None:
        return None, ["validation= is ignored: it is for the protocol self, without refine and rerank"]
    if not is_plain or (validation is None and folder is None):
        return None, []
    origin = _Origin("vectors:" if embeddings is None else embeddings.space, folder)
    try:
        vectors, labels = find_validation_vectors(origin, validation)
        return choose_identification_point(vectors, labels, np.bincount(codes), fpir), []
    except (LookalikeError, ValueError) as error:
        if validation is not None:
            raise
        return None, [] if "has no vectors" in str(error) else [f"no identification threshold: {error}"]


def rates_at(unit: np.ndarray, codes: np.ndarray, point: IdentificationPoint | None) -> dict[str, float]:
    """The threshold, `operating_tpir` and `operating_fpir` of an index of all images, if there is a point.

    The rates have the influence of each identity.

    Every image is searched among the others. It is identified if the nearest one is of its identity and
    reaches the threshold; images without another of their identity do not count. As a stranger, it is
    searched among the other identities; identities count alike in this rate.

    Args:
        unit: vectors of length 1, [N, D].
        codes: identities from 0, [N].
        point: its threshold is that from which on an image is given the name of the nearest identity.
    """
    if point is None:
        return {}
    threshold = point.threshold
    genuine, impostor = _nearest(np.asarray(unit, np.float32), codes)
    known = np.isfinite(genuine)
    rates: dict[str, float] = {THRESHOLD: threshold}
    if known.any():
        right = (genuine >= impostor) & (genuine >= threshold) & known
        value = float(right[known].mean())
        moved = np.where(known, right - value, 0.0) / known.sum()
        rates[TPIR] = Estimate(value, identity_estimates(moved, codes), share=True)
    if np.isfinite(impostor).any():
        counts = np.bincount(codes)
        share = np.bincount(codes, impostor >= threshold, len(counts)) / np.maximum(counts, 1)
        present = counts > 0
        value = float(share[present].mean())
        influence = np.where(present, (share - value) / present.sum(), np.nan)
        rates[RATE] = Estimate(value, influence, share=True)
    return rates


def add_ends(values: Mapping[str, dict[str, float]], point: IdentificationPoint | None) -> None:
    """Add the interval of the threshold to its metric, where there is one."""
    if point is not None:
        values[THRESHOLD].update(low=point.threshold_low, high=point.threshold_high)


def _nearest(unit: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarity of each row to the nearest other row of its identity and of other ones; -inf without any."""
    genuine, impostor = np.empty(len(unit)), np.empty(len(unit))
    step = max(1, BLOCK // max(len(unit), 1))
    for start in range(0, len(unit), step):
        rows = slice(start, min(start + step, len(unit)))
        cosine = unit[rows] @ unit.T
        cosine[np.arange(len(cosine)), np.arange(rows.start, rows.stop)] = -np.inf
        same = codes[rows, None] == codes
        genuine[rows] = np.where(same, cosine, -np.inf).max(axis=1)
        impostor[rows] = np.where(same, -np.inf, cosine).max(axis=1)
    return genuine, impostor
