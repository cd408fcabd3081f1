"""Wrong labels: an image in the wrong class, or one that shows nothing of the kind."""

from collections.abc import Iterator

import numpy as np

from lookalike.clean.calibration import calibrate
from lookalike.clean.findings import Finding
from lookalike.clean.judging import Fits

REPORTED = 0.2
"""Lowest probability of a finding."""
OUTLIERS = 0.01
"""Share of the images with right labels that are less like their class than an outlier is like any class."""


def wrong_label_probabilities(fits: Fits) -> np.ndarray:
    """The probability that each image has a wrong label, [N]; NaN where its class has no other image.

    Made errors are images with a random label.
    """
    judged = np.flatnonzero(np.isfinite(fits.own_scores).all(1))
    result = np.full(len(fits.own_scores), np.nan)
    if len(judged) < 2:
        return result
    own_scores, best = fits.own_scores[judged], fits.scores[judged].max(1)
    random_scores = fits.drawn_scores[judged].reshape(-1, own_scores.shape[1])
    rivals = np.repeat(np.maximum(own_scores, best), fits.drawn_scores.shape[1], 0)
    usable = np.isfinite(random_scores).all(1) & (random_scores < rivals).all(1)
    data, errors = _measures(own_scores, best), _measures(random_scores[usable], rivals[usable])
    result[judged] = calibrate(data, errors)
    return result


def _measures(own_scores: np.ndarray, best: np.ndarray) -> np.ndarray:
    """How much better the best other label fits, and how badly the own one fits, [N, 6]."""
    return np.concatenate([best - own_scores, -own_scores], 1).astype(np.float64)


def find_wrong_labels(
    fits: Fits, probabilities: np.ndarray, names: np.ndarray, is_copy: np.ndarray
) -> Iterator[Finding]:
    """Images whose label is probably wrong, with the label that fits best, or as outliers.

    Args:
        fits: of all images.
        probabilities: of a wrong label, [N]; NaN for an image that was not judged.
        names: of the classes, [C].
        is_copy: images that are dropped as copies of another one, [N] bool.
    """
    trusted = np.isfinite(fits.own_scores[:, 0]) & (np.nan_to_num(probabilities, nan=1.0) < 0.5)
    floor = np.quantile(fits.own_scores[trusted, 0], OUTLIERS) if trusted.sum() > 1 / OUTLIERS else -np.inf
    for row in np.flatnonzero(np.nan_to_num(probabilities) >= REPORTED).tolist():
        if is_copy[row]:
            continue
        score, best = float(probabilities[row]), float(fits.scores[row, :, 0].max())
        if max(best, float(fits.own_scores[row, 0])) < floor:
            yield Finding(
                "wrong_label", row, None, score, "drop_a", f"outlier: nothing is like it, {best:.2f}", row
            )
            continue
        label = names[fits.others[row, 0]]
        text = f"similarity {best:.2f} to {label}, {fits.own_scores[row, 0]:.2f} to its own label"
        nearest = int(fits.nearest[row, 0])
        yield Finding(
            "wrong_label", row, nearest if nearest >= 0 else None, score, "relabel", text, row, str(label)
        )
