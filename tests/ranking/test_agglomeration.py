"""Average linkage: equal to SciPy's, with pairs that are together or apart, and with few neighbours."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from lookalike.ranking import agglomeration
from lookalike.ranking.agglomeration import Constraints, agglomerate, neighbour_pairs, number_groups


def population(seed, identities=30, photos=200, dim=12, noise=0.7):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, identities, photos)
    vectors = rng.normal(size=(identities, dim))[labels] + noise * rng.normal(size=(photos, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def scipy_groups(unit, threshold):
    distance = 1 - (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    return number_groups(fcluster(linkage(distance, "average"), 1 - threshold, "distance"))


@pytest.mark.parametrize("seed", range(8))
def test_groups_are_those_of_scipy(seed, monkeypatch):
    unit, _ = population(seed)
    threshold = np.random.default_rng(seed).uniform(0.1, 0.9)
    monkeypatch.setattr(agglomeration, "BLOCK", 3000)
    assert (agglomerate(unit, threshold, most=200) == scipy_groups(unit, threshold)).all()


def test_order_of_the_rows_does_not_matter():
    unit, _ = population(3)
    order = np.random.default_rng(0).permutation(len(unit))
    assert (number_groups(agglomerate(unit, 0.5)[order]) == agglomerate(unit[order], 0.5)).all()


def test_a_chain_of_similar_pairs_is_not_one_group():
    angle = np.deg2rad(np.arange(0, 90, 10))
    unit = np.stack([np.cos(angle), np.sin(angle)], 1)
    assert agglomerate(unit, np.cos(np.deg2rad(15))).max() + 1 > 3


def test_few_neighbours_still_join_an_individual_with_many_photos():
    unit, _ = population(0, identities=1, photos=300, noise=0.3)
    assert agglomerate(unit, 0.5, most=4).max() == 0


def test_pairs_stay_together_or_apart_whatever_their_similarity():
    unit, _ = population(1)
    groups = np.arange(len(unit))
    groups[[3, 50, 90]] = 3
    free = agglomerate(unit, 0.5)
    close = [tuple(np.flatnonzero(free == code)[:2]) for code in range(20) if (free == code).sum() > 1]
    codes = agglomerate(unit, 0.5, Constraints(groups, close))
    assert len(set(codes[[3, 50, 90]])) == 1
    assert all(codes[a] != codes[b] for a, b in close)
    with pytest.raises(ValueError, match="rows 3 and 50 are of one group"):
        agglomerate(unit, 0.5, Constraints(groups, [(3, 50)]))


def test_rows_of_different_owners_are_never_together():
    unit = np.repeat(population(2)[0][:5], 4, axis=0)
    owners = np.tile([-1, 0, 1, -1], 5)
    codes = agglomerate(unit, 0.9, Constraints(owners=owners))
    for code in range(codes.max() + 1):
        assert len(set(owners[codes == code]) - {-1}) <= 1


def test_neighbours_are_those_of_all_pairs(monkeypatch):
    unit = population(4)[0].astype(np.float32)
    monkeypatch.setattr(agglomeration, "BLOCK", 1000)
    one, other, is_cut = neighbour_pairs(unit, 0.4, 500)
    expected = np.triu(unit @ unit.T >= 0.4, 1)
    assert not is_cut and (np.stack([one, other]) == np.nonzero(expected)).all()
    one, other, is_cut = neighbour_pairs(unit, 0.4, 3)
    assert is_cut and np.bincount(one).max() == 3 and expected[one, other].all()


def test_no_rows_and_one_row():
    assert agglomerate(np.empty((0, 4)), 0.5).tolist() == []
    assert agglomerate(np.eye(4)[:1], 0.5).tolist() == [0]
