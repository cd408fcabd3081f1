import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from lookalike.metrics.verification import (
    FINE,
    PairCounter,
    Pairs,
    auc,
    eer,
    histogram,
    pair_statistics,
    tar_at_far,
)

SOME = st.lists(st.integers(-8, 8).map(lambda n: n / 8), min_size=1, max_size=40)


def count_in_threads(positive, negative, width=0.0):
    """The same pairs as two threads keep them, or in cells of some width."""
    values = np.array([*positive, *negative], np.float64)
    is_positive = np.arange(len(values)) < len(positive)
    if width:
        cells, place = np.unique(np.floor(values / width), return_inverse=True)
        counts = [np.bincount(place[kind], minlength=len(cells)) for kind in (is_positive, ~is_positive)]
        return Pairs(cells * width, *counts, np.full(len(cells), width), np.sort(positive))
    order = np.random.default_rng(0).permutation(len(values))
    counters = [PairCounter() for _ in range(2)]
    for part, counter in zip(np.array_split(order, 2), counters, strict=True):
        counter.count_block(values[part], np.flatnonzero(is_positive[part]))
    return PairCounter.total(counters)


@given(SOME, SOME)
def test_auc_equals_scikit_learn_with_ties(positive, negative):
    expected = roc_auc_score([1] * len(positive) + [0] * len(negative), positive + negative)
    assert auc(Pairs.from_scores(positive, negative)) == pytest.approx(expected, abs=1e-12)


@given(SOME, SOME, st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]))
def test_the_threshold_is_the_smallest_that_keeps_the_promise(positive, negative, far):
    point = tar_at_far(Pairs.from_scores(np.float32(positive), np.float32(negative)), far, coarse=True)
    accepted = np.float32(negative) >= np.float32(point.threshold)
    assert accepted.mean() == point.far <= far
    assert point.tar == np.mean(np.float32(positive) >= np.float32(point.threshold))
    below = np.nextafter(np.float32(point.threshold), np.float32(-2))
    assert np.mean(np.float32(negative) >= below) > far


def test_accuracies():
    point = tar_at_far(Pairs.from_scores([0.9, 0.05], [0.5, 0.1, 0.1, 0.1]), 0.25)
    assert (point.tar, point.far) == (0.5, 0.25)
    assert point.accuracy == pytest.approx(4 / 6)
    assert point.balanced_accuracy == pytest.approx((0.5 + 0.75) / 2)


@settings(deadline=None, max_examples=15)
@given(SOME, SOME, st.sampled_from([0.1, 0.3]))
def test_counting_in_fine_cells_gives_the_same(positive, negative, far):
    exact, cells = count_in_threads(positive, negative), count_in_threads(positive, negative, FINE)
    assert exact.exact
    assert not cells.exact
    assert (cells.positives, cells.negatives) == (exact.positives, exact.negatives)
    assert auc(cells) == pytest.approx(auc(exact), abs=1e-12)
    one, other = tar_at_far(exact, far, coarse=True), tar_at_far(cells, far, coarse=True)
    assert (one.tar, one.far, one.accuracy) == (other.tar, other.far, other.accuracy)
    assert one.threshold == pytest.approx(other.threshold, abs=FINE)


def test_wide_cells_and_exact_counts_agree_on_many_random_pairs():
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(0.6, 0.2, 20_000).clip(-1, 1), rng.normal(0, 0.2, 200_000).clip(-1, 1)
    exact, cells = count_in_threads(positive, negative), count_in_threads(positive, negative, 2.0**-11)
    assert auc(cells) == pytest.approx(auc(exact), abs=1e-6)
    assert eer(cells) == pytest.approx(eer(exact), abs=1e-5)
    assert pair_statistics(cells) == pytest.approx(pair_statistics(exact), abs=1e-5)
    with pytest.raises(ValueError, match=r"far=0\.001: pairs were not counted for this rate"):
        tar_at_far(cells, 1e-3)


@given(SOME, SOME)
@example([0.0, 0.0, 0.0, 0.0, 0.25], [0.125, 0.125, 0.125, 0.125, -0.125])
def test_the_equal_error_rate_lies_on_the_roc_curve_of_scikit_learn(positive, negative):
    labels = [1] * len(positive) + [0] * len(negative)
    accepts, tar, _ = roc_curve(labels, positive + negative, drop_intermediate=False)
    found = eer(Pairs.from_scores(positive, negative))
    assert np.interp(found, accepts, 1 - tar) == pytest.approx(found, abs=1e-9) or any(
        low - 1e-9 <= 1 - found <= high + 1e-9
        for rate, low, high in zip(accepts[1:], tar[:-1], tar[1:], strict=True)
        if rate == pytest.approx(found, abs=1e-9)
    )


def test_the_equal_error_rate_of_examples():
    assert eer(Pairs.from_scores([0.9, 0.8], [0.1, 0.2])) == 0
    assert eer(Pairs.from_scores([0.1, 0.2], [0.9, 0.8])) == 1
    assert eer(Pairs.from_scores([0.5], [0.5])) == 0.5
    assert eer(Pairs.from_scores([0.9, 0.6, 0.4, 0.3], [0.5, 0.2, 0.1, 0.0])) == 0.25
    assert eer(count_in_threads([0.9, 0.6, 0.4, 0.3], [0.5, 0.2, 0.1, 0.0], FINE)) == pytest.approx(
        0.25, abs=1e-6
    )


def test_a_far_finer_than_the_pairs_is_refused_unless_asked():
    pairs = Pairs.from_scores([0.9, 0.3], np.linspace(-0.5, 0.5, 512))
    assert pairs.resolution == 1 / 512
    with pytest.raises(ValueError, match=r"512 negative pairs show no rate below 0\.00195"):
        tar_at_far(pairs, 1e-3)
    point = tar_at_far(pairs, 1e-3, coarse=True)
    assert point.far == 0
    assert point.tar == 0.5


@pytest.mark.parametrize(("far", "negatives", "accepted"), [(0.001, 1000, 1), (0.29, 100, 29), (0.1, 30, 3)])
def test_a_far_that_the_pairs_show_exactly_is_used_in_full(far, negatives, accepted):
    """0.29 × 100 is 28.999999999999996 in floating point."""
    point = tar_at_far(Pairs.from_scores([2.0], np.arange(negatives) / negatives), far)
    assert point.far == accepted / negatives


def test_equal_negatives_are_accepted_together_or_not_at_all():
    assert tar_at_far(Pairs.from_scores([0.5], [0.5, 0.5, 0.1, 0.1]), 0.25).far == 0
    assert tar_at_far(Pairs.from_scores([0.5], [0.5, 0.5, 0.1, 0.1]), 0.25).tar == 0


@pytest.mark.parametrize("far", [-0.1, 1.0, float("nan")])
def test_a_far_out_of_range_is_refused(far):
    with pytest.raises(ValueError, match="far="):
        tar_at_far(Pairs.from_scores([1.0], [0.0]), far)


@pytest.mark.parametrize("pairs", [([], [0.1]), ([0.1], [])])
def test_both_kinds_of_pairs_are_needed(pairs):
    for metric in (auc, lambda p: tar_at_far(p, 0.1)):
        with pytest.raises(ValueError, match="both kinds"):
            metric(Pairs.from_scores(*pairs))


def test_similarities_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        Pairs.from_scores([0.1], [np.nan])


def test_distances_are_those_of_the_pairs():
    positive, negative = np.array([1.0, 0.5]), np.array([0.0, -1.0, 0.25])
    found = pair_statistics(Pairs.from_scores(positive, negative))
    for kind, values in (("positive", positive), ("negative", negative)):
        assert found[f"{kind}_similarity_mean"] == pytest.approx(np.mean(values))
        assert found[f"{kind}_similarity_std"] == pytest.approx(np.std(values))
        assert found[f"{kind}_euclidean_mean"] == pytest.approx(np.mean(np.sqrt(2 - 2 * values)))
        assert found[f"{kind}_euclidean_std"] == pytest.approx(np.std(np.sqrt(2 - 2 * values)))


@pytest.mark.parametrize("width", [0.0, 2.0**-6])
def test_the_histogram_holds_every_pair(width):
    rng = np.random.default_rng(0)
    shown = histogram(count_in_threads(rng.uniform(-1, 1, 50), rng.uniform(-1, 1, 500), width), bins=20)
    assert (sum(shown["positive"]), sum(shown["negative"])) == (50, 500)
    assert len(shown["edges"]) == 21


def test_the_histogram_of_identical_images():
    shown = histogram(count_in_threads([1.0] * 3, [1.0] * 5))
    assert (sum(shown["positive"]), sum(shown["negative"])) == (3, 5)
