import pickle

import numpy as np
import pytest

from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.clustering import clustering
from lookalike.metrics.estimate import Estimate, estimate_intervals, identity_estimates
from lookalike.metrics.neighbours import Neighbours, dir_at, global_average_precision, hubness
from lookalike.metrics.space import effective_rank
from lookalike.metrics.verification_at_threshold import k_fold_accuracy


def open_set(rng, identities=80, each=4):
    """First hits of queries: those of odd identities are unknown; confidence varies by identity."""
    label = np.repeat(np.arange(identities), each)
    known = label % 2 == 0
    clear = rng.normal(0, 0.7, identities)[label]
    right = known & (clear + rng.normal(size=len(label)) > -0.5)
    scores = clear + right + rng.normal(0, 0.5, len(label))
    found = np.where(right, label, label + 1000)[:, None]
    return Neighbours(found, found, scores[:, None], label, known.astype(int), identities)


def listed_pairs(rng, identities=60):
    """One positive and one negative pair of each identity, in ten folds of identities."""
    first = np.repeat(np.arange(identities), 2)
    same = np.tile([True, False], identities)
    second = np.where(same, first, (first + 10) % identities)
    clear = rng.normal(0, 0.8, identities)
    scores = np.where(same, 1.5, 0.0) + clear[first] * np.where(same, 1, -1) + rng.normal(0, 0.6, len(same))
    return scores, same, first % 10, np.stack([first, second], axis=1)


def vectors(rng, identities=80):
    """Images of an identity lie beside it, along directions that most do not use."""
    codes = np.repeat(np.arange(identities), 3)
    spread = np.array([3, 2, 1, 0.5, 0.3])
    centres = rng.standard_normal((identities, 5)) * spread * rng.uniform(0.5, 1.5, (identities, 1))
    rows = centres[codes] + 0.1 * rng.standard_normal((len(codes), 5))
    return rows / 10, codes


def measure_metrics(rng):
    near = open_set(rng)
    found = {"gap": global_average_precision(near), "dir": dir_at(near, 0.1)}
    *pairs, identities = listed_pairs(rng)
    found["fold_accuracy"] = k_fold_accuracy(*pairs, identities)["fold_accuracy"]
    found["effective_rank"] = effective_rank(*vectors(rng))
    return found


def test_intervals_cover_the_truth_in_about_95_of_100_draws():
    """The truth is the mean of many draws of this size."""
    draws = [measure_metrics(np.random.default_rng(seed)) for seed in range(150)]
    truth = {name: np.mean([draw[name] for draw in draws]) for name in draws[0]}
    inside = dict.fromkeys(truth, 0)
    for seed, draw in enumerate(draws):
        for name, (low, high) in estimate_intervals(draw, n=200, seed=seed).items():
            inside[name] += low <= truth[name] <= high
    for name, count in inside.items():
        assert count / len(draws) >= 0.87, name
    assert 0.91 <= np.mean(list(inside.values())) / len(draws) <= 0.985


def value_per_repetition(function, codes, identity, times):
    """The value when the images of an identity are there so many times more, per time."""
    rows = np.flatnonzero(codes == identity)
    more = np.concatenate([np.tile(np.arange(len(codes)), 200), np.tile(rows, times)])
    return function(more)


@pytest.mark.parametrize("name", ["gap", "effective_rank"])
def test_influences_are_what_more_of_an_identity_does(name):
    """All images 200 times and those of one identity once more: nearly the derivative."""
    rng = np.random.default_rng(0)
    if name == "gap":
        near = open_set(rng, identities=12)
        codes = near.label

        def value(rows):
            parts = (near.rows, near.labels, near.scores, near.label, near.total)
            return global_average_precision(Neighbours(*(part[rows] for part in parts), 12))

    else:
        unit, codes = vectors(rng, identities=12)

        def value(rows):
            return effective_rank(unit[rows])

    found = {
        "gap": lambda: value(np.arange(len(codes))),
        "effective_rank": lambda: effective_rank(unit, codes),
    }[name]()
    slopes = np.array([(value_per_repetition(value, codes, each, 1) - found) * 200 for each in range(12)])
    assert found.influence == pytest.approx(slopes - slopes.mean(), abs=0.02 * np.abs(slopes).max())


def test_a_mean_has_the_interval_of_the_bootstrap():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 50, 300)
    values = rng.random(300) + codes / 50
    mean = values.mean()
    found = Estimate(mean, identity_estimates((values - mean) / 300, codes))
    assert found.pseudo_values.mean() == pytest.approx(mean)
    assert estimate_intervals({"mean": found}, n=4000)["mean"] == pytest.approx(
        bootstrap_interval(values, codes, n=4000), abs=0.01
    )


def test_identities_without_a_part_have_no_influence():
    found = Estimate(0.5, identity_estimates(np.array([0.1, -0.3]), np.array([1, 3]), 6))
    assert np.isnan(found.influence[[0, 2, 4, 5]]).all()
    assert found.influence[[1, 3]] == pytest.approx([0.2, -0.2])
    assert found.identities == 2
    assert estimate_intervals({"alone": Estimate(0.5, np.array([0.0])), "plain": 0.5}) == {}


def test_halves_of_the_identities_tell_how_hubness_varies():
    """The spread over sets that are drawn anew."""
    values, ends = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(40), 3)
        rows = rng.standard_normal((40, 6))[codes] + 0.7 * rng.standard_normal((120, 6))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        scores = rows @ rows.T - 9 * np.eye(120)
        near = np.argsort(-scores, axis=1)[:, :15]
        found = hubness(
            Neighbours(
                near, codes[near], np.take_along_axis(scores, near, 1), codes, codes * 0 + 2, 120, codes
            ),
            5,
            halves=40,
        )
        values.append(float(found["hubness_skewness"]))
        ends.append(estimate_intervals(found)["hubness_skewness"])
    widths = np.diff(ends, axis=1).mean() / 3.92
    assert 0.7 <= widths / np.std(values) <= 1.5
    inside = [low <= np.mean(values) <= high for low, high in ends]
    assert np.mean(inside) >= 0.85


def clustered_vectors(seed, identities=16, each=4):
    """Images around centres of which k-means finds some."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(identities), each)
    rows = rng.standard_normal((identities, 6))[codes] + 0.7 * rng.standard_normal((len(codes), 6))
    return clustering(
        rows / np.linalg.norm(rows, axis=1, keepdims=True), codes, seed=seed, splits=5, rounds=8
    )


def test_halves_that_are_clustered_anew_tell_how_clustering_varies():
    draws = [clustered_vectors(seed) for seed in range(50)]
    for name in ("nmi", "ami", "ari"):
        truth = np.mean([draw[name] for draw in draws])
        ends = [estimate_intervals(draw)[name] for draw in draws]
        assert np.mean([low <= truth <= high for low, high in ends]) >= 0.87, name
        errors = np.sqrt(np.mean([draw[name].error ** 2 for draw in draws]))
        assert 0.75 <= errors / np.std([draw[name] for draw in draws]) <= 1.45, name


def test_a_sample_of_the_identities_gives_about_the_error_of_all(monkeypatch):
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(60), 4)
    rows = rng.standard_normal((60, 6))[codes] + 0.7 * rng.standard_normal((240, 6))
    whole = clustering(rows, codes, splits=25)["ami"]
    monkeypatch.setattr("lookalike.metrics.clustering.MOST_SPLIT", 120)
    assert clustering(rows, codes, splits=25)["ami"].error == pytest.approx(whole.error, rel=0.45)


def test_clustering_of_few_identities_and_without_splits_has_no_interval():
    rows, codes = np.random.default_rng(0).standard_normal((12, 4)), np.repeat(np.arange(3), 4)
    assert estimate_intervals(clustering(rows, codes)) == {}
    assert estimate_intervals(clustering(rows, np.repeat(np.arange(6), 2), splits=0)) == {}
    fixed = clustering(rows, np.repeat(np.arange(6), 2), clusters=3)
    assert set(estimate_intervals(fixed)) == {"nmi", "ami", "ari"}


def test_a_number_with_influences_is_a_number():
    found = Estimate(0.25, np.array([1.0, 3.0]))
    assert (found, found + 1, f"{found:.2f}") == (0.25, 1.25, "0.25")
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert again.influence.tolist() == [-1.0, 1.0]
