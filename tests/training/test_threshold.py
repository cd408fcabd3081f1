"""Training ends with a threshold for its model."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from test_run import SMALL

import lookalike
from lookalike.cli.main import main
from lookalike.evaluation.operating_point import read_point
from lookalike.evaluation.threshold_choice import choose_operating_point
from lookalike.evaluation.validation_vectors import read_validation_vectors


@pytest.fixture(scope="module")
def dataset(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes: four classes to train on, four to validate, two to test."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    folder.mkdir()
    files = sorted(shapes_folder.glob("*/*.png"))
    names = sorted({file.parent.name for file in files})
    split = {name: ("train", "val", "test")[place // 4] for place, name in enumerate(names)}
    labels = [file.parent.name for file in files]
    frame = pl.DataFrame(
        {"path": list(map(str, files)), "label": labels, "split": [split[label] for label in labels]}
    )
    frame.write_parquet(folder / "table.parquet")
    return folder


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lookalike.train(
        dataset, tmp_path_factory.mktemp("runs") / "run", far=0.05, **{**SMALL, "epochs": 1}
    ).folder


def test_it_is_chosen_on_validation_identities_with_the_kept_model(run, dataset):
    model = lookalike.load(run)
    table = lookalike.read_table(dataset).split("val")
    vectors = lookalike.embed(model, table, progress=False).vectors
    point = read_point(run, model.space)
    assert point is not None
    assert point.identities == 4
    again = choose_operating_point(vectors, table.labels, 0.05, model.space)
    assert point.threshold == pytest.approx(again.threshold, abs=1e-5)
    assert point.far == 0.05


def test_evaluation_tries_it_on_other_identities(run, dataset, tmp_path):
    out = tmp_path / "eval"
    words = [f"model={run}/model", f"dataset={dataset}", "split=[val,test]", f"out={out}", "progress=false"]
    assert main(["evaluate", *words, "far=0.1"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    point = read_point(run)
    assert point is not None
    assert metrics["operating_threshold"]["value"] == point.threshold
    assert {"value", "low", "high"} == set(metrics["operating_far"])


def test_two_photos_are_verified_with_it(run, shapes_folder, capsys):
    photos = [str(shapes_folder / name / "1.png") for name in ("red triangle", "green square")]
    assert main(["verify", *photos, f"model={run}"]) in (0, 3, 4)
    assert "threshold" in capsys.readouterr().out


def test_without_validation_identities_there_is_none_and_that_is_said(dataset, tmp_path, caplog):
    only = tmp_path / "only"
    only.mkdir()
    lookalike.read_table(dataset).split("train").frame.write_parquet(only / "table.parquet")
    lookalike.train(only, tmp_path / "run", val_share=0, **{**SMALL, "epochs": 0})
    assert read_point(tmp_path / "run") is None
    assert "no validation identities" in caplog.text


def test_the_model_folder_keeps_the_validation_vectors(run, dataset):
    model = lookalike.load(run)
    table = lookalike.read_table(dataset).split("val")
    vectors, codes = read_validation_vectors(run, model.space)
    expected = lookalike.embed(model, table, progress=False).vectors
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert len(set(codes.tolist())) == 4
