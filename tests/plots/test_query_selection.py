import numpy as np
import polars as pl
import pytest

from lookalike.errors import LookalikeError
from lookalike.plots.query_selection import choose_queries

LABELS = np.array(["a", "a", "b", "b", "c", "c", "d", "e"])


def per_query(**columns):
    frame = {
        "row": list(range(8)),
        "map@r": [1.0, 0.5, 0.0, 0.0, 0.0, 1.0, 0.0, None],
        "neighbours": [[1, 2], [2, 0], [4, 0], [0, 2], [6, 7], [4, 0], [0, 1], [0, 1]],
        "scores": [
            [0.9, 0.2],
            [0.8, 0.7],
            [0.99, 0.1],
            [0.3, 0.2],
            [0.9995, 0.4],
            [0.7, 0.6],
            [0.5, 0.1],
            [0.9, 0.9],
        ],
    }
    return pl.DataFrame({**frame, **columns})


def test_the_surest_mistakes_come_first_and_classes_differ():
    found = choose_queries(per_query(), LABELS, worst=2, best=2)
    assert [query.row for query in found.worst] == [4, 3], "2 and 6 are of classes that 4 shows"
    assert found.worst[0].hits[0].label == "d" and not found.worst[0].hits[0].right
    assert [query.row for query in found.best] == [5, 0]
    assert found.best[0].right == 1


def test_a_class_may_come_twice_before_better_queries_are_called_hard():
    found = choose_queries(per_query(), LABELS, worst=3, best=1)
    assert [query.value for query in found.worst] == [0.0, 0.0, 0.0]
    assert [query.row for query in found.worst] == [4, 2, 3]


def test_counts_are_of_all_queries():
    found = choose_queries(per_query(), LABELS, worst=1, best=1)
    assert (found.measure, found.judged, found.wrong_first, found.twins) == ("map@r", 7, 5, 1)


def test_no_query_is_among_best_and_worst():
    found = choose_queries(per_query(), LABELS, worst=50, best=50)
    worst, best = ({query.row for query in each} for each in (found.worst, found.best))
    assert not worst & best and 7 not in worst | best


def test_two_classes_fill_the_rows_there_are():
    labels = np.array(["x"] * 10 + ["y"] * 10)
    frame = pl.DataFrame(
        {
            "row": range(20),
            "recall@1": [0.0] * 20,
            "neighbours": [[(row + 10) % 20] for row in range(20)],
            "scores": [[0.5]] * 20,
        }
    )
    found = choose_queries(frame, labels, worst=8, best=4)
    assert (len(found.worst), len(found.best), found.measure) == (8, 4, "recall@1")


@pytest.mark.parametrize("labels", [np.arange(8) // 2, np.arange(8, dtype=np.uint64) + (1 << 63)])
def test_labels_may_be_numbers(labels):
    assert choose_queries(per_query(), labels, worst=1).worst[0].label == str(labels[4])


def test_nothing_there_is_not_a_hit():
    frame = per_query(neighbours=[[1, -1]] * 8)
    assert all(len(query.hits) == 1 for query in choose_queries(frame, LABELS).worst)


def test_nothing_to_choose_from():
    assert choose_queries(per_query(**{"map@r": [None] * 8}).cast({"map@r": pl.Float64}), LABELS) is None
    assert choose_queries(per_query().drop("map@r"), LABELS) is None
    assert choose_queries(per_query()[:0], LABELS) is None


def test_rows_of_another_evaluation_are_refused():
    with pytest.raises(LookalikeError, match="they do not match"):
        choose_queries(per_query(), LABELS[:3])
