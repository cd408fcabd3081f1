import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_curve

from lookalike.metrics.verification import Pairs, eer, tar_at_far
from lookalike.metrics.verification_at_threshold import (
    best_decisions,
    best_threshold,
    decided_at,
    decisions,
    fnmr_at,
    k_fold_accuracy,
    roc_points,
)


def random_scores(seed=0, positive=60, negative=500, grid=None):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(0.6, 0.25, positive), rng.normal(0.0, 0.25, negative)])
    scores = np.round(scores * grid) / grid if grid else scores
    return scores, np.repeat([True, False], [positive, negative])


def pairs_of(scores, same):
    return Pairs.from_scores(scores[same], scores[~same])


@pytest.mark.parametrize("grid", [None, 5])
@pytest.mark.parametrize("seed", range(4))
def test_eer_is_where_the_roc_curve_of_scikit_learn_crosses(seed, grid):
    scores, same = random_scores(seed, grid=grid)
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    expected = brentq(lambda x: 1.0 - x - interp1d(far, tar)(x), 0.0, 1.0)
    assert eer(pairs_of(scores, same)) == pytest.approx(expected, abs=1e-9)


def test_eer_of_separated_equal_and_reversed_pairs():
    assert eer(Pairs.from_scores([0.9, 0.8], [0.1])) == 0
    assert eer(Pairs.from_scores([0.5], [0.5, 0.5])) == pytest.approx(0.5)
    assert eer(Pairs.from_scores([0.1], [0.9])) == 1


def test_roc_equals_scikit_learn():
    scores, same = random_scores(grid=20)
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    curve = roc_points(pairs_of(scores, same))
    assert curve.far == pytest.approx(far)
    assert curve.tar == pytest.approx(tar)
    thin = roc_points(pairs_of(*random_scores(negative=5000))).thin(100)
    assert len(thin.far) <= 101
    assert (thin.far[0], thin.far[-1], thin.tar[-1]) == (0, 1, 1)
    assert (np.diff(thin.far) >= 0).all()


def test_decisions_equal_scikit_learn():
    scores, same = random_scores(grid=50)
    found = decisions(pairs_of(scores, same), 0.3)
    said = scores >= 0.3
    assert found.accuracy == pytest.approx(accuracy_score(same, said))
    assert found.precision == pytest.approx(precision_score(same, said))
    assert found.tar == pytest.approx(recall_score(same, said))
    assert found.f1 == pytest.approx(f1_score(same, said))
    assert found.far == pytest.approx(said[~same].mean())
    assert np.isnan(decisions(pairs_of(scores, same), 9.0).precision)


def test_rates_at_a_far_are_those_of_its_threshold():
    pairs = pairs_of(*random_scores())
    point = tar_at_far(pairs, 0.01)
    assert fnmr_at(pairs, 0.01) == 1 - point.tar
    found = decided_at(pairs, 0.01)
    assert found["pair_recall@far=0.01"] == point.tar
    assert found["pair_accuracy@far=0.01"] == point.accuracy


def test_the_best_decisions_are_the_best_of_all_thresholds():
    scores, same = random_scores(grid=30)
    found = best_decisions(pairs_of(scores, same))
    every = [decisions(pairs_of(scores, same), t) for t in [*np.unique(scores), 9.0]]
    assert found["best_accuracy"] == pytest.approx(max(each.accuracy for each in every))
    assert found["best_f1"] == pytest.approx(max(each.f1 for each in every))
    at = decisions(pairs_of(scores, same), found["best_f1_threshold"])
    assert at.f1 == pytest.approx(found["best_f1"])


def test_ten_folds_as_lfw_does_them():
    """The threshold of a fold is the best of the other nine: by trying all of them."""
    scores, same = random_scores(positive=300, negative=300)
    folds = np.random.default_rng(0).permutation(np.arange(600) % 10)
    accuracies = []
    for fold in range(10):
        others = folds != fold
        values = np.unique(scores[others])
        candidates = np.concatenate([[values[0] - 1], (values[1:] + values[:-1]) / 2, [values[-1] + 1]])
        right = [((scores[others] >= t) == same[others]).mean() for t in candidates]
        threshold = candidates[int(np.argmax(right))]
        accuracies.append(((scores[~others] >= threshold) == same[~others]).mean())
    found = k_fold_accuracy(scores, same, folds)
    assert found["fold_accuracy"] == pytest.approx(np.mean(accuracies))
    assert found["fold_accuracy_std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert found["fold_accuracy_error"] == pytest.approx(np.std(accuracies, ddof=1) / 10**0.5)


def test_the_fold_names_do_not_matter_and_one_fold_is_too_few():
    scores, same = random_scores(positive=50, negative=50)
    folds = np.arange(100) % 4
    named = [f"fold {fold}" for fold in folds]
    assert k_fold_accuracy(scores, same, folds) == k_fold_accuracy(scores, same, named)
    with pytest.raises(ValueError, match="1 fold, and at least 2"):
        k_fold_accuracy(scores, same, [0] * 100)


def test_the_best_threshold_of_separated_pairs_is_halfway():
    assert best_threshold(np.array([0.8, 0.2]), np.array([True, False])) == pytest.approx(0.5)
    assert best_threshold(np.array([0.8, 0.2]), np.array([False, False])) > 0.8
    assert best_threshold(np.array([0.8, 0.2]), np.array([True, True])) < 0.2


@pytest.mark.parametrize("pairs", [([], [0.1]), ([0.1], [])])
def test_both_kinds_of_pairs_are_needed(pairs):
    for metric in (eer, roc_points, best_decisions, lambda each: decisions(each, 0.5)):
        with pytest.raises(ValueError, match="both kinds"):
            metric(Pairs.from_scores(*pairs))
