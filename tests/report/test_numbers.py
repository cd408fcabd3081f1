import math

import pytest

from lookalike.metrics.records import RECORDS, is_share
from lookalike.report.numbers import (
    distance_spreads,
    false_accept_rate,
    format_value,
    headline_numbers,
    hundredths,
    list_numbers,
    number,
)

METRICS = {
    "recall@1": {"value": 0.5449, "low": 0.532, "high": 0.558},
    "recall@5": {"value": 0.75},
    "precision@5": {"value": 0.31},
    "map@r": {"value": math.nan, "low": math.nan, "high": math.nan},
    "auc": {"value": 0.96},
    "tar@far=0.001": {"value": 0.204},
    "threshold@far=0.001": {"value": 0.5966},
    "surprise": {"value": 2.5},
    "nothing": {"value": None},
    "positive_similarity_mean": {"value": 0.61},
    "positive_similarity_std": {"value": 0.2},
    "negative_similarity_mean": {"value": -0.0001},
    "protocol": "9f31c07ab2d4",
    "queries": 5409,
    "notes": ["a note"],
}


def test_numbers_are_read_as_they_are_written_in_the_file():
    found = {each.key: each for each in list_numbers(METRICS)}
    assert found["recall@1"].text == "54.5 %"
    assert found["recall@1"].interval == "53.2 – 55.8 %"
    assert found["recall@5"].interval == ""
    assert found["threshold@far=0.001"].text == "0.597"
    assert found["surprise"].text == "2.500" and found["surprise"].name == "surprise"
    assert found["nothing"].text == "–"
    assert set(found) == set(METRICS) - {"protocol", "queries", "notes"} - {
        key for key in METRICS if "similarity" in key
    }


def test_each_sentence_says_what_the_number_is():
    found = {each.key: each.meaning for each in list_numbers(METRICS)}
    assert found["recall@1"] == "The nearest image is of the right class for 54.5 % of the queries."
    assert (
        "at least one of the 5 nearest" in found["recall@5"] and "75.0 % of the queries" in found["recall@5"]
    )
    assert "When 0.1 % of different-class pairs may pass" in found["tar@far=0.001"]
    assert found["map@r"] == "No data to compute it."


@pytest.mark.parametrize(
    "key",
    [
        "recall@1",
        "recall@10",
        "precision@1",
        "precision@5",
        "map@r",
        "r_precision",
        "map",
        "auc",
        "tar@far=0.001",
        "threshold@far=0.001",
        "accuracy",
        "balanced_accuracy",
    ],
)
def test_every_metric_of_an_evaluation_has_words(key):
    words = number(key, {"value": 0.5})
    assert words.name != key and words.meaning and "{" not in words.name + words.meaning


def test_every_record_has_words_for_the_report():
    for record in RECORDS:
        name = record.name.replace("@k", "@5").replace("@far=F", "@far=0.001")
        for key in (name, f"before_{name}"):
            words = number(key, {"value": 0.5})
            assert words.name and words.meaning and "{" not in words.name + words.meaning, name
            assert words.share == (record.percent if record.percent is not None else is_share(name))
    assert number("ndcg@10", {"value": 0.5}).text == "50.0 %"
    assert "nearest 10" in number("ndcg@10", {"value": 0.5}).meaning


def test_the_headlines_are_retrieval_first():
    assert [each.key for each in headline_numbers(list_numbers(METRICS))] == [
        "recall@1",
        "map@r",
        "tar@far=0.001",
        "auc",
    ]
    assert [each.key for each in headline_numbers(list_numbers({"own": {"value": 1}}))] == ["own"]
    assert headline_numbers([]) == []


def test_distances_come_as_mean_and_deviation():
    assert [(each.pairs, each.text) for each in distance_spreads(METRICS)] == [
        ("same class", "0.610 ± 0.200"),
        ("different class", "0.000"),
    ]


def test_the_false_accept_rate_is_in_the_key():
    assert false_accept_rate(METRICS) == 0.001
    assert false_accept_rate({"threshold@far=x": {}}) is None


@pytest.mark.parametrize(
    ("share", "text", "count"),
    [
        (0, "0.0 %", "0.0"),
        (1, "100.0 %", "100.0"),
        (0.99987, "99.99 %", "99.99"),
        (0.004, "0.4 %", "0.4"),
        (math.nan, "–", "–"),
    ],
)
def test_rounding_does_not_promise_too_much(share, text, count):
    assert format_value(share, share=True) == text
    assert hundredths(share) == count


def test_a_bar_stays_on_its_axis():
    assert number("auc", {"value": 1.2}).end == "1.0000"
    assert number("auc", {"value": math.nan}).start == "0"
