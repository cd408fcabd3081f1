"""evaluate, identify and cluster report one threshold for the same identities and validation identities."""

import json

import numpy as np
import polars as pl
import pytest

import lookalike
from lookalike.cli.main import main
from lookalike.data.table import Table
from lookalike.evaluation.identification import choose_identification_point
from lookalike.evaluation.identification_metrics import rates_at


def population(identities, each=4, seed=0, dim=16):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), each)
    return rng.normal(size=(identities, dim))[labels] + 0.4 * rng.normal(size=(len(labels), dim)), labels


@pytest.fixture(scope="module")
def validation():
    return population(100, seed=1)


def test_one_threshold_for_evaluate_identify_and_cluster(validation):
    vectors, _ = population(30, seed=2)
    census = lookalike.cluster(vectors, validation=validation, fpir=0.05)
    index = lookalike.Index.build(vectors, census.names)
    point = index.identify(vectors[0], validation=validation, fpir=0.05).point
    metrics = lookalike.evaluate(vectors, census.names, validation=validation, fpir=0.05).metrics
    ends = {"value": point.threshold, "low": point.threshold_low, "high": point.threshold_high}
    assert metrics["identification_threshold"] == ends
    assert census.threshold == point.threshold
    again = lookalike.cluster(vectors[:3], index=index, validation=validation, fpir=0.05)
    assert again.naming == point


def test_rates_are_those_of_identify_with_each_photo_left_out(validation):
    vectors, labels = population(20, each=3, seed=3)
    vectors, labels = vectors[:-2], labels[:-2]  # the last identity has one photo
    metrics = lookalike.evaluate(vectors, labels, validation=validation, fpir=0.05).metrics
    threshold = metrics["identification_threshold"]["value"]
    right, named = [], {}
    for row, (vector, label) in enumerate(zip(vectors, labels, strict=True)):
        others = np.arange(len(labels)) != row
        hit = lookalike.Index.build(vectors[others], labels[others]).search(vector, 1)[0]
        if label != labels[-1]:
            right.append(hit.label == label and hit.similarity >= threshold)
        strangers = labels != label
        hit = lookalike.Index.build(vectors[strangers], labels[strangers]).search(vector, 1)[0]
        named.setdefault(label, []).append(hit.similarity >= threshold)
    assert metrics["operating_tpir"]["value"] == pytest.approx(np.mean(right))
    assert metrics["operating_fpir"]["value"] == pytest.approx(
        np.mean([np.mean(each) for each in named.values()])
    )
    for name in ("operating_tpir", "operating_fpir"):
        assert metrics[name]["low"] <= metrics[name]["value"] <= metrics[name]["high"]


def test_the_promised_rate_holds_for_other_identities(validation):
    vectors, labels = population(60, seed=4)
    metrics = lookalike.evaluate(vectors, labels, validation=validation, fpir=0.05).metrics
    assert metrics["operating_fpir"]["low"] <= 0.05 <= metrics["operating_fpir"]["high"]


def test_without_validation_identities_there_is_nothing_and_other_protocols_say_so(validation):
    vectors, labels = population(10, seed=5)
    assert "identification_threshold" not in lookalike.evaluate(vectors, labels).metrics
    roles = {"role": ["query", "gallery"] * 20}
    evaluation = lookalike.evaluate(
        vectors, labels, validation=validation, frame=roles, protocol="query_gallery"
    )
    assert "identification_threshold" not in evaluation.metrics
    assert any("validation= is ignored" in note for note in evaluation.notes)
    with pytest.raises(ValueError, match="fpir=2: must be more than 0"):
        lookalike.evaluate(vectors, labels, validation=validation, fpir=2)


def test_one_identity_has_no_strangers(validation):
    vectors, labels = population(1, seed=6)
    point = choose_identification_point(*validation, [4])
    assert list(rates_at(vectors, labels, point)) == ["identification_threshold", "operating_tpir"]


def test_the_job_takes_validation_vectors(tmp_path, validation):
    for name, (vectors, labels) in (("test", population(20, seed=7)), ("val", validation)):
        paths = [f"{row}.jpg" for row in range(len(labels))]
        table = Table(pl.DataFrame({"path": paths, "label": labels, "split": name}), tmp_path)
        unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        lookalike.Embeddings(unit, table, "space").save(tmp_path / name)
    words = [f"embeddings={tmp_path}/test", f"validation={tmp_path}/val", f"out={tmp_path}/eval"]
    assert main(["evaluate", *words]) == 0
    metrics = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    index = lookalike.Index.build(lookalike.Embeddings.load(tmp_path / "test"))
    point = index.identify(index.vectors[0], validation=tmp_path / "val").point
    assert metrics["identification_threshold"]["value"] == point.threshold
