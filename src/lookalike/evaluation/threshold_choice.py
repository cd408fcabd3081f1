"""Choosing the operating point of a model on identities that it was not trained on."""

from typing import Any

import numpy as np

from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.operating_point import OperatingPoint
from lookalike.metrics.inputs import factorise
from lookalike.metrics.records import rate_name


def choose_operating_point(
    vectors: Any, labels: Any, far: float, space: str, seed: int = 0
) -> OperatingPoint:
    """The threshold for a false accept rate, on identities that the model was not trained on.

    Where the different pairs cannot show the rate, the finest one that they can is taken.

    Args:
        vectors: embeddings, [N, D].
        labels: identities, [N].
        far: wanted share of different pairs accepted.
        space: of the model.
        seed: of the bootstrap.

    Raises:
        ValueError: fewer than three identities, or none with two images.
    """
    negatives, identities = _negative_pairs(labels)
    if not negatives:
        raise ValueError(
            f"there are no pairs of different identities: {len(labels)} images of {identities} identity"
        )
    if identities < 3:
        raise ValueError(_too_few(identities))
    reachable = max(far, 1 / negatives)
    metrics = evaluate(vectors, labels, metrics={}, far=reachable, coarse_far=True, seed=seed).metrics
    threshold, tar = (
        metrics[f"threshold@far={rate_name(reachable)}"],
        metrics[f"tar@far={rate_name(reachable)}"],
    )
    if "low" not in threshold:
        raise ValueError(_too_few(identities))
    return OperatingPoint(
        far=reachable,
        asked=far,
        threshold=threshold["value"],
        threshold_low=threshold["low"],
        threshold_high=threshold["high"],
        tar=tar["value"],
        tar_low=tar["low"],
        tar_high=tar["high"],
        resolution=1 / negatives,
        images=len(labels),
        identities=identities,
        space=space,
    )


def _too_few(identities: int) -> str:
    return f"{identities} identities are too few to say how sure a threshold is; at least 3 are needed"


def _negative_pairs(labels: Any) -> tuple[int, int]:
    """How many pairs of different identities there are, and how many identities."""
    names, codes = factorise(labels)
    counts = np.bincount(codes) if len(codes) else np.zeros(0, np.int64)
    return int((counts.sum() ** 2 - (counts**2).sum()) // 2), len(names)
