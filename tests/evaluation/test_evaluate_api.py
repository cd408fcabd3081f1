"""`lookalike.evaluate` in Python: what it takes, what it refuses, what it gives."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import lookalike
from lookalike.data.table import Table
from lookalike.embeddings import Embeddings
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.protocols.retrieval import Reidentification
from lookalike.metrics.neighbours import knn_at
from lookalike.report.comparing import compare_evaluations

LABELS = np.repeat(np.arange(20), 4)
CAMERA = np.tile([0, 1, 2, 3], 20)
VECTORS = np.random.default_rng(0).standard_normal((20, 8))[LABELS] + np.random.default_rng(
    1
).standard_normal((80, 8))
PLAIN = evaluate(VECTORS, LABELS, intervals=False, coarse_far=True)


def embeddings():
    frame = pl.DataFrame(
        {
            "path": [f"{row}.jpg" for row in range(80)],
            "label": LABELS,
            "split": ["test"] * 80,
            "group": CAMERA,
        }
    )
    unit = (VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)).astype(np.float32)
    return Embeddings(unit, Table(frame, Path()), "5pace")


@pytest.mark.parametrize(
    "vectors",
    [
        VECTORS.tolist(),
        torch.from_numpy(VECTORS),
        torch.from_numpy(VECTORS).requires_grad_(),
        list(torch.from_numpy(VECTORS)),
        [[torch.tensor(value) for value in row] for row in VECTORS],
        pd.DataFrame(VECTORS),
        pl.DataFrame(VECTORS),
        list(VECTORS),
    ],
    ids=["lists", "tensor", "with grad", "tensors", "scalars", "pandas", "polars", "arrays"],
)
def test_vectors_of_any_kind(vectors):
    assert evaluate(vectors, LABELS, intervals=False, coarse_far=True) == PLAIN


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.tolist(),
        torch.from_numpy(LABELS),
        list(torch.from_numpy(LABELS)),
        pd.Series(LABELS),
        pl.Series(LABELS),
        list(LABELS),
        LABELS.astype(np.uint8),
    ],
    ids=["list", "tensor", "scalars", "pandas", "polars", "numpy scalars", "uint8"],
)
def test_labels_of_any_kind(labels):
    found = evaluate(VECTORS, labels, intervals=False, coarse_far=True)
    assert found.metrics == PLAIN.metrics


def test_text_labels_of_pandas():
    names = pd.Series([f"cat {label}" for label in LABELS])
    assert evaluate(VECTORS, names, intervals=False, coarse_far=True).metrics == PLAIN.metrics


def test_embeddings_bring_their_labels_and_columns():
    found = evaluate(embeddings(), intervals=False, coarse_far=True)
    assert float(found["recall@1"]) == float(PLAIN["recall@1"])
    found = lookalike.evaluate(
        embeddings(), protocol="reid", metrics=["recall_at_k", "map"], by="group", intervals=False
    )
    assert {"recall@1", "map"} <= set(found) and "map@r" not in found
    assert found.rules == Reidentification().hash
    assert list(found.by) == ["group"]


@pytest.mark.parametrize(
    "frame",
    [
        {"group": CAMERA.tolist()},
        {"group": CAMERA},
        {"group": torch.from_numpy(CAMERA)},
        pd.DataFrame({"group": CAMERA}),
        pl.DataFrame({"group": CAMERA}),
        embeddings().table,
    ],
    ids=["dict", "arrays", "tensors", "pandas", "polars", "table"],
)
def test_columns_of_any_kind(frame):
    how = {"protocol": "reid", "intervals": False, "coarse_far": True}
    expected = evaluate(VECTORS, LABELS, frame=pl.DataFrame({"group": CAMERA}), **how)
    assert evaluate(VECTORS, LABELS, frame=frame, **how).metrics == expected.metrics


@pytest.mark.parametrize(
    "how",
    [
        {"ks": 5}, {"ks": np.int64(5)}, {"ks": [5]}, {"ks": np.array([5])}, {"ks": torch.tensor([5])},
        {"ks": (5, 5)}, {"ks": range(5, 6)},
    ],
    ids=str,
)  # fmt: skip
def test_one_k_of_any_kind(how):
    found = evaluate(VECTORS, LABELS, intervals=False, **how)
    assert [name for name in found if name.startswith("recall@")] == ["recall@5"]


@pytest.mark.parametrize(
    "far", [np.float32(0.1), 0.1, [0.1], np.array([0.1]), torch.tensor(0.1).double(), (0.1, 0.1)]
)
def test_one_rate_of_any_kind(far):
    found = evaluate(VECTORS, LABELS, intervals=False, far=far)
    assert next(name for name in found if name.startswith("tar@")).startswith("tar@far=0.1")
    if not isinstance(far, torch.Tensor):
        assert "tar@far=0.1" in found


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"ks": (1.5,)}, r"ks=\[1.5\]: each must be a whole number"),
        ({"ks": (True,)}, "each must be a whole number"),
        ({"ks": ()}, r"ks=\[\]: must be at least 1 long"),
        ({"ks": (0,)}, r"ks=\[0\]: each must be at least 1"),
        ({"ks": "5"}, "each must be a whole number"),
        ({"far": 1.5}, "far=1.5: must be less than 1"),
        ({"far": -0.1}, "far=-0.1: must be at least 0"),
        ({"far": float("nan")}, "far=nan: must be a number"),
        ({"far": "0.1"}, "far='0.1': must be a number"),
        ({"threshold": float("nan")}, "threshold=nan: must be a number"),
        ({"threshold": float("inf")}, "threshold=inf: must be a number"),
        ({"seed": -1}, "seed=-1: must be at least 0"),
        ({"seed": 1.5}, "seed=1.5: must be a whole number"),
        ({"neighbours": 0}, "neighbours=0: must be at least 1"),
        ({"protocol": "foo"}, "protocol=foo: no such protocol. Choices: groups, kfold"),
        ({"protocol": "pairs"}, "protocol=pairs: needs file"),
        ({"metrics": ["foo"]}, "metric=foo: no such metric. Choices: alignment"),
        ({"by": "camera"}, r"by=\[camera\]: there is no such column"),
        ({"frame": {"a": [1], "b": [1, 2]}}, "frame: columns of different lengths: a 1, b 2"),
        ({"frame": {"a": [1]}}, "frame: 1 rows for 80 vectors"),
        ({"frame": 3}, "frame: columns by name or a data frame is needed, got int"),
        ({"labels": None}, "labels: each vector needs one"),
    ],
    ids=str,
)
def test_what_is_refused(how, said):
    with pytest.raises(ValueError, match=said):
        evaluate(VECTORS, **{"labels": LABELS, **how})


def test_metrics_by_name_are_those_of_their_files():
    named = evaluate(VECTORS, LABELS, metrics=["knn_at_k", "eer"], intervals=False, coarse_far=True)
    given = evaluate(VECTORS, LABELS, metrics={"knn_at_k": knn_at}, intervals=False, coarse_far=True)
    assert named["knn@5"] == given["knn@5"]
    other = evaluate(
        VECTORS, LABELS, metrics={"knn_at_k": partial(knn_at, temperature=10.0)}, intervals=False
    )
    assert other.protocol != given.protocol
    assert "eer" in named and "eer" not in given
    assert "eer" in evaluate(VECTORS, LABELS, metrics="eer", intervals=False, coarse_far=True)


def test_the_result_is_a_table_a_dictionary_and_a_folder(tmp_path):
    found = evaluate(VECTORS, LABELS, by="label", coarse_far=True)
    first = found["recall@1"]
    assert 0 <= first.low <= float(first) <= first.high <= 1
    assert float(first) == found.to_dict()["recall@1"]["value"]
    with pytest.raises(KeyError, match="nothing: was not measured; there are recall@1"):
        found["nothing"]
    assert "recall@1" in str(found) and found.protocol in str(found)
    frame = found.to_frame()
    assert frame.columns == ["metric", "value", "low", "high"]
    assert frame["metric"].to_list() == list(found)
    folder = found.save(tmp_path / "mine")
    json.loads((folder / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    with pytest.raises(lookalike.errors.LookalikeError, match="mine"):
        found.save(folder)
    worse = evaluate(VECTORS + 5 * np.random.default_rng(2).standard_normal(VECTORS.shape), LABELS)
    worse.save(tmp_path / "worse")
    tested = compare_evaluations([folder, tmp_path / "worse"], ["recall@1"])
    assert tested.names == ["mine", "worse"]


def test_results_can_be_compared_with_anything():
    assert evaluate(VECTORS, LABELS, intervals=False, coarse_far=True) == PLAIN
    assert evaluate(VECTORS[::-1].copy(), LABELS, intervals=False, coarse_far=True) != PLAIN
    assert PLAIN != 3
    assert PLAIN is not None


def test_embeddings_are_a_sequence_of_vectors():
    found = embeddings()
    assert np.asarray(found) is not None and np.asarray(found).shape == found.shape == (80, 8)
    assert np.asarray(found, np.float64).dtype == np.float64
    assert torch.as_tensor(np.asarray(found)).shape == (80, 8)
    assert len(list(found)) == 80
    assert (found[3] == found.vectors[3]).all() and (found[-1] == found.vectors[-1]).all()
    for rows in (slice(4, 8), [4, 5, 6, 7], np.arange(4, 8), np.isin(np.arange(80), range(4, 8))):
        part = found[rows]
        assert isinstance(part, Embeddings)
        assert part.table.frame["path"].to_list() == ["4.jpg", "5.jpg", "6.jpg", "7.jpg"]
        assert (part.vectors == found.vectors[4:8]).all()
    with pytest.raises(IndexError):
        found[100]
    with pytest.raises(TypeError, match="a row, a slice"):
        found["label"]
