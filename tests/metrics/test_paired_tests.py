from itertools import product

import numpy as np
import pytest
from scipy.stats import permutation_test

from lookalike.metrics.paired_tests import (
    Difference,
    flip_test,
    holm_correction,
    paired_differences,
    swap_models,
)


def random_values(gain=0.0, identities=60, each=5, seed=0):
    """Two models' values: queries of an identity vary together, in both models alike."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(identities), each)
    ability = rng.normal(0, 1, identities)[groups]
    better = gain + rng.normal(0, 0.5, identities)[groups]
    noise = rng.normal(0, 0.5, (2, len(groups)))
    return np.stack([ability + noise[0], ability + better + noise[1]], axis=1), groups


def test_the_flip_test_equals_trying_every_swap():
    sums = np.random.default_rng(0).normal(0.3, 1, (8, 2))
    every = np.abs(np.array(list(product([-1, 1], repeat=8))) @ sums)
    assert flip_test(sums) == pytest.approx((every >= np.abs(sums.sum(axis=0)) - 1e-9).mean(axis=0))


def test_the_flip_test_equals_that_of_scipy():
    sums = np.random.default_rng(1).normal(0.4, 1, 9)
    expected = permutation_test(
        (sums, np.zeros(9)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert flip_test(sums[:, None])[0] == pytest.approx(expected)


def test_drawn_flips_come_close_to_all_of_them():
    """Identities without a difference change no sum, but are too many for trying all flips."""
    sums = np.random.default_rng(2).normal(0.4, 1, (14, 1))
    many = np.concatenate([sums, np.zeros((600, 1))])
    assert flip_test(many)[0] == pytest.approx(flip_test(sums)[0], abs=0.02)


def test_holm_on_paper():
    assert holm_correction(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm_correction(np.array([0.9, 0.8])).max() == 1


def test_a_clear_gain_is_seen_from_both_sides():
    values, groups = random_values(gain=0.5)
    (found,) = paired_differences(values, groups)
    assert found.verdict == "better"
    assert swap_models(found).verdict == "worse"
    assert found.low < found.mean < found.high
    assert found.mean == pytest.approx((values[:, 1] - values[:, 0]).mean())


def test_a_winner_is_rarely_named_where_there_is_none():
    """Two models alike: with 95 % a winner may be named in 5 of 100 draws."""
    for identities, most in ((12, 0.07), (60, 0.08)):
        named = sum(
            paired_differences(*random_values(identities=identities, seed=seed), n=300)[0].verdict
            != "cannot tell"
            for seed in range(200)
        )
        assert named / 200 <= most


def test_among_eight_equal_models_a_winner_is_as_rare():
    named = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        values = rng.normal(0, 1, (120, 8)) + rng.normal(0, 1, (120, 1))
        named += any(
            each.verdict != "cannot tell" for each in paired_differences(values, np.arange(120) // 3, n=300)
        )
    assert named <= 7


def test_five_identities_never_suffice():
    values = np.stack([np.zeros(5), np.ones(5)], axis=1)
    assert paired_differences(values, np.arange(5))[0].p == pytest.approx(2 / 32)
    assert paired_differences(values, np.arange(5))[0].verdict == "cannot tell"


def test_equal_values_cannot_be_told_apart():
    (found,) = paired_differences(np.ones((30, 2)), np.arange(30))
    assert (found.mean, found.p, found.verdict) == (0, 1, "cannot tell")


def test_queries_without_a_value_in_one_model_are_left_out():
    values, groups = random_values(gain=0.5)
    holed = np.concatenate([values, [[np.nan, 5.0]] * 50])
    assert paired_differences(holed, [*groups, *[999] * 50]) == paired_differences(values, groups)


def test_interval_and_test_must_agree():
    assert Difference(0, 1, 0.1, 0.01, 0.2, 0.06).verdict == "cannot tell"
    assert Difference(0, 1, 0.1, -0.01, 0.2, 0.04).verdict == "cannot tell"
    assert Difference(0, 1, 0.1, 0.01, 0.2, 0.05).verdict == "better"


def test_one_model_or_one_identity_is_too_few():
    with pytest.raises(ValueError, match="at least 2 columns"):
        paired_differences(np.ones((4, 1)), np.arange(4))
    with pytest.raises(ValueError, match="at least 2"):
        paired_differences(np.ones((4, 2)), np.zeros(4, int))
