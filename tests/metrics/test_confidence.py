import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from lookalike.metrics.bootstrap import bootstrap_interval, confidence_interval, freedom, wilson


def column(*values):
    return np.array(values, float)[:, None]


def test_many_identities_have_the_bca_interval_of_scipy():
    values = np.random.default_rng(0).exponential(size=400)
    expected = scipy_bootstrap((values,), np.mean, n_resamples=9999, method="BCa", rng=0).confidence_interval
    found = bootstrap_interval(values, np.arange(400), n=9999)
    assert found == pytest.approx((expected.low, expected.high), abs=0.006)
    plain = scipy_bootstrap((values,), np.mean, n_resamples=9999, method="percentile", rng=0)
    assert found[1] > plain.confidence_interval.high + 0.002  # so the correction is seen


def test_degrees_of_freedom_are_those_of_the_identities_that_decide():
    rng = np.random.default_rng(0)
    even, one = rng.choice([-1.0, 1.0], (60, 1)), np.zeros((60, 1))
    one[0], one[1:] = 1.0, -1 / 59
    assert freedom(even)[0] == 59
    assert freedom(one)[0] == pytest.approx(2, abs=0.2)
    normal = np.mean([freedom(rng.standard_normal((60, 1)))[0] for _ in range(200)])
    assert 45 <= normal <= 59
    unknown = np.append(even, np.full((7, 1), np.nan), axis=0)
    assert freedom(unknown)[0] == 59


def test_where_nothing_varies_the_rule_of_three_is_left():
    """Of 60 identities without a failure, about 6 % may fail (Wilson: z² / (n + z²))."""
    values, ones = np.ones(1), np.ones((500, 1))
    low, high = confidence_interval(values, ones, np.zeros((60, 1)), np.array([[0.0], [1.0]]))
    assert (low[0], high[0]) == (pytest.approx(4.0 / 64.0 * -1 + 1, abs=2e-3), 1.0)
    low, high = confidence_interval(values, ones, np.zeros((60, 1)))
    assert (low[0], high[0]) == (1.0, 1.0)  # nothing is known of what it might be


def test_wilson_equals_the_formula_of_independent_trials():
    z, n, p = 1.96, 40, 0.9
    expected = [
        (p + z * z / 2 / n + s * z * (p * (1 - p) / n + (z / 2 / n) ** 2) ** 0.5) / (1 + z * z / n)
        for s in (-1, 1)
    ]
    found = wilson(np.array([p]), np.array([p * (1 - p) / n]), np.array([z]), np.array([n]), column(0, 1))
    assert np.ravel(found) == pytest.approx(expected)
    scaled = wilson(
        np.array([3 * p]), np.array([9 * p * (1 - p) / n]), np.array([z]), np.array([n]), column(0, 3)
    )
    assert np.ravel(scaled) == pytest.approx(3 * np.array(expected))


@pytest.mark.parametrize("failing", [0.002, 0.01, 0.05])
def test_shares_near_one_are_covered(failing):
    """Percentiles of resamples cover 0.2 to 0.9 of them."""
    rng, inside = np.random.default_rng(0), 0
    for draw in range(150):
        right = rng.random((60, 5)) >= rng.beta(0.5, 0.5 / failing - 0.5, (60, 1))
        low, high = bootstrap_interval(
            right.ravel().astype(float), np.repeat(np.arange(60), 5), 200, draw, shares=True
        )
        inside += low <= 1 - failing <= high
    assert inside / 150 >= 0.92
