"""TPIR at FPIR equals a loop that searches every query with and without its identity."""

import numpy as np
import pytest

from lookalike.evaluation.evaluate import evaluate
from lookalike.metrics.open_set import tpir_at_fpir


def population(identities=40, each=4, seed=0, noise=0.6):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), each)
    return rng.normal(size=(identities, 8))[labels] + noise * rng.normal(size=(len(labels), 8)), labels


def naive(vectors, labels, fpir):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    mated, strangers = [], []
    for row, label in enumerate(labels):
        cosine = unit @ unit[row]
        cosine[row] = -2
        nearest = int(cosine.argmax())
        mated.append((labels[nearest] == label, cosine[nearest]))
        strangers.append(max(cosine[labels != label]))
    best = 0.0
    for threshold in sorted({score for _, score in mated}):
        if np.mean(np.array(strangers) >= threshold) <= fpir:
            best = max(best, np.mean([right and score >= threshold for right, score in mated]))
    return best


@pytest.mark.parametrize("fpir", [0.01, 0.1, 0.5])
def test_it_equals_a_loop(fpir):
    vectors, labels = population()
    metrics = evaluate(
        vectors, labels, metrics={"tpir": lambda neighbours: tpir_at_fpir(neighbours, fpir)}
    ).metrics
    value = metrics[f"tpir@fpir={fpir:g}"]
    assert value["value"] == pytest.approx(naive(vectors, labels, fpir))
    assert value["low"] < value["value"] < value["high"]


def test_it_has_a_name_and_says_why_it_is_absent():
    vectors, labels = population(20, 30, noise=0.1)
    found = evaluate(vectors, labels, metrics=["tpir_at_fpir", "clustering"])
    assert "tpir@fpir=0.01" not in found.metrics and "ari" in found.metrics
    assert any("keep more (neighbours=)" in note for note in found.notes)
    found = evaluate(vectors, labels, metrics=["tpir_at_fpir"], neighbours=31)
    assert found.metrics["tpir@fpir=0.01"]["value"] == pytest.approx(naive(vectors, labels, 0.01))
    found = evaluate(vectors[:30], labels[:30] % 7, metrics=["tpir_at_fpir"])
    assert any("show no rate below" in note for note in found.notes)


def test_its_interval_holds_for_other_samples():
    """The whole population stands for the truth; samples of its identities should include it."""
    vectors, labels = population(2000, 3)
    truth_of, inside = 50, 0
    rates = []
    for part in range(20):
        rows = (labels >= truth_of * part) & (labels < truth_of * (part + 1))
        rates.append(
            evaluate(vectors[rows], labels[rows], metrics=["tpir_at_fpir"]).metrics["tpir@fpir=0.01"]
        )
    mean = np.mean([rate["value"] for rate in rates])
    inside = sum(rate["low"] <= mean <= rate["high"] for rate in rates)
    assert inside >= 18
