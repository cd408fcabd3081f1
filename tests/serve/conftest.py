"""A small index of shapes with a model, and clients of a service for it."""

import shutil

import numpy as np
import polars as pl
import pytest
import torch
from serve_world import run_app

import lookalike
from lookalike.data.table import Table, write_table
from lookalike.data.transforms import Resize
from lookalike.evaluation.operating_point import OperatingPoint, write_point
from lookalike.evaluation.validation_vectors import write_validation_vectors
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build
from lookalike.serve.settings import Access


@pytest.fixture(scope="session")
def shelter(shapes_folder, tmp_path_factory):
    """A folder with a model, a dataset, and indexes of it: `index`, which changes, and `fixed`."""
    root = tmp_path_factory.mktemp("shelter")
    files = sorted(file for file in shapes_folder.rglob("*.png") if file.stem < "4")
    rows = {"path": list(map(str, files)), "label": [file.parent.name for file in files]}
    write_table(Table(pl.DataFrame({**rows, "split": "test"}), shapes_folder), root / "data", {})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, 8, Resize(16)).eval()
    model.save(root / "model")
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 4)
    vectors = rng.normal(size=(60, 8))[labels] + 0.3 * rng.normal(size=(len(labels), 8))
    write_validation_vectors(vectors, labels, model.space, root / "model")
    point = OperatingPoint(0.01, 0.01, 0.9, 0.85, 0.95, 0.9, 0.8, 1.0, 1e-4, 240, 60, model.space)
    write_point(point, root / "model")
    model = lookalike.load(root / "model")
    for name, engine in (("index", "sqlite"), ("fixed", "exact")):
        table = lookalike.read_table(root / "data")
        lookalike.Index.build(model, table, out=root / name, engine=engine)
    return root


@pytest.fixture
def index(shelter, tmp_path):
    """A copy of the index that may be changed; its paths are the same."""
    folder = shelter / f"index-{tmp_path.name}"
    shutil.copytree(shelter / "index", folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def client(index):
    """A client on this computer, of a service without a token."""
    with run_app(index) as http:
        yield http


@pytest.fixture(scope="module")
def reader(shelter):
    """A client of a service for an index that does not change."""
    with run_app(shelter / "fixed", access=Access()) as http:
        yield http


@pytest.fixture(scope="session")
def photo(shapes_folder):
    """`photo(name, variation)`: the bytes of a photo; variations 4 to 7 are not indexed."""
    return lambda name="red triangle", variation=5: (shapes_folder / name / f"{variation}.png").read_bytes()
