import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from lookalike.errors import LookalikeError
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.operating_point import read_point, write_point
from lookalike.evaluation.threshold_choice import choose_operating_point


def random_vectors(identities=40, each=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), each)
    return rng.normal(size=(identities, 8))[labels] + 0.7 * rng.normal(size=(len(labels), 8)), labels


def test_it_is_the_threshold_of_the_evaluation_with_its_interval():
    vectors, labels = random_vectors()
    point = choose_operating_point(vectors, labels, 0.01, "5pace")
    metrics = evaluate(vectors, labels, far=0.01).metrics
    assert point.threshold == metrics["threshold@far=0.01"]["value"]
    assert point.threshold_low < point.threshold < point.threshold_high
    assert point.tar_low < point.tar == metrics["tar@far=0.01"]["value"] < point.tar_high
    assert (point.images, point.identities, point.far, point.asked) == (200, 40, 0.01, 0.01)
    assert point.resolution == 1 / (200 * 199 / 2 - 40 * 10)


def test_a_rate_finer_than_the_data_show_becomes_the_finest_they_do():
    vectors, labels = random_vectors()
    point = choose_operating_point(vectors, labels, 1e-9, "5pace")
    assert point.far == point.resolution
    assert point.asked == 1e-9
    assert "finer than these images show" in str(point)
    assert evaluate(vectors, labels, far=point.far, coarse_far=True).metrics["auc"]["value"] > 0.5


def test_inside_the_interval_nobody_can_tell():
    point = replace(
        choose_operating_point(*random_vectors(), 0.01, "5pace"),
        threshold_low=0.4,
        threshold=0.5,
        threshold_high=0.6,
    )
    assert [point.answer(s) for s in (0.39, 0.4, 0.5, 0.59, 0.6, 1.0)] == [
        "different",
        "cannot tell",
        "cannot tell",
        "cannot tell",
        "same",
        "same",
    ]


def test_it_survives_its_file_and_another_model_is_refused(tmp_path):
    point = choose_operating_point(*random_vectors(), 0.01, "5pace")
    write_point(point, tmp_path)
    assert read_point(tmp_path, "5pace") == point
    assert read_point(tmp_path / "nowhere") is None
    (tmp_path / "run" / "model").mkdir(parents=True)
    write_point(point, tmp_path / "run" / "model")
    assert read_point(tmp_path / "run") == point
    with pytest.raises(LookalikeError, match="was chosen for the model 5pace, and this one is 0ther"):
        read_point(tmp_path, "0ther")


@pytest.mark.parametrize("text", ["", "[]", '{"far": 0.1}', "nan"])
def test_a_damaged_file_is_said(tmp_path, text):
    (tmp_path / "operating_point.json").write_text(text)
    with pytest.raises(LookalikeError, match="cannot be read as an operating point"):
        read_point(tmp_path)


def test_a_value_that_is_no_number_is_said(tmp_path):
    values = {**asdict(choose_operating_point(*random_vectors(), 0.01, "5pace")), "threshold": "high"}
    (tmp_path / "operating_point.json").write_text(json.dumps(values))
    with pytest.raises(LookalikeError, match="'high' is not a number"):
        read_point(tmp_path)


@pytest.mark.parametrize("labels", [[1] * 6, [1, 1, 1, 2, 2, 2], list(range(6))])
def test_too_few_identities_have_none(labels):
    vectors = np.random.default_rng(0).normal(size=(6, 3))
    with pytest.raises(ValueError, match="identit"):
        choose_operating_point(vectors, labels, 0.1, "5pace")


def test_on_new_identities_the_threshold_keeps_about_its_promise():
    """The rate on new identities, with its interval, holds the rate that was promised in most draws."""
    held = 0
    for seed in range(12):
        point = choose_operating_point(*random_vectors(60, seed=seed), 0.01, "5pace")
        found = evaluate(*random_vectors(60, seed=100 + seed), threshold=point.threshold).metrics
        new = found["operating_far"]
        assert new["low"] <= new["value"] <= new["high"]
        held += new["low"] / 2 <= 0.01 <= new["high"] * 2
    assert held >= 10


def test_rates_at_a_threshold_are_counted():
    vectors, labels = random_vectors()
    found = evaluate(vectors, labels, threshold=0.5, intervals=False).metrics
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    one, other = np.triu_indices(len(labels), 1)
    scores, same = (unit @ unit.T)[one, other], labels[one] == labels[other]
    assert found["operating_far"]["value"] == pytest.approx((scores[~same] >= 0.5).mean())
    assert found["operating_tar"]["value"] == pytest.approx((scores[same] >= 0.5).mean())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"] * 4, "there are no pairs of different identities: 4 images of 1 identity"),
        (["a", "b"], "2 identities are too few"),
        (["a", "a", "b"], "2 identities are too few"),
    ],
)
def test_too_few_identities_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        choose_operating_point(np.eye(4)[: len(labels)], np.array(labels), 0.001, "5pace")
