import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from lookalike.metrics import retrieval
from lookalike.metrics.retrieval import (
    Ranking,
    average_precision,
    map_at_r,
    precision_at,
    r_precision,
    recall_at,
    relevant_positions,
)


def by_hand(relevant, total, k):
    """Every metric of one query from the booleans of its full ranking, as its definition says."""
    hits = np.cumsum(relevant)
    places = [place for place, right in enumerate(relevant, 1) if right]
    precision = [hits[place - 1] / place for place in places]
    return {
        "recall": float(any(relevant[:k])),
        "precision": sum(relevant[:k]) / k,
        "r_precision": sum(relevant[:total]) / total,
        "map_at_r": sum(p for p, place in zip(precision, places, strict=True) if place <= total) / total,
        "average_precision": sum(precision) / total,
    }


def all_of(ranking, k):
    return {
        "recall": recall_at(ranking, k),
        "precision": precision_at(ranking, k),
        "r_precision": r_precision(ranking),
        "map_at_r": map_at_r(ranking),
        "average_precision": average_precision(ranking),
    }


def test_an_example_worked_out_on_paper():
    ranking = Ranking.from_relevant(np.array([[True, False, True, False, True]]), np.array([3]))
    assert recall_at(ranking, 1) == precision_at(ranking, 1) == 1
    assert precision_at(ranking, 2) == 0.5
    assert precision_at(ranking, 10) == pytest.approx(0.3)  # divided by k, though only five are there
    assert r_precision(ranking) == pytest.approx(2 / 3)
    assert map_at_r(ranking) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(ranking) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_map_at_r_divides_by_r_and_not_by_what_was_found():
    """One hit first among ten relevant rows is a tenth, not one."""
    relevant = np.array([[True, *[False] * 19, *[True] * 9]])
    assert map_at_r(Ranking.from_relevant(relevant, np.array([10]))) == pytest.approx(0.1)


@given(st.lists(st.booleans(), min_size=1, max_size=40).filter(any), st.integers(1, 50))
def test_all_metrics_equal_their_definitions(relevant, k):
    ranking = Ranking.from_relevant(np.array([relevant]), np.array([sum(relevant)]))
    expected = by_hand(relevant, sum(relevant), k)
    assert {name: value[0] for name, value in all_of(ranking, k).items()} == pytest.approx(expected)


@given(st.lists(st.booleans(), min_size=2, max_size=40).filter(any))
def test_average_precision_equals_scikit_learn(relevant):
    ranking = Ranking.from_relevant(np.array([relevant]), np.array([sum(relevant)]))
    scores = -np.arange(len(relevant), dtype=float)
    assert average_precision(ranking)[0] == pytest.approx(average_precision_score(relevant, scores))


def test_a_query_with_nothing_to_find_has_no_value():
    ranking = Ranking.from_lists([np.array([1]), np.empty(0, np.int64)])
    for value in all_of(ranking, 5).values():
        assert np.isnan(value).tolist() == [False, True]


def test_k_is_at_least_one():
    for metric in (recall_at, precision_at):
        with pytest.raises(ValueError, match="k=0"):
            metric(Ranking.from_lists([np.array([1])]), 0)


def test_relevant_rows_beyond_what_was_retrieved_count_as_missed():
    ranking = Ranking.from_relevant(np.array([[True, False]]), np.array([4]))
    assert average_precision(ranking) == map_at_r(ranking) == r_precision(ranking) == 0.25


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=5))
def test_booleans_survive_the_way_through_positions(relevant):
    matrix = np.array(relevant)
    ranking = Ranking.from_relevant(matrix, matrix.sum(axis=1))
    assert (ranking.relevant(7) == matrix).all()
    assert (ranking.relevant(3) == matrix[:, :3]).all()


@given(
    st.lists(st.sampled_from([-np.inf, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0]), min_size=1, max_size=90), st.data()
)
def test_positions_are_those_of_a_stable_sort(values, data):
    scores = np.array(values, np.float32)
    rows = np.array(data.draw(st.lists(st.integers(0, len(values) - 1), unique=True)), np.int64)
    expected = np.empty(len(scores), np.int64)
    expected[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    assert relevant_positions(scores, rows).tolist() == expected[rows].tolist()
    assert retrieval._positions_by_sorting(scores, rows).tolist() == expected[rows].tolist()
