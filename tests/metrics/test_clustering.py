import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
)

from lookalike.metrics import k_means as module
from lookalike.metrics.clustering import agreement, clustering
from lookalike.metrics.inputs import unit_vectors
from lookalike.metrics.k_means import estimate_clusters, k_means

two = st.integers(1, 60).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 9), min_size=size, max_size=size)] * 2)
)


def blobs(clusters=6, each=20, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.eye(8)[rng.permutation(8)[:clusters]]
    codes = np.repeat(np.arange(clusters), each)
    return unit_vectors(centres[codes] + noise * rng.standard_normal((len(codes), 8))), codes


@given(two)
def test_agreement_equals_scikit_learn(partitions):
    labels, clusters = (np.array(each) for each in partitions)
    found = agreement(labels, clusters)
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(labels, clusters), abs=1e-9)
    assert found["ari"] == pytest.approx(adjusted_rand_score(labels, clusters), abs=1e-9)
    assert found["ami"] == pytest.approx(adjusted_mutual_info_score(labels, clusters), abs=1e-7)


def test_blobs_are_found_and_scored_as_perfect():
    unit, codes = blobs()
    assert clustering(unit, codes) == pytest.approx({"nmi": 1, "ami": 1, "ari": 1, "clusters": 6})


def test_k_means_is_as_good_as_that_of_scikit_learn():
    unit, _ = blobs(noise=0.6, each=60)
    ours = min(k_means(unit, 6, seed).cost for seed in range(5))
    theirs = KMeans(6, n_init=5, random_state=0).fit(unit).inertia_
    assert ours == pytest.approx(theirs, rel=0.02)


def test_what_k_means_ends_with_is_a_fixed_point(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 4 * 7 * 10)
    unit, _ = blobs(noise=0.6)
    found = k_means(unit, 7, seed=1)
    distances = ((unit[:, None] - found.centres[None]) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == found.codes).all()
    for cluster in range(7):
        assert found.centres[cluster] == pytest.approx(unit[found.codes == cluster].mean(axis=0), abs=1e-6)
    assert found.cost == pytest.approx(distances.min(axis=1).sum(), rel=1e-4)


def test_the_seed_decides():
    unit, _ = blobs(noise=0.8)
    assert (k_means(unit, 9, 3).codes == k_means(unit, 9, 3).codes).all()
    assert (k_means(unit, 9, 3).codes != k_means(unit, 9, 4).codes).any()


def test_more_clusters_than_different_vectors():
    same = unit_vectors(np.repeat(np.eye(3), 5, axis=0))
    assert k_means(same, 10).cost == pytest.approx(0, abs=1e-5)
    assert k_means(np.ones((4, 2), np.float32), 4).cost == pytest.approx(0, abs=1e-5)
    many = unit_vectors(np.random.default_rng(0).standard_normal((300, 4)))
    assert len(np.unique(k_means(many, 200).codes)) > 150


def test_the_number_of_clusters_is_estimated():
    unit, codes = blobs(noise=0.08)
    assert estimate_clusters(unit) == 6
    assert clustering(unit, codes, clusters=-1)["clusters"] == 6


@pytest.mark.parametrize("k", [0, 121])
def test_a_wrong_number_of_clusters_is_refused(k):
    with pytest.raises(ValueError, match=f"k={k}"):
        k_means(blobs()[0], k)
