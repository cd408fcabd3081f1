"""Nearest neighbours and their vote, for plots."""

import numpy as np

from lookalike.metrics.inputs import factorise, unit_vectors
from lookalike.metrics.neighbours import vote_winners
from lookalike.ranking.exact import ExactSearch


def nearest_neighbours(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest other rows of each vector.

    Returns:
        rows int64 [N, k] and similarities float32 [N, k], nearest first; fewer columns where there are fewer
        rows.

    Raises:
        ValueError: there are fewer than 2 vectors.
    """
    if len(vectors) < 2:
        raise ValueError(f"{len(vectors)} vectors: neighbours need at least 2")
    unit = unit_vectors(vectors)
    scores, rows = ExactSearch(unit).search(unit, min(k, len(unit) - 1), exclude=np.arange(len(unit)))
    return rows, scores


def predict_classes(
    vectors: np.ndarray,
    labels: np.ndarray,
    reference_vectors: np.ndarray | None = None,
    reference_labels: np.ndarray | None = None,
    k: int = 5,
) -> np.ndarray:
    """The class predicted by the vote of the `k` nearest references, as in the metric knn@k, [N].

    Args:
        vectors: embeddings, [N, D].
        labels: class of each, [N]; used where there are no references.
        reference_vectors: those that vote, [M, D]; the vectors themselves, each without its own vote, if not
            given.
        reference_labels: their classes, [M].
        k: how many vote.

    Raises:
        ValueError: references without labels or of another length, or nobody who could vote.
    """
    if reference_vectors is None:
        names, codes = factorise(labels, len(vectors))
        rows, scores = nearest_neighbours(vectors, k)
        return names[vote_winners(codes[rows], scores)]
    if reference_labels is None or len(reference_vectors) == 0:
        raise ValueError("references: needs at least one, and a label for each")
    if vectors.shape[1] != reference_vectors.shape[1]:
        raise ValueError(
            f"references have dimension {reference_vectors.shape[1]}, the images {vectors.shape[1]}; "
            "embed both with one model"
        )
    names, codes = factorise(reference_labels, len(reference_vectors))
    references = ExactSearch(unit_vectors(reference_vectors))
    scores, rows = references.search(unit_vectors(vectors), min(k, len(references)))
    return names[vote_winners(codes[rows], scores)]
