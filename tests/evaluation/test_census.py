"""Photos grouped at the threshold of identification, and the number of individuals behind them."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from lookalike.evaluation.census import count_individuals, group_photos
from lookalike.evaluation.identification import choose_identification_point
from lookalike.ranking.agglomeration import Constraints


def population(identities, seed, most=6, dim=24, noise=0.6):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), rng.integers(1, most + 1, identities))
    spread = noise * rng.uniform(0.5, 1.6, len(labels))[:, None]
    vectors = rng.normal(size=(identities, dim))[labels] + spread * rng.normal(size=(len(labels), dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


@pytest.fixture(scope="module")
def validation():
    return population(120, seed=1000)


def test_the_threshold_is_that_of_an_index_of_the_groups(validation):
    unit, labels = population(50, seed=0, noise=0.5)
    codes, point = group_photos(unit, validation, 0.05)
    assert point == choose_identification_point(*validation, np.bincount(codes)[::-1], 0.05)
    assert point.gallery == codes.max() + 1
    assert adjusted_rand_score(labels, codes) > 0.75


def test_pairs_that_are_together_count_as_one_group_from_the_start(validation):
    unit, labels = population(30, seed=1)
    codes, _ = group_photos(unit, validation, 0.05, Constraints(groups=labels))
    assert all(len(set(codes[labels == label])) == 1 for label in range(30))


def test_the_interval_of_the_count_contains_the_number_of_individuals(validation):
    hits, wrong = 0, []
    for seed in range(8):
        size = 20 + 15 * seed
        unit, _ = population(size, seed)
        codes, point = group_photos(unit, validation)
        count = count_individuals(codes, point.threshold, validation)
        assert count.low <= count.value <= count.high and count.groups == codes.max() + 1
        hits += count.low <= size <= count.high
        wrong.append(count.groups / size)
    assert hits >= 7
    assert np.mean(wrong) > 1.2, "the number of groups alone is no estimate"


def test_few_validation_identities_tell_no_count():
    unit, labels = population(7, seed=2)
    assert count_individuals(np.arange(5), 0.5, (unit, labels)) is None


def test_photos_that_are_all_alone_are_as_many_individuals(validation):
    unit, _ = population(40, seed=3, most=1)
    codes, point = group_photos(unit, validation)
    count = count_individuals(codes, point.threshold, validation)
    assert count.groups == 40 and count.value == pytest.approx(40, rel=0.05)
