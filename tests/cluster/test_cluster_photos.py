"""Grouping photos from Python and the command line: names, constraints, an index, the folder."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, v_measure_score

import lookalike
from lookalike.cli.main import main
from lookalike.data.table import Table, read_table
from lookalike.data.transforms import Resize
from lookalike.errors import DataError, LookalikeError
from lookalike.evaluation.validation_vectors import write_validation_vectors
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build


def population(identities, each=4, seed=0, dim=16, noise=0.4):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), each)
    return rng.normal(size=(identities, dim))[labels] + noise * rng.normal(size=(len(labels), dim)), labels


@pytest.fixture(scope="module")
def validation():
    return population(100, seed=1)


@pytest.fixture(scope="module")
def world():
    return population(40, seed=2)


def table_of(labels, **columns):
    paths = [f"{row}.jpg" for row in range(len(labels))]
    return Table(pl.DataFrame({"path": paths, "label": labels, "split": "test", **columns}))


def test_the_groups_are_the_individuals(world, validation):
    vectors, labels = world
    clustering = lookalike.cluster(vectors, validation=validation)
    assert adjusted_rand_score(labels, clustering.names) > 0.9
    assert list(clustering.groups())[:3] == ["new-1", "new-2", "new-3"]
    sizes = [len(rows) for rows in clustering.groups().values()]
    assert sizes == sorted(sizes, reverse=True)
    assert clustering.count.low <= 40 <= clustering.count.high
    assert clustering.agreement == {}
    frame = clustering.to_frame()
    assert frame.columns[:3] == ["path", "cluster", "similarity"]
    rows = clustering.groups()["new-1"]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    others = [unit[rows[0]] @ unit[row] for row in rows[1:]]
    assert frame["similarity"][rows[0]] == pytest.approx(np.mean(others), abs=1e-5)
    for row, name in enumerate(frame["nearest_cluster"][:20].to_list()):
        means = {
            other: np.mean(unit[members] @ unit[row])
            for other, members in clustering.groups().items()
            if other != clustering.names[row]
        }
        assert name == max(means, key=means.get)


def test_cluster_and_identify_have_the_same_threshold(world, validation):
    vectors, _ = world
    clustering = lookalike.cluster(vectors, validation=validation)
    index = lookalike.Index.build(vectors, clustering.names)
    assert index.identify(vectors[0], validation=validation).point == clustering.point
    assert clustering.threshold == clustering.point.threshold


def test_enrolled_identities_are_named_and_the_rest_is_new(world, validation):
    vectors, labels = world
    enrolled = np.flatnonzero(labels < 10)[::2]
    rest = np.setdiff1d(np.arange(len(labels)), enrolled)
    index = lookalike.Index.build(vectors[enrolled], [f"cat{label}" for label in labels[enrolled]])
    clustering = lookalike.cluster(vectors[rest], index=index, validation=validation)
    names = np.array(clustering.names)
    answers = index.identify(vectors[rest], validation=validation)
    for name, answer in zip(names, answers, strict=True):
        assert answer.answer != "known" or name == answer.identity
    assert answers[0].point == clustering.naming
    known = labels[rest] < 10
    assert np.mean(names[known] == [f"cat{label}" for label in labels[rest][known]]) > 0.9
    assert np.mean([name.startswith("new-") for name in names[~known]]) > 0.97
    assert set(clustering.to_frame().filter("known")["cluster"]) <= clustering.known


def test_a_threshold_names_and_groups_alike(world):
    vectors, labels = world
    index = lookalike.Index.build(vectors[:4:2], ["tom", "tom"])
    names = np.array(lookalike.cluster(vectors[1:], index=index, threshold=0.7).names)
    assert set(np.flatnonzero(names == "tom")) == set(np.flatnonzero(labels[1:] == 0))


def test_numbers_of_enrolled_unknowns_are_not_used_again(world, validation):
    vectors, labels = world
    index = lookalike.Index.build(vectors[labels < 2], [f"new-{5 + label}" for label in labels[labels < 2]])
    names = lookalike.cluster(vectors[labels >= 2], index=index, validation=validation).names
    assert min(int(name[4:]) for name in names) == 7


def test_encounters_and_known_pairs(world, validation):
    vectors, labels = world
    encounter = [f"walk{label}" if label % 2 else None for label in labels]
    table = table_of(labels.tolist(), encounter=encounter)
    clustering = lookalike.cluster(
        vectors, table, validation=validation, different=[(0, "1.jpg"), (0, 2), (0, 3)]
    )
    names = np.array(clustering.names)
    assert all(len(set(names[labels == label])) == 1 for label in range(1, 40, 2))
    assert not set(names[[1, 2, 3]]) & {names[0]}
    assert clustering.agreement["ari"] == pytest.approx(adjusted_rand_score(labels, names))
    assert clustering.agreement["nmi"] == pytest.approx(v_measure_score(labels, names))
    joined = lookalike.cluster(vectors, table, validation=validation, same=[(0, 39)], together=[])
    assert joined.names[0] == joined.names[39]
    with pytest.raises(DataError, match=r"nowhere\.jpg is not a photo"):
        lookalike.cluster(vectors, table, validation=validation, same=[("nowhere.jpg", 0)])
    with pytest.raises(LookalikeError, match="together=camera: there is no such column"):
        lookalike.cluster(vectors, table, validation=validation, together="camera")


def test_a_decision_outranks_an_encounter(world, validation):
    vectors, labels = world
    table = table_of(labels.tolist(), encounter=["one"] * 2 + [None] * (len(labels) - 2))
    clustering = lookalike.cluster(vectors, table, validation=validation, different=[(0, 1)])
    assert clustering.names[0] != clustering.names[1]
    assert any("decided to be different" in note for note in clustering.notes)


def test_a_threshold_needs_no_validation_identities(world):
    vectors, _ = world
    with pytest.raises(
        LookalikeError, match=r"Give validation=.*or set a similarity yourself with threshold="
    ):
        lookalike.cluster(vectors)
    clustering = lookalike.cluster(vectors, threshold=0.7)
    assert clustering.point is None and np.isnan(clustering.count.value)
    assert "is not estimated" in str(clustering)
    with pytest.raises(ValueError, match="threshold=2: must be from -1 to 1"):
        lookalike.cluster(vectors, threshold=2)


def test_vectors_of_another_model_are_refused(world, validation):
    vectors, labels = world
    ours, theirs = (
        lookalike.Embeddings(vectors, table_of(labels.tolist()), space) for space in ("one", "two")
    )
    with pytest.raises(LookalikeError, match="of the model two, and the index holds those of one"):
        lookalike.cluster(theirs, index=lookalike.Index.build(ours), validation=validation)


@pytest.fixture
def here(shapes_folder, tmp_path, monkeypatch):
    """A model with validation vectors, and photos, one of which cannot be read."""
    torch.manual_seed(0)
    model = build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, 8, Resize(16)).eval()
    model.save(tmp_path / "model")
    write_validation_vectors(*population(60, dim=8), model.space, tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for folder in sorted(shapes_folder.iterdir())[:5]:
        for file in sorted(folder.glob("*.png"))[:4]:
            (tmp_path / "photos" / f"{folder.name}-{file.name}").write_bytes(file.read_bytes())
    (tmp_path / "photos" / "bad.png").write_text("no photo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_job_writes_a_folder_that_is_a_dataset(here, capsys):
    words = ["cluster", "model=model", "image=photos", "progress=false"]
    assert main([*words, "threshold=0.999", "out=groups"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "groups"
    assert "1 images cannot be read" in err and "20 photos in" in err
    frame = pl.read_parquet("groups/clusters.parquet")
    assert frame.equals(pl.read_csv("groups/clusters.csv", schema=frame.schema))
    assert len(frame) == 20 and frame["path"][0].startswith("../photos/")
    table = read_table("groups")
    assert table.frame["label"].to_list() == frame["cluster"].to_list()
    summary = json.loads((here / "groups" / "summary.json").read_text())
    assert summary["photos"] == 20 and summary["groups"] == frame["cluster"].n_unique()
    assert summary["skipped"] == 1 and (here / "groups" / "skipped.csv").is_file()
    assert "review.html" in err and (here / "groups" / "review.html").is_file()
    assert main([*words, "out=groups"]) == 1
    assert "exists" in capsys.readouterr().err


def test_the_job_takes_tables_without_labels_and_reads_a_review(here, capsys):
    paths = [f"photos/{file.name}" for file in sorted((here / "photos").iterdir()) if file.name != "bad.png"]
    pl.DataFrame({"file": paths, "walk": ["x"] * 6 + [""] * 14}).write_csv("list.csv")
    words = ["cluster", "model=model", "dataset=list.csv", "together=[walk]", "progress=false"]
    assert main([*words, "threshold=1", "out=groups"]) == 0
    assert "'file' is the path" in capsys.readouterr().err
    names = pl.read_csv("groups/clusters.csv")["cluster"].to_list()
    assert len(set(names[:6])) == 1 and len(set(names)) == 15
    head = {"lookalike_patch": 1, "root": "", "images": 20}
    table = read_table("groups")
    a, b = (table.frame["path"][row] for row in (0, 10))
    line = {"do": "different", "path": a.split("/")[-1], "label": names[0], "other": b.split("/")[-1]}
    line |= {"other_label": names[10], "kind": "cluster", "author": "Ann", "at": "2024-01-01T00:00:00Z"}
    (here / "review.jsonl").write_text("\n".join(map(json.dumps, [head, line])) + "\n")
    assert main(["prepare", "patch=review.jsonl", "dataset=groups", "out=reviewed"]) == 0, (
        capsys.readouterr().err
    )
    more = ["cluster", "model=model", "dataset=reviewed", "threshold=-1", "progress=false"]
    assert main([*more, "out=again"]) == 0
    again = pl.read_csv("again/clusters.csv")["cluster"].to_list()
    assert again[0] != again[10] and len(set(again)) == 2


def test_the_job_needs_photos_or_vectors(here, capsys):
    assert main(["cluster", "out=groups"]) == 2
    assert "give embeddings=FOLDER, or model=FOLDER" in capsys.readouterr().err
    assert main(["cluster", "image=photos", "out=groups"]) == 2
    assert "photos need model=FOLDER" in capsys.readouterr().err
