"""`lookalike.plots`: every plot of the command line as a function of what the Python API returns."""

import inspect

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from PIL import Image

import lookalike
from lookalike.config import catalogue
from lookalike.data.table import Table
from lookalike.embeddings import Embeddings
from lookalike.errors import ConfigError
from lookalike.evaluation.evaluate import evaluate


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for row in range(24):
        Image.new("RGB", (20, 20), (10 * row, 60, 90)).save(folder / f"{row}.png")
    frame = pl.DataFrame(
        {
            "path": [f"{row}.png" for row in range(24)],
            "label": [f"class {row // 4}" for row in range(24)],
            "split": ["test"] * 24,
            "camera": [row % 2 for row in range(24)],
        }
    )
    vectors = rng.normal(size=(6, 8))[np.arange(24) // 4] + rng.normal(size=(24, 8))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Embeddings(unit, Table(frame, folder), "5pace")


@pytest.fixture(scope="module")
def result(embeddings):
    return evaluate(embeddings, far=0.1)


HISTORY = pl.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "val_map@r": [0.3, 0.5]})
CALLS = {
    "class_sizes": lambda embeddings, result: lookalike.plots.class_sizes(embeddings.table, by="camera"),
    "compare": lambda embeddings, result: lookalike.plots.compare({"a": result, "b": result}, "recall@1"),
    "confusable": lambda embeddings, result: lookalike.plots.confusable(embeddings, most=2),
    "confusion": lambda embeddings, result: lookalike.plots.confusion(embeddings, embeddings, k=1),
    "curves": lambda embeddings, result: lookalike.plots.curves(HISTORY),
    "det": lambda embeddings, result: lookalike.plots.det(result, rates=[0.1]),
    "distances": lambda embeddings, result: lookalike.plots.distances(result, density=True),
    "hubs": lambda embeddings, result: lookalike.plots.hubs(embeddings, k=3, most=2),
    "mosaic": lambda embeddings, result: lookalike.plots.mosaic(embeddings, method="pca", side=400),
    "pca": lambda embeddings, result: lookalike.plots.pca(embeddings, by="camera"),
    "queries": lambda embeddings, result: lookalike.plots.queries(result, embeddings, count=2),
    "roc": lambda embeddings, result: lookalike.plots.roc({"one": result, "other": result}),
    "similarity": lambda embeddings, result: lookalike.plots.similarity(embeddings, rows=[0, 1, 5]),
    "tsne": lambda embeddings, result: lookalike.plots.tsne(embeddings, perplexity=4),
    "uses": lambda embeddings, result: lookalike.plots.uses([0, 1, 2]),
}
ELSEWHERE = {
    "batch": "a batch exists only while training",
    "saliency": "needs a model: tests/plots/test_saliency_maps.py",
    "umap": "needs an extra",
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_every_plot_can_be_drawn_from_python(embeddings, result, name):
    assert isinstance(CALLS[name](embeddings, result), Figure)
    assert callable(getattr(lookalike.plots, name))  # its modules have other names


def test_the_functions_are_those_of_the_command_line():
    assert set(CALLS) | set(ELSEWHERE) == set(catalogue.choices("plot"))
    assert set(lookalike.plots.__all__) == set(catalogue.choices("plot")) - {"batch"}


@pytest.mark.parametrize("name", lookalike.plots.__all__)
def test_signatures_are_explicit(name):
    for parameter in inspect.signature(getattr(lookalike.plots, name)).parameters.values():
        assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        assert parameter.annotation is not parameter.empty


def test_what_is_missing_is_named(result):
    with pytest.raises(ValueError, match="metric 'nonsense': a does not have it; it has recall@1"):
        lookalike.plots.compare({"a": result}, "nonsense")


def test_reports_and_maps_of_results_in_memory(embeddings, result, tmp_path):
    page = lookalike.report(evaluation=result, embeddings=embeddings, out=tmp_path / "mine.html")
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "mine.html" and "<h1>mine</h1>" in text and 'id="map"' in text
    page = lookalike.explore(embeddings, out=tmp_path / "map", layout="pca", neighbours=3)
    assert page == tmp_path / "map" / "index.html" and page.is_file()
    with pytest.raises(ConfigError, match="needs out="):
        lookalike.report(evaluation=result)
    with pytest.raises(ConfigError, match="needs out="):
        lookalike.explore(embeddings)
