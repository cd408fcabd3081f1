"""Each metric has one record, and each of its arguments is in its name or in the hash of the protocol."""

import inspect
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

import lookalike
from lookalike.errors import ConfigError
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.protocols.pairs import PairList
from lookalike.evaluation.protocols.retrieval import QueryGallery
from lookalike.metrics.records import (
    RECORDS,
    default_names,
    direction_of,
    limits_of,
    meaning_of,
    rate_name,
    record_of,
    sign_of,
)
from lookalike.training.validation import check_metric, keep_best

CONF = Path(lookalike.__file__).parent / "conf" / "metric"
FILES = sorted(CONF.glob("*.yaml"))
LABELS = np.repeat(np.arange(12), 4)
ROLE = np.where((LABELS % 2 == 0) & (np.arange(48) % 4 == 0), "gallery", "query")
FRAME = pl.DataFrame({"path": [f"{row}.jpg" for row in range(48)], "role": ROLE})
BETTER = {"recall@1": "higher", "eer": "lower", "fnmr@far=0.01": "lower",
          "positive_similarity_mean": "higher", "negative_similarity_mean": "lower",
          "positive_euclidean_mean": "lower", "alignment": "lower",
          "uniformity": "lower", "anti_hubs": "lower", "hubness_skewness": "lower", "operating_far": "lower",
          "loss": "lower", "effective_rank": "neither", "threshold@far=0.1": "neither", "auc": "higher",
          "clusters": "neither", "before_eer": "lower", "before_map": "higher"}  # fmt: skip


def vectors(noise, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((12, 8))[LABELS] + noise * rng.standard_normal((48, 8))


def all_metrics():
    found = {}
    for file in FILES:
        found.update(instantiate(OmegaConf.load(file)))
    return found


def functions_of(file):
    """Name to function and listed arguments."""
    nodes = yaml.safe_load(file.read_text())
    return {
        name: (get_object(node["_target_"]), {k: v for k, v in node.items() if not k.startswith("_")})
        for name, node in nodes.items()
    }


def evaluate_random(noise=1.0, rules=None, **how):
    return evaluate(
        vectors(noise), LABELS, frame=FRAME, protocol=rules, intervals=False, threshold=0.5,
        **{"metrics": all_metrics(), "far": 0.1, "coarse_far": True, **how},
    )  # fmt: skip


@pytest.fixture(scope="module")
def listed_pairs(tmp_path_factory):
    rng = np.random.default_rng(1)
    pairs = [(a, b) for a, b in rng.integers(0, 48, (80, 2)).tolist() if a != b]
    lines = [f"{a}.jpg,{b}.jpg,{int(LABELS[a] == LABELS[b])}" for a, b in pairs]
    file = tmp_path_factory.mktemp("records") / "pairs.csv"
    file.write_text("\n".join(["path,path,same", *lines, "0.jpg,1.jpg,1", "4.jpg,5.jpg,1"]))
    return PairList(file=file, folds=2)


def test_each_number_of_an_evaluation_has_a_record_whose_limits_hold(listed_pairs):
    names = set()
    for rules in (None, QueryGallery(), listed_pairs):
        for noise in (0.0, 1.0, 100.0):
            for name, value in evaluate_random(noise, rules).metrics.items():
                low, high = limits_of(name)
                assert record_of(name) is not None, name
                assert low - 1e-6 <= value["value"] <= high + 1e-6, name
                assert meaning_of(name)
                names.add(name)
    assert len(names) > 40


def test_no_two_records_share_a_name():
    assert len({record.name for record in RECORDS}) == len(RECORDS)


@pytest.mark.parametrize(("name", "direction"), BETTER.items())
def test_directions(name, direction):
    assert direction_of(name) == direction
    assert sign_of(name) == {"higher": 1, "lower": -1, "neither": 0}[direction]


def test_better_vectors_have_better_values():
    """The direction of each metric, measured: nearly clean vectors against noise."""
    good, bad = evaluate_random(0.3).metrics, evaluate_random(3.0).metrics
    chosen = [
        name
        for name in good
        if sign_of(name) and not name.startswith(("hub", "anti", "uniformity", "negative"))
    ]
    wrong = [n for n in chosen if sign_of(n) * (good[n]["value"] - bad[n]["value"]) < 0]
    assert wrong == ["operating_far"]  # at a fixed threshold noise accepts fewer of all pairs
    assert len(chosen) > 25


@pytest.mark.parametrize(
    "name", ["eer", "positive_similarity_mean", "loss", "negative_similarity_mean", "map@r"]
)
def test_the_best_epoch_is_the_best_in_the_direction_of_the_metric(name, tmp_path):
    class Model:
        def save(self, folder, card_text):
            pass

    class Result:
        best_score, best_epoch = None, 0

    result = Result()
    for epoch, score in enumerate([0.5, 0.2, 0.9, 0.4], 1):
        keep_best(Model(), score, name, tmp_path, result, epoch)
    assert result.best_epoch == (3 if sign_of(name) > 0 else 2)


def test_the_default_metrics_are_those_that_evaluation_computes_unasked():
    assert default_names() == list(evaluate(vectors(1.0), LABELS, intervals=False).metrics)


def test_a_metric_without_a_better_direction_chooses_no_model():
    with pytest.raises(ConfigError, match=r"no value of it is better.*lower is better"):
        check_metric("threshold@far=0.001")
    with pytest.raises(ConfigError, match="best_metric=nothing: choose one of"):
        check_metric("nothing")
    check_metric("positive_similarity_mean")


def other_value(value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 2


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_argument_is_in_the_name_or_in_the_hash(file):
    for name, (function, listed) in functions_of(file).items():
        parameters = inspect.signature(function).parameters
        ks, fars = ("k" in parameters and "k" not in listed), "far" in parameters
        plain = evaluate_random(metrics={name: partial(function, **listed)}, rules=QueryGallery())
        for argument, value in listed.items():
            other = partial(function, **{**listed, argument: other_value(value)})
            found = evaluate_random(metrics={name: other}, rules=QueryGallery())
            assert found.protocol != plain.protocol, argument
            assert argument in str(found.arguments)
        if ks:
            found = evaluate_random(metrics={name: partial(function, **listed)}, ks=(2,))
            assert {n for n in found.metrics if "@2" in n}
        if fars:
            found = evaluate_random(
                metrics={name: partial(function, **listed)}, far=0.2, rules=QueryGallery()
            )
            assert all("far=0.2" in n for n in set(found.metrics) - set(plain.metrics))


def test_all_values_that_depend_on_the_rate_name_it_or_change_the_hash():
    one, other = evaluate_random(far=0.1), evaluate_random(far=0.2)
    assert one.protocol != other.protocol
    same_name = {n for n in one.metrics if n in other.metrics and one.metrics[n] != other.metrics[n]}
    assert same_name == {"accuracy", "balanced_accuracy"} == set(one.arguments)
    assert evaluate_random(far=[0.2, 0.1]).protocol == other.protocol


def test_the_defaults_have_the_hash_of_the_rules():
    found = evaluate(vectors(1.0), LABELS, intervals=False, coarse_far=True)
    assert found.protocol == found.rules == found.summary()["protocol"]
    assert not found.arguments


def test_a_coarse_rate_reaches_every_metric_of_a_rate():
    fine = evaluate_random(far=1e-7, rules=QueryGallery())
    expected = {
        "tar",
        "threshold",
        "fnmr",
        "pair_accuracy",
        "pair_precision",
        "pair_recall",
        "pair_f1",
        "dir",
    }
    refused = evaluate_random(far=1e-7, rules=QueryGallery(), coarse_far=False)
    assert {n.split("@")[0] for n in fine.metrics if "far=1e-07" in n} >= expected - {"pair_precision"}
    assert not [n for n in refused.metrics if "far=1e-07" in n]


@pytest.mark.parametrize("rate", [0.001, 0.1, 1e-7, 0.1234567, 0.12345678, 1 / 3])
def test_the_name_of_a_rate_is_the_rate(rate):
    assert float(rate_name(rate)) == rate


def test_a_function_of_the_users_own_under_a_known_name_changes_the_hash():
    def mine(ranking, k):
        return np.ones(len(ranking.total))

    own = evaluate(vectors(1.0), LABELS, intervals=False, metrics={"recall_at_k": mine}, coarse_far=True)
    assert own.protocol != own.rules
    assert "mine" in own.arguments["recall@1"]["function"]
