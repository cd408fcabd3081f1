"""Who a photo shows, from Python and the command line: known, new, or unsure."""

import csv
import json

import numpy as np
import polars as pl
import pytest
import torch

import lookalike
from lookalike.cli.main import main
from lookalike.data.table import Table, write_table
from lookalike.data.transforms import Resize
from lookalike.errors import DataError, LookalikeError
from lookalike.evaluation.identification import choose_identification_point
from lookalike.evaluation.validation_vectors import MOST, read_validation_vectors, write_validation_vectors
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build


def population(identities, each=4, seed=0, dim=16):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), each)
    return rng.normal(size=(identities, dim))[labels] + 0.4 * rng.normal(size=(len(labels), dim)), labels


@pytest.fixture(scope="module")
def world():
    """Vectors of 500 identities: 150 to choose the threshold on, 30 enrolled, the others strangers."""
    return population(500)


@pytest.fixture(scope="module")
def validation(world):
    return world[0][world[1] < 150], world[1][world[1] < 150]


@pytest.fixture(scope="module")
def index(world):
    rows = np.flatnonzero((world[1] >= 150) & (world[1] < 180))[::2]
    return lookalike.Index.build(world[0][rows], [f"cat{label}" for label in world[1][rows]])


def test_strangers_are_new_and_the_enrolled_have_their_names(world, index, validation):
    vectors, labels = world
    strangers = index.identify(vectors[labels >= 180], validation=validation)
    point = strangers[0].point
    expected = choose_identification_point(*validation, [2] * 30, 0.01)
    assert point == expected and (point.gallery, point.photos, point.fpir) == (30, 2, 0.01)
    named = np.mean([each.similarity >= point.threshold for each in strangers])
    assert point.fpir_low <= named <= point.fpir_high
    assert {each.answer for each in strangers} == {"new", "unsure", "known"}
    assert all((each.identity is not None) == (each.answer == "known") for each in strangers)
    assert all(each.hits.likely == (each.answer == "known") for each in strangers)
    photos = np.flatnonzero((labels >= 150) & (labels < 180))[1::2]
    known = index.identify(vectors[photos], validation=validation, k=2)
    named = [each.identity == f"cat{label}" for each, label in zip(known, labels[photos], strict=True)]
    assert np.mean(named) > 0.9
    assert [len(each.hits) for each in known] == [2] * len(known)


def test_a_single_photo_has_a_single_answer_that_reads_well(world, index, validation):
    answer = index.identify(index.vectors[0], validation=validation)
    assert (answer.answer, answer.identity) == ("known", "cat150")
    assert str(answer).startswith("known: cat150; similarity 1.000, threshold 0.")
    assert str(answer).endswith("false positive identification rate 1 %")
    values = json.loads(json.dumps(answer.to_dict()))
    assert {"image", "answer", "identity", "score", "threshold", "fpir", "hits"} <= set(values)
    stranger = index.identify(world[0][-1], validation=validation)
    assert str(stranger).startswith("new; similarity 0.")


def test_an_encounter_has_one_answer_from_the_mean_over_its_photos(world, index, validation):
    vectors, labels = world
    rows = np.flatnonzero(labels == 160)[1::2]
    answer = index.identify(vectors[rows], validation=validation, encounter=True)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    enrolled = unit[np.flatnonzero(labels == 160)[::2]]
    assert answer.similarity == pytest.approx((unit[rows] @ enrolled.T).max(axis=1).mean(), abs=1e-5)
    assert (answer.identity, answer.point.probe_photos, len(answer.images)) == ("cat160", 2, 2)
    assert answer.to_dict()["image"] == [None, None]
    assert answer.point.threshold < index.identify(vectors[rows[0]], validation=validation).point.threshold


def test_a_rate_that_cannot_be_shown_becomes_the_finest_one(index, validation):
    point = index.identify(index.vectors[0], fpir=1e-6, validation=validation).point
    assert point.requested == 1e-6
    assert point.fpir == pytest.approx(1 - (1 - 2 / (150 * 149)) ** 30)


def test_validation_vectors_are_needed_and_of_the_same_model(index, validation, tmp_path):
    with pytest.raises(LookalikeError, match=r"no vectors of validation identities.*Give validation="):
        index.identify(index.vectors[0])
    with pytest.raises(ValueError, match="2 validation identities are too few"):
        index.identify(index.vectors[0], validation=(np.eye(16)[:2], [0, 1]))
    table = Table(pl.DataFrame({"path": ["a"] * 8, "label": list("aabbccdd"), "split": ["train"] * 8}))
    ours, theirs = (lookalike.Embeddings(np.eye(16)[:8], table, space) for space in ("one", "two"))
    other = lookalike.Index.build(ours)
    with pytest.raises(LookalikeError, match="of the model two, and the index holds those of one"):
        other.identify(other.vectors[0], validation=theirs)
    assert other.identify(other.vectors[0], fpir=0.5, validation=ours).similarity == pytest.approx(1)


def test_the_file_in_the_model_folder_keeps_whole_identities_without_names(tmp_path):
    vectors, labels = population(MOST // 4 + 50)
    write_validation_vectors(vectors, [f"secret{label}" for label in labels], "5pace", tmp_path)
    kept, codes = read_validation_vectors(tmp_path, "5pace")
    assert len(kept) == len(codes) == MOST
    assert (np.bincount(codes, minlength=len(vectors) // 4) % 4 == 0).all()
    assert b"secret" not in (tmp_path / "validation_vectors.safetensors").read_bytes()
    with pytest.raises(LookalikeError, match="of the model 5pace, and this one is other"):
        read_validation_vectors(tmp_path, "other")
    assert read_validation_vectors(tmp_path / "nowhere", "5pace") is None
    (tmp_path / "validation_vectors.safetensors").write_bytes(b"no")
    with pytest.raises(LookalikeError, match="cannot be read"):
        read_validation_vectors(tmp_path, "5pace")


@pytest.fixture
def here(shapes_folder, tmp_path, monkeypatch):
    """An index of photos by a model with validation vectors, and a folder of photos with a broken one."""
    files = sorted(shapes_folder.rglob("*.png"))
    rows = {"path": list(map(str, files)), "label": [file.parent.name for file in files]}
    write_table(Table(pl.DataFrame({**rows, "split": "test"}), shapes_folder), tmp_path / "data", {})
    torch.manual_seed(0)
    model = build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, 8, Resize(16)).eval()
    model.save(tmp_path / "model")
    write_validation_vectors(*population(60, dim=8), model.space, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert main(["index", "model=model", "dataset=data", "out=index", "progress=false"]) == 0
    (tmp_path / "photos").mkdir()
    for file in files[:2]:
        (tmp_path / "photos" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "photos" / "bad.png").write_text("no photo")
    return tmp_path


def test_the_job_answers_for_each_photo_and_for_an_encounter(here, capsys):
    capsys.readouterr()
    words = ["identify", "index=index", "image=photos", "fpir=0.2"]
    assert main([*words, "format=json", "k=2"]) == 0
    out, err = capsys.readouterr()
    answers = json.loads(out)
    assert [answer["image"] for answer in answers] == ["photos/0.png", "photos/1.png"]
    assert answers[0]["score"] == 1 and answers[0]["answer"] == "known"
    assert answers[0]["identity"] == answers[0]["hits"][0]["label"]
    assert answers[0]["fpir"] == 0.2 and len(answers[0]["hits"]) == 2
    assert "1 of 3 images cannot be read" in err and "false positive identification rate" in err
    assert main([*words, "encounter=true"]) == 0
    head, row = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert head == ["image", "answer", "identity", "score", "nearest", "path"]
    assert row[:2] == ["photos/0.png photos/1.png", "known"]
    assert main([*words, "format=csv"]) == 0
    lines = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [line["image"] for line in lines] == ["photos/0.png", "photos/1.png"]
    assert lines[0]["identity"] == answers[0]["identity"] and lines[0]["fpir"] == "0.2"
    assert main(["search", "index=index", "image=photos/0.png", "k=2", "format=csv"]) == 0
    hits = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [hit["rank"] for hit in hits] == ["1", "2"] and hits[0]["likely"] == hits[0]["x1"] == ""
    assert main(["identify", "index=index", "image=photos/bad.png"]) == 1
    assert main(["identify", "index=index", "image=photos", "fpir=0"]) == 2
    assert "fpir" in capsys.readouterr().err


def test_the_job_says_which_rate_it_can_promise(here, capsys):
    assert main(["identify", "index=index", "image=photos/0.png", "fpir=1e-5"]) == 0
    assert "1e-05 was requested" in capsys.readouterr().err
    (here / "model" / "validation_vectors.safetensors").unlink()
    assert main(["identify", "index=index", "image=photos/0.png"]) == 1
    assert "Give validation=" in capsys.readouterr().err


def test_photos_that_cannot_be_read_are_listed(here):
    index = lookalike.Index.load("index")
    with pytest.raises(DataError, match="1 of 3 images cannot be read"):
        index.identify(["photos"])
    skipped = []
    assert len(index.identify(["photos"], skipped=skipped)) == 2 and len(skipped) == 1
