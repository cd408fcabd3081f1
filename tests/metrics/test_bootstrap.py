import numpy as np
import pytest

from lookalike.metrics.bootstrap import bootstrap_interval


def slow_bootstrap(values, groups, n, rng):
    """Draw identities one by one and average their queries."""
    names = np.unique(groups)
    means = []
    for _ in range(n):
        drawn = rng.choice(names, len(names))
        means.append(np.mean(np.concatenate([values[groups == name] for name in drawn])))
    return np.quantile(means, [0.025, 0.975])


def test_equals_a_bootstrap_that_draws_identities_one_by_one():
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 40, 300)
    values = rng.random(300) + groups / 40
    expected = slow_bootstrap(values, groups, 4000, rng)
    assert bootstrap_interval(values, groups, n=4000) == pytest.approx(expected, abs=0.01)


def test_identities_vary_together_so_the_interval_is_wider_than_that_of_images():
    groups = np.repeat(np.arange(30), 20)
    values = np.repeat(np.random.default_rng(0).random(30), 20)
    low, high = bootstrap_interval(values, groups)
    low_images, high_images = bootstrap_interval(values, np.arange(600))
    assert high - low > 3 * (high_images - low_images)


def test_covers_the_truth_in_about_95_of_100_draws():
    rng = np.random.default_rng(0)
    inside = 0
    for draw in range(300):
        ability = rng.random(60)
        groups = np.repeat(np.arange(60), 5)
        low, high = bootstrap_interval(rng.random(300) < ability[groups], groups, n=400, seed=draw)
        inside += low <= 0.5 <= high
    assert 0.91 <= inside / 300 <= 0.98


def test_several_metrics_at_once_are_as_each_alone():
    rng = np.random.default_rng(0)
    values, groups = rng.random((200, 3)), rng.integers(0, 50, 200)
    low, high = bootstrap_interval(values, groups, seed=3)
    for metric in range(3):
        assert (low[metric], high[metric]) == pytest.approx(
            bootstrap_interval(values[:, metric], groups, seed=3)
        )


def test_the_seed_decides_and_blocks_do_not(monkeypatch):
    values, groups = np.random.default_rng(0).random(100), np.arange(100) // 3
    assert bootstrap_interval(values, groups, seed=1) == bootstrap_interval(values, groups, seed=1)
    assert bootstrap_interval(values, groups, seed=1) != bootstrap_interval(values, groups, seed=2)
    whole = bootstrap_interval(values, groups, seed=1)
    monkeypatch.setattr("lookalike.metrics.bootstrap.CELLS", 100)
    assert bootstrap_interval(values, groups, seed=1) == pytest.approx(whole, rel=1e-12)


def test_queries_without_a_value_are_left_out():
    values = np.array([0.0, 1.0, np.nan, np.nan])
    assert bootstrap_interval(values, ["a", "b", "c", "d"]) == bootstrap_interval(values[:2], ["a", "b"])


def test_one_identity_is_too_few():
    with pytest.raises(ValueError, match="1 identity has a value"):
        bootstrap_interval(np.ones(5), ["a"] * 5)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"level": 1.0}, {"level": 0.0}])
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="bootstrap"):
        bootstrap_interval(np.ones(2), ["a", "b"], **wrong)
