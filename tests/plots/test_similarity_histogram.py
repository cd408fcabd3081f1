import io

import numpy as np
import pytest

from lookalike.plots.similarity_histogram import (
    BARS,
    distance_histogram,
    pair_distances,
    short_numbers,
    trim_axis,
)

DISTANCES = {
    "edges": np.linspace(-1, 1, 9).tolist(),
    "positive": [0, 0, 0, 0, 1, 2, 3, 4],
    "negative": [0, 10, 40, 30, 20, 0, 0, 0],
    "threshold": 0.5,
}


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_bars_are_shares_of_each_kind_of_pair():
    figure = distance_histogram(DISTANCES, far=0.001)
    outlines = [patch.get_data() for patch in figure.axes[0].patches]
    for outline in outlines:
        assert outline.values.sum() == pytest.approx(1)
    np.testing.assert_allclose(outlines[0].edges, np.linspace(-0.75, 1, 8))
    np.testing.assert_allclose(outlines[0].values[:4], [0.1, 0.4, 0.3, 0.2])


def test_the_legend_names_pairs_and_threshold():
    assert legend(distance_histogram(DISTANCES, far=0.001)) == [
        "different class (100 pairs)",
        "same class (10 pairs)",
        "threshold 0.500: 0.1\N{NO-BREAK SPACE}% of different-class pairs lie above",
    ]
    assert distance_histogram(DISTANCES).axes[0].lines[0].get_xdata()[0] == 0.5


@pytest.mark.parametrize("threshold", [None, float("nan")])
def test_without_a_threshold(threshold):
    assert len(legend(distance_histogram({**DISTANCES, "threshold": threshold}))) == 2


def test_the_two_kinds_differ_without_colour():
    figure = distance_histogram(DISTANCES)
    assert [bool(patch.get_hatch()) for patch in figure.axes[0].patches] == [True, False, False, False]


def test_fine_bins_are_joined_and_no_pair_is_lost():
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 9, 1003), rng.integers(0, 9, 1003)
    edges, joined, others = trim_axis(np.linspace(-1, 1, 1004), positive, negative)
    assert len(joined) <= BARS
    assert len(edges) == len(joined) + 1
    assert (joined.sum(), others.sum()) == (positive.sum(), negative.sum())


@pytest.mark.parametrize("empty", [("positive",), ("negative",), ("positive", "negative")])
def test_one_kind_of_pairs_may_be_missing(empty):
    figure = distance_histogram({**DISTANCES, **dict.fromkeys(empty, [0] * 8)})
    figure.savefig(io.BytesIO(), format="svg")
    assert any("(0 pairs)" in text for text in legend(figure))


def test_counts_that_do_not_fit_the_edges_are_refused():
    with pytest.raises(ValueError, match="9 edges want 8 counts"):
        distance_histogram({**DISTANCES, "positive": [1, 2]})


def test_counts_in_words():
    words = {
        1: "1",
        9_999: "9,999",
        14_534: "14.5 thousand",
        999_600: "1000 thousand",
        14_611_000: "14.6 million",
    }
    assert {count: short_numbers(count) for count in words} == words


@pytest.mark.parametrize(
    ("positive", "negative", "said"),
    [([0, 0], [1, 2], "no pairs of the same class"), ([1, 0], [0, 0], "no pairs of different classes")],
)
def test_without_pairs_of_one_kind_no_overlap_is_claimed(positive, negative, said):
    given = {"edges": [-1, 0, 1], "positive": positive, "negative": negative, "threshold": None}
    words = " ".join(text.get_text() for text in pair_distances(given).texts)
    assert said in words and "in common" not in words
