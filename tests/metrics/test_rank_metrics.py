import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from lookalike.metrics.rank_metrics import hits_at, inverse_negative_penalty, map_at, ndcg_at, reciprocal_rank
from lookalike.metrics.retrieval import Ranking

rankings = st.lists(st.booleans(), min_size=2, max_size=40).filter(any)


def one(relevant, total=None):
    return Ranking.from_relevant(np.array([relevant]), np.array([sum(relevant) if total is None else total]))


def by_hand(relevant, k):
    """As the definitions say, from the booleans of one whole ranking."""
    places = [place for place, right in enumerate(relevant, 1) if right]
    total = len(places)
    precision = [(i + 1) / place for i, place in enumerate(places)]
    gain = sum(1 / np.log2(1 + place) for place in places if place <= k)
    return {
        "hits": sum(relevant[:k]),
        "map": sum(p for p, place in zip(precision, places, strict=True) if place <= k) / min(k, total),
        "ndcg": gain / sum(1 / np.log2(1 + i) for i in range(1, min(k, total) + 1)),
        "mrr": 1 / places[0],
        "minp": total / places[-1],
    }


@given(rankings, st.integers(1, 50))
def test_all_equal_their_definitions(relevant, k):
    ranking = one(relevant)
    found = {
        "hits": hits_at(ranking, k)[0],
        "map": map_at(ranking, k)[0],
        "ndcg": ndcg_at(ranking, k)[0],
        "mrr": reciprocal_rank(ranking)[0],
        "minp": inverse_negative_penalty(ranking)[0],
    }
    assert found == pytest.approx(by_hand(relevant, k))


@given(rankings, st.integers(1, 50))
def test_ndcg_equals_scikit_learn(relevant, k):
    scores = -np.arange(len(relevant), dtype=float)
    assert ndcg_at(one(relevant), k)[0] == pytest.approx(ndcg_score([relevant], [scores], k=k))


def test_map_at_k_with_one_hit_of_ten_is_not_perfect():
    ranking = one([True, *[False] * 19, *[True] * 9])
    assert map_at(ranking, 5)[0] == pytest.approx(0.2)
    assert map_at(ranking, 1)[0] == 1


def test_what_was_not_retrieved_counts_as_missed():
    ranking = one([True, False], total=4)
    assert inverse_negative_penalty(ranking)[0] == 0
    assert map_at(ranking, 10)[0] == 0.25
    assert reciprocal_rank(one([False, False], total=1))[0] == 0


def test_a_query_with_nothing_to_find_has_no_value():
    ranking = Ranking.from_lists([np.array([1]), np.empty(0, np.int64)])
    for values in (
        hits_at(ranking, 3),
        map_at(ranking, 3),
        ndcg_at(ranking, 3),
        reciprocal_rank(ranking),
        inverse_negative_penalty(ranking),
    ):
        assert np.isnan(values).tolist() == [False, True]
    empty = Ranking.from_lists([np.empty(0, np.int64)])
    assert np.isnan(ndcg_at(empty, 3)).all()
    assert np.isnan(reciprocal_rank(empty)).all()


@pytest.mark.parametrize("metric", [hits_at, map_at, ndcg_at])
def test_k_is_at_least_one(metric):
    with pytest.raises(ValueError, match="k=0"):
        metric(one([True]), 0)
