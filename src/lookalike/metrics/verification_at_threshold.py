"""Deciding "same" or "different" on pairs: error rates, what a threshold gives, and 10-fold accuracy."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lookalike.metrics.estimate import Estimate, identity_estimates
from lookalike.metrics.inputs import factorise
from lookalike.metrics.records import rate_name
from lookalike.metrics.verification import Pairs, tar_at_far


@dataclass(frozen=True)
class Decisions:
    """What accepting every pair with `similarity >= threshold` gives.

    Attributes:
        threshold: cosine similarity.
        far: share of negative pairs accepted (FMR, FPR).
        tar: share of positive pairs accepted (recall, 1 − FNMR).
        accuracy: share of all pairs decided rightly.
        precision: share of accepted pairs that are positive; NaN if none is accepted.
        f1: harmonic mean of `precision` and `tar`.
    """

    threshold: float
    far: float
    tar: float
    accuracy: float
    precision: float
    f1: float


@dataclass(frozen=True)
class Roc:
    """The operating points of all thresholds, from the strictest, which accepts nothing, to the laxest.

    Attributes:
        threshold: descending; accept `similarity >= threshold`; the first is infinite.
        far: share of negative pairs accepted, ascending.
        tar: share of positive pairs accepted, ascending.
    """

    threshold: np.ndarray
    far: np.ndarray
    tar: np.ndarray

    def thin(self, max_points: int = 1000) -> "Roc":
        """At most so many points, even in the logarithm of `far` and in `far`; the ends stay."""
        if len(self.far) <= max_points:
            return self
        low = self.far[self.far > 0].min(initial=1.0)
        rates = np.union1d(
            np.geomspace(low, 1, max_points // 2), np.linspace(0, 1, max_points - max_points // 2 - 2)
        )
        last = np.searchsorted(self.far, rates, side="right") - 1  # the best tar at each far
        keep = np.unique(np.concatenate([[0], last, [len(self.far) - 1]]))
        return Roc(self.threshold[keep], self.far[keep], self.tar[keep])


def roc_points(pairs: Pairs) -> Roc:
    """The ROC curve, one point a similarity.

    Raises:
        ValueError: pairs of one kind only.
    """
    _need_both(pairs)
    accepted = [np.append(0, np.cumsum(counts[::-1])) for counts in (pairs.negative, pairs.positive)]
    threshold = np.append(np.inf, pairs.values[::-1].astype(np.float64))
    return Roc(threshold, accepted[0] / pairs.negatives, accepted[1] / pairs.positives)


def fnmr_at(pairs: Pairs, far: float, coarse: bool = False) -> float:
    """False non-match rate at the threshold whose false match rate is at most `far`: 1 − true accept rate."""
    return 1 - tar_at_far(pairs, far, coarse).tar


def decided_at(pairs: Pairs, far: float, coarse: bool = False) -> dict[str, float]:
    """Accuracy, precision, recall and F1 over all pairs at the threshold of `far`, named by the rate.

    All depend on how many pairs of each kind there are, which is a property of the test set.
    """
    at_threshold = decisions(pairs, tar_at_far(pairs, far, coarse).threshold)
    mark = f"@far={rate_name(far)}"
    return {
        f"pair_accuracy{mark}": at_threshold.accuracy,
        f"pair_precision{mark}": at_threshold.precision,
        f"pair_recall{mark}": at_threshold.tar,
        f"pair_f1{mark}": at_threshold.f1,
    }


def best_decisions(pairs: Pairs) -> dict[str, float]:
    """The best accuracy and the best F1 that any threshold reaches on these very pairs, with the thresholds.

    Chosen on the data they are measured on, so too good: a ceiling, not a forecast.
    """
    curve = roc_points(pairs)
    positives, negatives = curve.tar * pairs.positives, curve.far * pairs.negatives
    accuracy = (positives + pairs.negatives - negatives) / (pairs.positives + pairs.negatives)
    f1 = 2 * positives / (positives + negatives + pairs.positives)
    right, balanced = int(accuracy.argmax()), int(f1.argmax())
    return {
        "best_accuracy": float(accuracy[right]),
        "best_accuracy_threshold": float(min(curve.threshold[right], 2.0)),
        "best_f1": float(f1[balanced]),
        "best_f1_threshold": float(min(curve.threshold[balanced], 2.0)),
    }


def decisions(pairs: Pairs, threshold: float) -> Decisions:
    """What a given threshold does on these pairs.

    Where pairs were counted in cells, a threshold inside a cell refuses the whole cell; cells are narrow
    around the rates that were asked for.

    Raises:
        ValueError: pairs of one kind only.
    """
    _need_both(pairs)
    first = int(np.searchsorted(pairs.values, threshold))
    positives, negatives = int(pairs.positive[first:].sum()), int(pairs.negative[first:].sum())
    right = positives + pairs.negatives - negatives
    accepted = positives + negatives
    return Decisions(
        threshold=threshold,
        far=negatives / pairs.negatives,
        tar=positives / pairs.positives,
        accuracy=right / (pairs.positives + pairs.negatives),
        precision=positives / accepted if accepted else float("nan"),
        f1=2 * positives / (accepted + pairs.positives),
    )


def k_fold_accuracy(
    similarities: Any, same: Any, folds: Any, identities: np.ndarray | None = None
) -> dict[str, float]:
    """Accuracy as LFW reports it: of each fold at the threshold that is best on all others; mean and its
    error.

    Of equally good thresholds the middle of the lowest stretch is taken, halfway between two similarities
    that occur, so that the held-out fold meets no edge. Source: Huang et al. 2007 (LFW, view 2).

    The influence of identities on `fold_accuracy` is that of their pairs at these thresholds: at a best
    threshold accuracy is flat, so that of moving it is of second order.

    Args:
        similarities: of each pair, [P].
        same: whether it shows one identity, [P].
        folds: the fold of each pair, integers or strings, [P].
        identities: of both images of each pair, int64 [P, 2]; not given, `fold_accuracy` has no influences.

    Returns:
        `fold_accuracy`, its standard deviation over folds `fold_accuracy_std`, the standard error of the mean
        `fold_accuracy_error`, and the mean threshold `fold_threshold`.

    Raises:
        ValueError: fewer than two folds.
    """
    scores, same = np.ravel(similarities).astype(np.float64), np.ravel(same).astype(bool)
    names, codes = factorise(folds, len(scores))
    if len(names) < 2:
        raise ValueError(f"k-fold accuracy: {len(names)} fold, and at least 2 are needed")
    thresholds = [best_threshold(scores[codes != fold], same[codes != fold]) for fold in range(len(names))]
    right = (scores >= np.array(thresholds)[codes]) == same
    sizes = np.bincount(codes)
    fold_accuracy = np.bincount(codes, right) / sizes
    spread = float(fold_accuracy.std(ddof=1))
    mean = float(fold_accuracy.mean())
    if identities is not None:
        moved = (right - fold_accuracy[codes]) / sizes[codes] / len(fold_accuracy)
        mean = Estimate(mean, _compare_both(moved, identities), share=True)
    return {
        "fold_accuracy": mean,
        "fold_accuracy_std": spread,
        "fold_accuracy_error": spread / len(fold_accuracy) ** 0.5,
        "fold_threshold": float(np.mean(thresholds)),
    }


def _compare_both(values: np.ndarray, identities: np.ndarray) -> np.ndarray:
    """The sum over the pairs of each identity; a pair of two identities counts for both."""
    first, second = identities.T
    is_different = first != second
    return identity_estimates(np.append(values, values[is_different]), np.append(first, second[is_different]))


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """A threshold with the most pairs decided rightly, halfway between two similarities that occur."""
    values, cells = np.unique(scores, return_inverse=True)
    gain = np.bincount(cells, np.where(same, -1, 1), minlength=len(values))
    right = np.concatenate([[0], np.cumsum(gain)])  # change as the threshold passes each value
    best = int(right.argmax())
    below = values[best - 1] if best else values[0] - 1
    above = values[best] if best < len(values) else values[-1] + 1
    return float((below + above) / 2)


def _need_both(pairs: Pairs) -> None:
    if not pairs.positives or not pairs.negatives:
        raise ValueError(
            f"pairs: {pairs.positives} positive and {pairs.negatives} negative; verification needs both kinds"
        )
