import numpy as np
import pytest

from lookalike.metrics import neighbours as module
from lookalike.metrics.neighbours import Neighbours, dir_at, global_average_precision, hubness, knn_at


def random_neighbours(queries=60, width=12, classes=5, seed=0, lone=0):
    """Neighbours with random labels; similarities from few values, so that there are ties."""
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.choice(np.linspace(-1, 1, 9), (queries, width)), axis=1)
    rows = np.stack([rng.permutation(100)[:width] for _ in range(queries)])
    label = rng.integers(0, classes, queries)
    total = np.full(queries, 3)
    total[:lone] = 0
    label[:lone] = 99
    return Neighbours(rows, rng.integers(0, classes, (queries, width)), scores, label, total, 100)


def voted_by_hand(labels, scores, k, temperature):
    votes = {}
    for label, score in zip(labels[:k], scores[:k], strict=True):
        votes[label] = votes.get(label, 0) + np.exp((score - scores[0]) / temperature)
    order = list(votes)
    return sorted(votes, key=lambda label: (-votes[label], order.index(label)))


@pytest.mark.parametrize("top", [1, 2, 5])
@pytest.mark.parametrize("k", [1, 4, 12])
def test_votes_equal_a_loop(k, top, monkeypatch):
    monkeypatch.setattr(module, "PART", 500)
    found = random_neighbours()
    expected = [
        label in voted_by_hand(labels, scores, k, 0.5)[:top]
        for labels, scores, label in zip(found.labels, found.scores, found.label, strict=True)
    ]
    assert knn_at(found, k, top, 0.5).tolist() == expected


def test_a_vote_of_one_is_whether_the_nearest_is_right():
    found = random_neighbours()
    assert (knn_at(found, 1) == (found.labels[:, 0] == found.label)).all()


def test_absent_neighbours_have_no_vote_and_unknown_queries_no_value():
    found = Neighbours(
        np.array([[3, -1], [1, 2]]),
        np.array([[7, -1], [7, 8]]),
        np.array([[0.5, -np.inf], [0.9, 0.1]]),
        np.array([7, 9]),
        np.array([1, 0]),
        3,
    )
    assert knn_at(found, 2)[0] == 1
    assert np.isnan(knn_at(found, 2)[1])


def test_too_few_neighbours_are_refused():
    with pytest.raises(ValueError, match="only 12 neighbours"):
        knn_at(random_neighbours(), 13)


def test_gap_of_distinct_scores_is_average_precision_over_all_predictions():
    found = random_neighbours(lone=10)
    scores = np.random.default_rng(1).permutation(60) / 60.0
    found = Neighbours(found.rows, found.labels, np.tile(scores[:, None], 12), found.label, found.total, 100)
    right = (found.labels[:, 0] == found.label)[np.argsort(-scores)]
    precision = np.cumsum(right) / np.arange(1, 61)
    assert global_average_precision(found) == pytest.approx((precision * right).sum() / 50)


def test_gap_does_not_depend_on_the_order_of_queries():
    found = random_neighbours(lone=5)
    order = np.random.default_rng(2).permutation(60)
    parts = (found.rows, found.labels, found.scores, found.label, found.total)
    turned = Neighbours(*(part[order] for part in parts), 100)
    assert global_average_precision(turned) == pytest.approx(global_average_precision(found))


def test_a_confident_wrong_answer_to_an_unknown_query_costs():
    def gap(confidence):
        scores = np.array([[0.8], [0.7], [confidence]])
        rows = np.zeros((3, 1), int)
        return global_average_precision(
            Neighbours(rows, np.array([[1], [2], [1]]), scores, np.array([1, 2, 9]), np.array([1, 1, 0]), 3)
        )

    assert gap(0.1) == 1
    assert gap(0.9) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_dir_equals_a_loop_over_thresholds():
    found = random_neighbours(queries=400, lone=100)
    noisy = found.scores + np.random.default_rng(0).uniform(0, 1e-3, (400, 1))
    found = Neighbours(found.rows, found.labels, noisy, found.label, found.total, 100)
    first, right = noisy[:, 0], found.labels[:, 0] == found.label
    best = 0.0
    for threshold in np.unique(first):
        if (first[:100] >= threshold).sum() <= 5:
            best = max(best, (right & (first >= threshold))[100:].mean())
    assert dir_at(found, 0.05) == pytest.approx(best)


def test_dir_needs_both_kinds_and_enough_unknown_queries():
    with pytest.raises(ValueError, match="needs both kinds"):
        dir_at(random_neighbours(), 0.1)
    with pytest.raises(ValueError, match="10 unknown queries show no rate below"):
        dir_at(random_neighbours(lone=10), 0.01)


def test_hubness_of_one_hub_and_of_a_ring():
    ring = np.array([[(i + 1) % 20, (i - 1) % 20] for i in range(20)])
    star = np.array([[1 if i == 0 else 0, 2 if i == 1 else 1] for i in range(20)])

    def of(rows):
        labels = np.zeros_like(rows)
        return hubness(Neighbours(rows, labels, labels * 0.0, labels[:, 0], labels[:, 0] + 1, 20), 2)

    assert of(ring) == {"hubness_skewness": 0.0, "anti_hubs": 0.0}
    assert of(star)["hubness_skewness"] > 2
    assert of(star)["anti_hubs"] == 17 / 20
