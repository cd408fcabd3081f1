"""Which data and model a figure names, by what it was made from."""

from pathlib import Path

import pytest
import yaml

from lookalike.report.read import Evaluation, Run
from lookalike.report.source import (
    common_data,
    describe_source,
    embeddings_source,
    evaluation_source,
    run_source,
)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, ""),
        ({"dataset": "mine"}, "mine"),
        ({"dataset": "/home/somebody/data/mine", "split": "test"}, "data/mine, split test"),
        ({"dataset": ["data/a", "data/b"], "split": ["val", "test"]}, "data/a + data/b, split val, test"),
        ({"split": "test", "model": "runs/mine/model"}, "model runs/mine"),
        ({"dataset": "../../x", "model": Path("/a/b/c/mine")}, "x · model c/mine"),
    ],
)
def test_datasets_splits_and_models_are_named_as_far_as_known(arguments, text):
    assert describe_source(**arguments) == text


def test_embeddings_say_what_they_are_of(tmp_path):
    folder = tmp_path / "emb"
    folder.mkdir()
    assert embeddings_source(folder).endswith("/emb")
    config = {"job": "embed", "dataset": "data/mine", "split": "test", "model": "runs/mine/model"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert embeddings_source(folder) == "data/mine, split test · model runs/mine"
    (folder / "config.yaml").write_text("- broken: [")
    assert embeddings_source(folder).endswith("/emb")


def test_an_evaluation_is_of_a_dataset_or_of_embeddings(tmp_path):
    config = {"dataset": "data/mine", "split": ["test"], "model": "runs/mine/model"}
    assert evaluation_source(Evaluation(tmp_path, {}, config)) == "data/mine, split test · model runs/mine"
    config = {"embeddings": "far/emb/mine", "dataset": None}
    assert evaluation_source(Evaluation(tmp_path, {}, config)) == "emb/mine"
    assert evaluation_source(Evaluation(Path("eval/mine"), {})) == "eval/mine"


def test_runs_and_comparisons(tmp_path):
    assert run_source(Run(Path("runs/mine"), {"dataset": "data/mine"})) == "data/mine · model runs/mine"
    one, other = (Evaluation(tmp_path, {}, {"dataset": name, "split": "test"}) for name in ("a", "b"))
    assert common_data([one, one]) == "a, split test"
    assert common_data([one, other]) == ""
