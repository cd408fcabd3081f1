"""Truncated embeddings: the same from every job, a space of their own, refused and warned of."""

import json
import logging
import shutil

import numpy as np
import polars as pl
import pytest
import torch

import lookalike
from lookalike.cli.main import main
from lookalike.data.table import Table, write_table
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError, LookalikeError
from lookalike.evaluation.operating_point import read_point, write_point
from lookalike.evaluation.threshold_choice import choose_operating_point
from lookalike.evaluation.validation_vectors import read_validation_vectors, write_validation_vectors
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build

DIM, CUT = 8, 3


@pytest.fixture(scope="module")
def root(shapes_folder, tmp_path_factory):
    """A dataset, and a model with a threshold that says that it was trained for three dimensions."""
    root = tmp_path_factory.mktemp("truncation")
    shutil.copytree(shapes_folder, root / "photos")
    files = sorted((root / "photos").rglob("*.png"))
    names = sorted({file.parent.name for file in files})
    splits = ["train", "val", "val", "test", "test"]
    rows = {
        "path": [str(file.relative_to(root / "photos")) for file in files],
        "label": [file.parent.name for file in files],
        "split": [splits[names.index(file.parent.name) % 5] for file in files],
    }
    write_table(Table(pl.DataFrame(rows), root / "photos"), root / "data", {})
    torch.manual_seed(0)
    model = build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, DIM, Resize(16)).eval()
    model.save(root / "plain")
    model.matryoshka = (CUT, DIM)
    model.save(root / "model")
    table = lookalike.read_table(root / "data")
    val = lookalike.embed(model, table.split("val"), progress=False)
    write_point(choose_operating_point(val.vectors, val.table.labels, 0.1, model.space), root / "model")
    write_validation_vectors(val.vectors, val.table.labels, model.space, root / "model")
    return root


@pytest.fixture
def here(root, monkeypatch, tmp_path):
    for name in ("data", "photos", "model", "plain"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cut(vectors, dim=CUT):
    part = np.asarray(vectors, np.float64)[:, :dim]
    return part / np.linalg.norm(part, axis=1, keepdims=True)


def test_every_way_gives_the_first_dimensions_at_length_one_in_the_same_space(here):
    whole = lookalike.load("model")
    table = lookalike.read_table("data").split("test")
    vectors = lookalike.embed(whole, table, progress=False)
    space = f"{whole.space}+dim{CUT}"
    part = whole.truncate(CUT)
    assert (part.dim, part.space, whole.dim) == (CUT, space, DIM)
    part.save(here / "small")
    main(["embed", "model=model", "dataset=data", "split=test", f"dim={CUT}", "out=emb", "progress=false"])
    ways = {
        "embed(dim=)": lookalike.embed(whole, table, dim=CUT, progress=False),
        "embed(model)": lookalike.embed(part, table, progress=False),
        "embeddings": vectors.truncate(CUT),
        "in two steps": vectors.truncate(5).truncate(CUT),
        "saved model": lookalike.embed(lookalike.load("small"), table, progress=False),
        "job": lookalike.Embeddings.load("emb"),
        "index": lookalike.Index.build(vectors, dim=CUT),
        "index of a model": lookalike.Index.build(whole, table).truncate(CUT),
    }
    for name, each in ways.items():
        assert each.space == space, name
        np.testing.assert_allclose(each.vectors, cut(vectors.vectors), atol=2e-6, err_msg=name)
    assert vectors.truncate(DIM).space == whole.space
    assert json.loads((here / "small" / "config.json").read_text())["format"] == 2  # older versions refuse it


def test_evaluation_is_that_of_the_truncated_vectors(here):
    vectors = lookalike.embed(lookalike.load("model"), lookalike.read_table("data"), progress=False)
    labels = vectors.table.labels
    expected = lookalike.evaluate(cut(vectors.vectors), labels, intervals=False).metrics["map@r"]["value"]
    assert lookalike.evaluate(vectors, dim=CUT, intervals=False).metrics["map@r"]["value"] == expected
    plain = lookalike.evaluate(vectors.vectors, labels, dim=CUT, intervals=False)
    assert plain.metrics["map@r"]["value"] == expected
    vectors.save("emb/all")
    main(["evaluate", "embeddings=emb/all", f"dim={CUT}", "out=eval", "intervals=false", "progress=false"])
    written = json.loads((here / "eval" / "metrics.json").read_text())
    assert written["map@r"]["value"] == expected
    assert "operating_tar" not in written  # the threshold is that of whole vectors


def test_an_index_is_searched_with_photos_in_its_own_dimensions(here, caplog, capsys):
    caplog.set_level(logging.INFO)
    main(["index", "model=model", "dataset=data", f"dim={CUT}", "out=index/small", "progress=false"])
    main(["index", "model=model", "dataset=data", "out=index/whole", "progress=false"])
    photo = str(sorted((here / "photos").rglob("*.png"))[5])
    answers = []
    for words in (
        ["index=index/small"],
        ["index=index/small", f"dim={CUT}"],
        ["index=index/whole", f"dim={CUT}"],
    ):
        capsys.readouterr()
        main(["search", *words, f"image={photo}", "k=4", "format=json"])
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0]["likely"] is None  # the threshold was chosen for whole vectors
    assert "its threshold holds for other than the first 3" in caplog.text
    index = lookalike.Index.load("index/small")
    with pytest.raises(LookalikeError, match=r"holds the first 3 dimensions.*truncate\(3\)"):
        index.search(lookalike.embed(lookalike.load("model"), lookalike.read_table("data"), progress=False))
    assert index.identify(photo, fpir=0.5).answer in ("known", "unsure", "new")  # on truncated vectors


def test_what_the_model_folder_knows_of_whole_vectors_is_truncated_or_left_out(here):
    model = lookalike.load("model")
    space = model.truncate(CUT).space
    whole, _ = read_validation_vectors(here / "model", model.space)
    part, _ = read_validation_vectors(here / "model", space)
    np.testing.assert_allclose(part, cut(whole), atol=1e-6)
    assert read_point(here / "model", model.space) is not None
    assert read_point(here / "model", space) is None
    with pytest.raises(LookalikeError, match="was chosen for the model"):
        read_point(here / "model", "0123456789abcdef+dim3")


@pytest.mark.parametrize(
    ("folder", "dim", "words"),
    [
        ("model", CUT, None),
        ("model", CUT + 1, None),
        ("model", CUT - 1, "trained to be truncated to 3, 8 dimensions, and this is fewer"),
        ("plain", CUT, "was not trained with matryoshka="),
    ],
)
def test_a_warning_is_logged_where_the_model_was_not_trained_for_it(here, caplog, folder, dim, words):
    model = lookalike.load(folder)
    table = lookalike.read_table("data").split("test")
    vectors = lookalike.embed(model, table, progress=False, folder=folder)
    for truncate in (
        lambda: model.truncate(dim),
        lambda: vectors.truncate(dim),
        lambda: lookalike.embed(model, table, progress=False, dim=dim),
    ):
        caplog.clear()
        truncate()
        warned = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warned) == (0 if words is None else 1)
        assert words is None or words in warned[0]


@pytest.mark.parametrize("job", ["embed", "evaluate", "index", "export"])
def test_more_dimensions_than_there_are_are_refused(here, job, capsys):
    assert main([job, "model=plain", "dataset=data", f"dim={DIM + 1}", "out=new", "progress=false"])
    assert "dim=9: the embeddings have dimension 8; give 1 to 8" in capsys.readouterr().err
    assert not (here / "new").exists()
    with pytest.raises(ConfigError, match="dim=0"):
        lookalike.load("plain").truncate(0)


def test_an_exported_file_holds_the_truncated_model(here):
    table = lookalike.read_table("data")
    result = lookalike.export("model", table, out="exports/small", dim=CUT, far=0.1, progress=False)
    exported, model = lookalike.load("exports/small"), lookalike.load("model").truncate(CUT)
    assert (exported.dim, exported.space) == (CUT, model.space)
    photos = sorted((here / "photos").rglob("*.png"))[:9]
    np.testing.assert_allclose(exported.embed(photos), model.embed(photos), atol=1e-6)
    assert result.operating_point is not None and result.operating_point.space == model.space
    whole = lookalike.load(lookalike.export("model", table, out="exports/whole", progress=False).file)
    assert whole.matryoshka == (CUT, DIM)
    again = whole.truncate(CUT)
    assert again.space == model.space
    np.testing.assert_allclose(again.embed(photos), model.embed(photos), atol=1e-6)


def test_training_with_matryoshka_says_so_in_the_model_folder(here):
    words = ["dataset=data", "backbone=small_cnn", "image_size=16", "dim=8", "epochs=1", "progress=false"]
    assert not main(["train", *words, "out=runs/nested", "matryoshka=[2,4]", "sampler.classes_per_batch=2"])
    assert not main(["train", *words, "out=runs/plain", "sampler.classes_per_batch=2"])
    assert lookalike.load("runs/nested").matryoshka == (2, 4, 8)
    assert lookalike.load("runs/plain").matryoshka == ()
