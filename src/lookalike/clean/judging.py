"""How well images fit their labels and others, by vectors whose projection never saw the labels that it
judges.

Classes are divided into folds. For the images of a fold, vectors are projected by a linear discriminant
analysis of the other folds: directions in which images of one class differ count less (within-class
covariance normalisation, Hatch and Stolcke 2006). So a model that knows nothing of the data set gets to know
it, and a wrong label has no influence on the projection that judges it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

FOLDS = 4
MAX_DIM = 192
"""Principal components that are kept."""
SHRINKAGE = 0.2
"""Share of the average variance in the within-class covariance."""
FEWEST_PAIRS = 60
"""Images with a companion in their class, from which the projection is learnt."""
BLOCK = 1024
SHARPNESS = 20.0
"""Weight of a similarity s in the density of a class is exp(SHARPNESS · s)."""
CANDIDATES = 12
"""Other labels that are kept for each image."""


MEASURES = 3
RANDOM_LABELS = 2
"""Random labels that are tried on each image."""


@dataclass(frozen=True, eq=False)
class Fits:
    """How well each image fits its own label and the best others.

    Three measures: the largest similarity to an image of the class, the log density of the class there, and
    the similarity to the mean of the class. The image itself does not count, and its copies count for the
    last only.

    Attributes:
        own_scores: float32 [N, 3]; NaN for an image without another of its class.
        others: label codes, int64 [N, K]; -1 where there are fewer.
        scores: their measures, float32 [N, K, 3].
        nearest: the most similar row of each of these labels, int64 [N, K].
        drawn_scores: measures of random labels other than the own one, float32 [N, 2, 3].
    """

    own_scores: np.ndarray
    others: np.ndarray
    scores: np.ndarray
    nearest: np.ndarray
    drawn_scores: np.ndarray


def folds_of(codes: np.ndarray, seed: int, folds: int = FOLDS) -> np.ndarray:
    """A fold for each row such that each class is in one of them, int64 [N]."""
    classes = np.unique(codes)
    assigned = np.random.default_rng(seed).permutation(len(classes)) % max(1, min(folds, len(classes)))
    return assigned[np.searchsorted(classes, codes)]


def project_folds(
    vectors: np.ndarray, codes: np.ndarray, folds: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each fold its rows, and the vectors of all rows as the other folds project them, float32 [N, d].

    Args:
        vectors: of unit length, [N, D].
        codes: classes, [N]; -1 for a row that no projection is learnt from.
        folds: of each row, [N].
    """
    reduced = _principal_components(vectors)
    scatters, counts = {}, {}
    for fold in np.unique(folds).tolist():
        rows = np.flatnonzero((folds == fold) & (codes >= 0))
        scatters[fold], counts[fold] = _within_scatter(reduced[rows], codes[rows])
    for fold in np.unique(folds).tolist():
        degrees = sum(count for other, count in counts.items() if other != fold)
        if degrees < FEWEST_PAIRS:
            projected = reduced
        else:
            rest = np.sum([value for other, value in scatters.items() if other != fold], axis=0)
            projected = reduced @ _whitening(rest / degrees)
        yield np.flatnonzero(folds == fold), _unit(projected)


def _principal_components(vectors: np.ndarray) -> np.ndarray:
    """The vectors without their mean, in their main directions."""
    centred = vectors.astype(np.float32) - vectors.mean(0, dtype=np.float64).astype(np.float32)
    size = min(MAX_DIM, *vectors.shape)
    covariance = (centred.T @ centred).astype(np.float64)
    _, directions = np.linalg.eigh(covariance)
    return centred @ directions[:, ::-1][:, :size].astype(np.float32)


def _within_scatter(vectors: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, int]:
    """The sum of products of deviations from class means, [d, d], and its degrees of freedom."""
    classes, positions, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    means = np.zeros((len(classes), vectors.shape[1]))
    np.add.at(means, positions, vectors)
    deviations = vectors - (means / np.maximum(sizes, 1)[:, None])[positions]
    return deviations.T @ deviations, len(vectors) - len(classes)


def _whitening(scatter: np.ndarray) -> np.ndarray:
    """The matrix that makes a shrunk covariance the identity, [d, d]."""
    average = np.trace(scatter) / len(scatter)
    values, directions = np.linalg.eigh(
        (1 - SHRINKAGE) * scatter + SHRINKAGE * average * np.eye(len(scatter))
    )
    return (directions / np.sqrt(np.maximum(values, 1e-9))).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def measure_fits(
    spaces: Sequence[tuple[np.ndarray, np.ndarray]], codes: np.ndarray, copies: np.ndarray
) -> Fits:
    """How well each row fits its class and others.

    Args:
        spaces: rows to judge, and the vectors of all rows to judge them by; every row is in one of them.
        codes: class of each row, 0 … C − 1, [N]; C is at least 2.
        copies: pairs of rows that are copies, int64 [P, 2].
    """
    classes = _Classes(codes, copies)
    count, k = len(codes), min(CANDIDATES, len(classes.sizes) - 1)
    fits = Fits(
        np.full((count, MEASURES), np.nan, np.float32),
        np.full((count, k), -1),
        np.full((count, k, MEASURES), -np.inf, np.float32),
        np.full((count, k), -1),
        np.full((count, RANDOM_LABELS, MEASURES), np.nan, np.float32),
    )
    generator = np.random.default_rng(0)
    for rows, vectors in spaces:
        gallery = torch.from_numpy(np.ascontiguousarray(vectors[classes.order], np.float32))
        for start in range(0, len(rows), BLOCK):
            classes.judge(rows[start : start + BLOCK], vectors, gallery, fits, generator)
    return fits


class _Classes:
    """The rows in the order of their classes, so that a class is a range of columns."""

    def __init__(self, codes: np.ndarray, copies: np.ndarray):
        self.codes = codes
        self.order = np.argsort(codes, kind="stable")
        self.sizes = np.bincount(codes)
        self.starts = np.r_[0, np.cumsum(self.sizes)[:-1]]
        self.columns = np.empty(len(codes), np.int64)
        self.columns[self.order] = np.arange(len(codes))
        self.twins = _twins(copies)

    def judge(
        self,
        rows: np.ndarray,
        vectors: np.ndarray,
        gallery: torch.Tensor,
        fits: Fits,
        generator: np.random.Generator,
    ) -> None:
        """Fill in the measures of some rows."""
        similarity = (torch.from_numpy(np.ascontiguousarray(vectors[rows], np.float32)) @ gallery.T).numpy()
        index, own_codes = np.arange(len(rows)), self.codes[rows]
        measures = np.empty((len(rows), len(self.sizes), MEASURES), np.float32)
        measures[..., 2] = self._mean_similarity(similarity, rows, gallery)
        similarity[index, self.columns[rows]] = -np.inf
        for position, row in enumerate(rows.tolist()):
            if row in self.twins:
                similarity[position, self.columns[self.twins[row]]] = -np.inf
        measures[..., 0] = np.maximum.reduceat(similarity, self.starts, axis=1)
        measures[..., 1] = self._density(similarity, own_codes)
        own_scores = measures[index, own_codes]
        fits.own_scores[rows] = np.where(np.isfinite(own_scores).all(1, keepdims=True), own_scores, np.nan)
        random_codes = (
            own_codes[:, None] + generator.integers(1, len(self.sizes), (len(rows), RANDOM_LABELS))
        ) % len(self.sizes)
        fits.drawn_scores[rows] = measures[index[:, None], random_codes]
        measures[index, own_codes] = -np.inf
        rank = measures[..., 1] + measures[..., 2]
        chosen = np.argsort(-rank, axis=1, kind="stable")[:, : fits.others.shape[1]]
        fits.others[rows], fits.scores[rows] = chosen, measures[index[:, None], chosen]
        fits.nearest[rows] = self._nearest(similarity, chosen)

    def _mean_similarity(self, similarity: np.ndarray, rows: np.ndarray, gallery: torch.Tensor) -> np.ndarray:
        """The cosine to the mean of each class, of the own one without the row itself, [B, C]."""
        sums = np.add.reduceat(similarity, self.starts, axis=1)
        lengths = np.linalg.norm(np.add.reduceat(gallery.numpy(), self.starts, axis=0), axis=1)
        index, own_codes = np.arange(len(rows)), self.codes[rows]
        dots = sums[index, own_codes]
        rest = np.sqrt(np.maximum(lengths[own_codes] ** 2 - 2 * dots + 1, 1e-6))
        result = sums / np.maximum(lengths, 1e-6)
        result[index, own_codes] = np.where(self.sizes[own_codes] > 1, (dots - 1) / rest, -np.inf)
        return result

    def _density(self, similarity: np.ndarray, own_codes: np.ndarray) -> np.ndarray:
        """The log density of each class, [B, C]."""
        weights = np.exp(SHARPNESS * (similarity - 1))
        others = np.tile(self.sizes, (len(own_codes), 1))
        others[np.arange(len(own_codes)), own_codes] -= 1
        sums = np.add.reduceat(weights, self.starts, axis=1)
        return np.log(sums / np.sqrt(np.maximum(others, 1)) + 1e-12) / SHARPNESS

    def _nearest(self, similarity: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The most similar row of each class, [B, K]; -1 where all of it is left out."""
        rows = np.full(classes.shape, -1)
        for position, chosen in enumerate(classes.tolist()):
            for column, one in enumerate(chosen):
                part = similarity[position, self.starts[one] : self.starts[one] + self.sizes[one]]
                best = int(part.argmax())
                if np.isfinite(part[best]):
                    rows[position, column] = self.order[self.starts[one] + best]
        return rows


def _twins(copies: np.ndarray) -> dict[int, np.ndarray]:
    """The copies of each row that has any."""
    partners: dict[int, list[int]] = {}
    for one, other in copies.tolist():
        partners.setdefault(one, []).append(other)
        partners.setdefault(other, []).append(one)
    return {row: np.array(rows) for row, rows in partners.items()}
