"""evaluate, compare, verify and embed in Python: models, tables, folders and results in memory."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import lookalike
from lookalike.cli.main import main
from lookalike.data.table import Table, write_table
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError, DataError, LookalikeError
from lookalike.evaluation.operating_point import OperatingPoint, write_point
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build

FAST = {"coarse_far": True}


@pytest.fixture(scope="module")
def root(shapes_folder, tmp_path_factory):
    """A dataset folder of two splits, and two model folders."""
    root = tmp_path_factory.mktemp("api")
    files = sorted(shapes_folder.rglob("*.png"))
    names = sorted({file.parent.name for file in files})
    rows = {
        "path": [str(file.relative_to(shapes_folder)) for file in files],
        "label": [file.parent.name for file in files],
        "split": ["train" if names.index(file.parent.name) < 3 else "test" for file in files],
    }
    write_table(Table(pl.DataFrame(rows), shapes_folder), root / "data", {})
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, 8, Resize(16)).eval()
        model.save(root / f"model{seed}")
    return root


@pytest.fixture(scope="module")
def model(root):
    return lookalike.load(root / "model0")


@pytest.fixture(scope="module")
def table(root):
    return lookalike.read_table(root / "data")


@pytest.fixture(scope="module")
def result(model, table):
    return lookalike.evaluate(model, table, split="test", **FAST)


def test_a_model_and_a_table_give_what_the_command_line_gives(result, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"model={root / 'model0'}", f"dataset={root / 'data'}", "split=test", "out=job"]
    assert main(["evaluate", *words, "coarse_far=true", "progress=false"]) == 0
    result.save("mine")
    job, mine = ({file.name for file in (tmp_path / name).iterdir()} for name in ("job", "mine"))
    assert job == mine
    assert json.loads((tmp_path / "job/metrics.json").read_text()) == result.to_dict()
    one, other = (pl.read_parquet(f"{name}/per_query.parquet") for name in ("job", "mine"))
    assert one.equals(other)
    vectors = [np.load(f"{name}/embeddings/vectors.npy") for name in ("job", "mine")]
    assert (vectors[0] == vectors[1]).all()


def test_folders_stand_for_what_is_in_them(result, root, tmp_path):
    assert lookalike.evaluate(root / "model0", root / "data", split="test", **FAST) == result
    embeddings = lookalike.embed(lookalike.load(root / "model0"), lookalike.read_table(root / "data"))
    embeddings.save(tmp_path / "emb")
    assert lookalike.evaluate(str(tmp_path / "emb"), split=["test"], **FAST) == result
    assert lookalike.evaluate(embeddings, split="test", **FAST) == result


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"split": "nowhere"}, DataError, "nowhere"),
        ({"by": "camera"}, ValueError, "there is no such column"),
        ({"protocol": "kfold"}, (ValueError, LookalikeError), "fold"),
        ({"metrics": "nothing"}, ValueError, "no such metric"),
    ],
)
def test_what_a_table_lacks_is_said_before_anything_is_embedded(
    model, table, monkeypatch, arguments, error, said
):
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("it was embedded"))
    with pytest.raises(error, match=said):
        lookalike.evaluate(model, table, **arguments)


def test_a_model_needs_a_table(model):
    with pytest.raises(ValueError, match="a model needs a table of images"):
        lookalike.evaluate(model)
    with pytest.raises(DataError, match=r"list: item 0 is a int, not a pair \(image, label\)"):
        lookalike.evaluate(model, [1, 2])
    with pytest.raises(ValueError, match="vectors have no splits"):
        lookalike.evaluate(np.eye(4), [0, 0, 1, 1], split="test")


def test_a_dataset_of_images_and_labels_is_a_table(model, table, result):
    test = table.split("test")
    pairs = [(Image.open(test.file(row)), test.labels[row]) for row in range(len(test))]
    other = lookalike.evaluate(model, pairs, **FAST)
    assert other.to_dict()["recall@1"] == result.to_dict()["recall@1"]


def test_functions_are_metrics_beside_names(result):
    def first_score(ranking):
        return np.ones(len(ranking.total))

    found = lookalike.evaluate(result.embeddings, metrics=["map", first_score], intervals=False, **FAST)
    assert found["first_score"].value == 1
    assert f"{found['map']:.3f}" == f"{float(found['map']):.3f}"
    assert lookalike.evaluate(result.embeddings, metrics=first_score, intervals=False, **FAST)["first_score"]


LABELS = np.repeat(np.arange(40), 4)


def noisy(noise, labels=LABELS):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 12))[labels] + noise * rng.normal(size=(len(labels), 12))
    return lookalike.evaluate(vectors, labels, **FAST)


def test_results_in_memory_are_compared(capsys, tmp_path):
    good, poor = noisy(0.5), noisy(1.5)
    found = lookalike.compare({"ours": good, "theirs": poor})
    assert capsys.readouterr().out.startswith("ours is better than theirs: map@r +")
    assert found.to_frame()["run"].to_list() == ["ours", "theirs"]
    assert "| ours | " in str(found)
    of_pairs = lookalike.compare({"theirs": poor, "ours": good}, metrics="auc")
    assert of_pairs.names == ["ours", "theirs"]
    poor.save(tmp_path / "poor")
    again = lookalike.compare({"ours": good, "theirs": tmp_path / "poor"})
    assert again.to_frame().equals(found.to_frame())


def test_comparisons_that_mean_nothing_are_refused():
    good = noisy(0.5)
    other = noisy(0.5, labels=LABELS[:-4])
    for evaluations, how, error, said in (
        ({"ours": good}, {}, ConfigError, "two evaluations or more"),
        ([good, good], {}, ConfigError, "two evaluations or more"),
        ({"a": good, "b": other}, {}, LookalikeError, "not of the same test"),
        ({"a": good, "b": good}, {"metrics": "nmi"}, ConfigError, "these are: recall@1"),
        ({"a": good, "b": good}, {"level": 0.3}, ConfigError, "level=0.3"),
        ({"a": good, "b": good}, {"resamples": 1}, ConfigError, "resamples=1"),
        ({"a": good, "b": "nowhere"}, {}, LookalikeError, "no such folder"),
    ):
        with pytest.raises(error, match=said):
            lookalike.compare(evaluations, **how)


def test_two_photos_are_verified_by_the_point_of_the_model(root, shapes_folder, table):
    first, second = table.file(0), table.file(len(table) - 1)
    model = lookalike.load(root / "model1")
    assert lookalike.verify(model, first, first, threshold=0.9).answer == "same"
    with pytest.raises(LookalikeError, match=r"has no operating_point\.json"):
        lookalike.verify(model, first, second)
    write_point(
        OperatingPoint(0.01, 0.01, 0.5, 0.4, 0.999, 0.9, 0.8, 0.95, 1e-4, 50, 10, model.space),
        root / "model1",
    )
    found = lookalike.verify(model, str(first), str(first))
    assert (found.answer, found.threshold, found.far) == ("same", 0.5, 0.01)
    assert found == lookalike.verify(root / "model1", first, first)
    assert str(found).startswith("same: similarity 1.000; threshold 0.500, cannot tell from 0.400 to 0.999")
    with pytest.raises(ValueError, match="must be from -1 to 1"):
        lookalike.verify(model, first, second, threshold=2)
    rated = lookalike.evaluate(model, table, split="test", **FAST)
    assert "operating_far" in rated
    assert rated == lookalike.evaluate(root / "model1", table, split="test", **FAST)
    assert rated == lookalike.evaluate(rated.embeddings, **FAST)
    assert (
        rated["operating_far"] == lookalike.evaluate(rated.embeddings, threshold=0.5, **FAST)["operating_far"]
    )
    assert "operating_far" not in lookalike.evaluate(rated.embeddings, refine=[lambda task: task], **FAST)
    assert (
        main(["evaluate", f"model={root / 'model1'}", f"dataset={root / 'data'}", f"out={root / 'rated'}"])
        == 0
    )
    stored = json.loads((root / "rated" / "metrics.json").read_text())
    assert stored["operating_far"]["value"] == rated["operating_far"].value
    torch.manual_seed(5)
    fresh = build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, 8, Resize(16)).eval()
    with pytest.raises(LookalikeError, match="not loaded from a folder"):
        lookalike.verify(fresh, first, second)
