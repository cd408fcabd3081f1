"""Classes taken for each other, and hubs, counted from the neighbours that an evaluation stored."""

from collections import Counter

import numpy as np
import polars as pl

from lookalike.report.classes import confused_classes, find_hubs

LABELS = np.array(["a", "a", "a", "b", "b", "c", "c"])


def table(neighbours: list[list[int]]) -> pl.DataFrame:
    scores = [[0.9 - 0.1 * place for place in range(len(each))] for each in neighbours]
    return pl.DataFrame({"row": range(len(neighbours)), "neighbours": neighbours, "scores": scores})


def test_only_nearest_neighbours_of_another_class_count():
    found = confused_classes(table([[3, 1], [3, 0], [1, 5], [0, 4], [3, 6], [4, 6], [5, 0]]), LABELS, 8)
    assert [(pair.one, pair.other, pair.count, pair.of) for pair in found] == [
        ("a", "b", 3, 5),
        ("b", "c", 1, 4),
    ]
    assert found[1].rows == (4, 5)


def test_queries_without_neighbours_are_passed_over():
    without = table([[-1, -1], [3, -1], [1, -1], [0, -1], [3, -1], [6, -1], [5, -1]])
    assert confused_classes(without, LABELS, 8)[0].count == 2
    assert find_hubs(without, LABELS, 8) == []


def test_hubs_are_found_far_more_often_than_others():
    rng = np.random.default_rng(0)
    labels = np.array([f"class {row // 4}" for row in range(80)])
    neighbours = [[7, *rng.choice(np.delete(np.arange(80), [7, row]), 3).tolist()] for row in range(80)]
    neighbours[7] = [1, 2, 3, 4]
    found = find_hubs(table(neighbours), labels, 5)
    counts = Counter(row for each in neighbours for row in each)
    wrong = sum(labels[row] != labels[7] for row, each in enumerate(neighbours) if 7 in each)
    assert [(hub.row, hub.label, hub.found, hub.wrong) for hub in found] == [(7, "class 1", counts[7], wrong)]
