"""Gallery health: photos that cause false matches come first, with figures and the rate that they cause."""

import numpy as np
import polars as pl
import pytest

import lookalike
from lookalike.cli.main import main
from lookalike.data.table import Table
from lookalike.search.health import gallery_health


def population(identities, each=4, seed=0, dim=16):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), each)
    return rng.normal(size=(identities, dim))[labels] + 0.4 * rng.normal(size=(len(labels), dim)), labels


@pytest.fixture(scope="module")
def validation():
    return population(100, seed=1)


def with_stranger(vectors, validation, row):
    """One enrolled photo shows a validation identity."""
    unit = validation[0] / np.linalg.norm(validation[0], axis=1, keepdims=True)
    changed = vectors.copy()
    changed[row] = unit[:4].mean(0)
    return changed


def test_a_healthy_gallery_keeps_its_promise(validation):
    vectors, labels = population(30, seed=2)
    health = gallery_health(lookalike.Index.build(vectors, labels), 0.05, validation)
    assert 0 < health.fpir <= health.point.fpir_high
    index = lookalike.Index.build(vectors, labels)
    answers = index.identify(validation[0], fpir=0.05, validation=validation)
    named = np.array([answer.similarity >= answer.point.threshold for answer in answers])
    assert health.fpir == pytest.approx(named.reshape(100, 4).mean())
    assert health.photos["false_matches"].sum() == named.sum()


def test_photos_that_cause_false_matches_come_first(validation):
    vectors, labels = population(30, seed=3)
    labels = labels.copy()
    labels[80] = 3  # a wrong enrolment
    poisoned = with_stranger(vectors, validation, 8)
    health = gallery_health(lookalike.Index.build(poisoned, labels), 0.01, validation)
    first = health.photos.row(0, named=True)
    assert first["row"] == 8 and "gives a name to" in first["problem"]
    assert "unlike the other photos of 2" in first["problem"]
    wrong = health.photos.filter(pl.col("row") == 80).row(0, named=True)
    assert wrong["other_label"] == "20" and "resembles 20 (0." in wrong["problem"]
    assert "unlike the other photos of 3" in wrong["problem"]
    assert health.fpir > gallery_health(lookalike.Index.build(vectors, labels), 0.01, validation).fpir
    assert "have a problem" in str(health)


def test_single_photos_and_one_identity(validation):
    vectors, _ = population(1, each=3, seed=4)
    health = gallery_health(lookalike.Index.build(vectors[:1], ["tom"]), 0.05, validation)
    assert health.photos.row(0, named=True)["own_similarity"] is None
    assert (
        gallery_health(lookalike.Index.build(vectors, ["tom"] * 3), 0.05, validation)
        .photos["other_label"]
        .to_list()
        == [None] * 3
    )


def test_the_job_prints_problems_and_writes_all_photos(tmp_path, validation, capsys):
    vectors, labels = population(30, seed=3)
    poisoned = with_stranger(vectors, validation, 8)
    lookalike.Index.build(poisoned, labels, out=tmp_path / "index")
    paths = [f"{row}.jpg" for row in range(len(validation[1]))]
    table = Table(pl.DataFrame({"path": paths, "label": validation[1], "split": "val"}), tmp_path)
    unit = validation[0] / np.linalg.norm(validation[0], axis=1, keepdims=True)
    lookalike.Embeddings(unit.astype(np.float32), table, "file:x").save(tmp_path / "val")
    words = ["index", "health", f"index={tmp_path}/index", f"validation={tmp_path}/val"]
    capsys.readouterr()
    assert main(["-".join(words[:2]), *words[2:], "most=1", f"out={tmp_path}/all.csv"]) == 0
    out, err = capsys.readouterr()
    cells = out.splitlines()[1].split("\t")
    assert cells[1] == "2" and cells[2].endswith("vectors#8") and "gives a name to" in cells[3]
    assert "% of strangers are given a name" in err and "more; most= or out=" in err
    frame = pl.read_csv(tmp_path / "all.csv")
    assert len(frame) == len(labels) and frame["row"][0] == 8
