"""`lookalike.Index` from Python: built from images or vectors, searched with photos or vectors."""

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
from lookalike.errors import DataError, LookalikeError
from lookalike.evaluation.operating_point import OperatingPoint, write_point
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build


@pytest.fixture(scope="module")
def root(shapes_folder, tmp_path_factory):
    """A dataset folder and a model folder with an operating point."""
    root = tmp_path_factory.mktemp("index_api")
    files = sorted(shapes_folder.rglob("*.png"))
    rows = {
        "path": [str(file.relative_to(shapes_folder)) for file in files],
        "label": [file.parent.name for file in files],
        "split": ["train" if number % 2 else "test" for number in range(len(files))],
    }
    write_table(Table(pl.DataFrame(rows), shapes_folder), root / "data", {})
    torch.manual_seed(0)
    model = build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, 8, Resize(16)).eval()
    model.save(root / "model")
    point = OperatingPoint(0.01, 0.01, 0.9999, 0.99, 1, 0.9, 0.8, 1, 1e-4, 50, 10, model.space)
    write_point(point, root / "model")
    return root


@pytest.fixture(scope="module")
def table(root):
    return lookalike.read_table(root / "data")


@pytest.fixture(scope="module")
def index(root, table):
    return lookalike.Index.build(lookalike.load(root / "model"), table)


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).normal(size=(40, 6))


def rows_of(results):
    return [[hit.row for hit in hits] for hits in results]


def test_a_photo_finds_itself_in_every_form(index, table):
    file = table.file(7)
    picture = Image.open(file)
    photos = [file, str(file), picture, np.asarray(picture.convert("RGB"))]
    tensor = index.loaded_model.transform()(picture.convert("RGB"))
    for photo in [*photos, tensor, tensor.float() / 255]:
        hits = index.search(photo, k=3)
        assert isinstance(hits, list) and hits[0].row == 7, type(photo)
        assert hits[0].similarity == pytest.approx(1, abs=1e-6)
        assert (hits[0].label, hits[0].likely, hits.likely) == (table.labels[7], True, True)
    assert rows_of(index.search(photos, k=1)) == [[7]] * 4
    assert rows_of(index.search(torch.stack([tensor, tensor]), k=1)) == [[7], [7]]
    assert rows_of(index.search([tensor], k=1)) == [[7]]
    assert index.search(picture, k=1, box=(0, 0, *picture.size))[0].row == 7


def test_vectors_of_any_length_find_themselves(vectors):
    labels = [f"id{row // 2}" for row in range(40)]
    index = lookalike.Index.build(vectors, labels)
    for queries in (vectors, 3 * vectors, torch.tensor(vectors), list(vectors), vectors.tolist()):
        assert rows_of(index.search(queries, k=1)) == [[row] for row in range(40)]
    for query in (vectors[5], torch.tensor(vectors[5]), vectors[5].tolist()):
        assert index.search(query, k=2)[0].row == 5
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = np.argsort(-unit @ unit.T, axis=1, kind="stable")[:, :4]
    results = index.search(vectors, k=4)
    assert rows_of(results) == expected.tolist()
    assert results[3][1].similarity == pytest.approx(float(unit[3] @ unit[expected[3, 1]]))
    assert results[0].likely is None
    with pytest.raises(LookalikeError, match="does not say which model"):
        index.search(Image.new("RGB", (8, 8)))


def test_by_label_gives_each_identity_once(vectors):
    index = lookalike.Index.build(vectors, np.arange(40) // 4)
    for images, labels in zip(
        index.search(vectors, k=40), index.search(vectors, k=3, by="label"), strict=True
    ):
        first = {}
        for hit in images:
            first.setdefault(hit.label, hit)
        assert list(labels) == list(first.values())[:3]


def test_a_threshold_says_which_hits_are_likely_right(index, table, vectors):
    assert index.threshold == 0.9999
    hits = index.search(table.file(0), k=40, threshold=0.5)
    assert [hit.likely for hit in hits] == [hit.similarity >= 0.5 for hit in hits]
    assert index.search(table.file(0), threshold=1.0).likely in (True, False)
    plain = lookalike.Index.build(vectors, np.arange(40))
    assert plain.search(vectors[0], k=1)[0].likely is None
    assert plain.search(vectors[0], k=1, threshold=0.99)[0].likely is True
    assert plain.search(-vectors[0], k=1, threshold=0.999).likely is False


def test_folders_embeddings_and_objects_give_the_same_index(index, root, table, tmp_path):
    embeddings = lookalike.embed(lookalike.load(root / "model"), table, progress=False, folder=root / "model")
    embeddings.save(tmp_path / "emb")
    np.save(tmp_path / "v.npy", index.vectors)
    query = table.file(3)
    expected = index.search(query, k=5)
    for build_arguments in [
        (root / "model", root / "data"),
        (str(root / "model"), table),
        (embeddings,),
        (tmp_path / "emb",),
    ]:
        other = lookalike.Index.build(*build_arguments)
        assert other.search(query, k=5) == expected
        assert (other.space, other.model_folder) == (index.space, root / "model")
    vectors_only = lookalike.Index.build(index.vectors, table)
    assert rows_of([vectors_only.search(index.vectors[3])]) == rows_of([expected])
    assert len(lookalike.Index.build(embeddings, split="test")) == len(table.split("test"))
    assert len(lookalike.Index.build(root / "model", root / "data", split=["test", "train"])) == len(table)


def test_saved_with_out_and_loaded_it_finds_the_same_as_the_command_line(
    root, table, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    built = lookalike.Index.build(root / "model", table, out="mine")
    words = [f"model={root / 'model'}", f"dataset={root / 'data'}", "out=job", "progress=false"]
    assert main(["index", *words]) == 0
    assert (tmp_path / "mine" / "index.json").read_text() == (tmp_path / "job" / "index.json").read_text()
    loaded, file = lookalike.Index.load("mine"), str(table.file(9))
    assert loaded.search(file) == built.search(file) and "8" in repr(loaded)
    capsys.readouterr()
    assert main(["search", "index=job", f"image={file}", "format=json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    hits = loaded.search(file)
    assert [hit["path"] for hit in entry["hits"]] == [hit.path for hit in hits]
    assert [hit["score"] for hit in entry["hits"]] == [round(hit.similarity, 6) for hit in hits]
    assert entry["likely"] is hits.likely
    with pytest.raises(LookalikeError, match="exists"):
        lookalike.Index.build(root / "model", table, out="mine")


def test_folders_and_lists_of_photos_are_expanded_in_a_list(index, table, tmp_path):
    folder = table.file(0).parent
    files = sorted(folder.glob("*.png"))
    (tmp_path / "some.txt").write_text("\n".join(map(str, files)), "utf-8")
    for query in ([folder], [str(tmp_path / "some.txt")]):
        results = index.search(query, k=1)
        assert [hits.query for hits in results] == [str(file) for file in files]
    with pytest.raises(LookalikeError, match="folder or list of photos"):
        index.search(folder)
    with pytest.raises(LookalikeError, match="no such photo"):
        index.search("nowhere.png")
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(DataError, match=r"1 of 2 images cannot be read(.|\n)*text\.jpg"):
        index.search([files[0], tmp_path / "text.jpg"])


def test_embeddings_of_another_model_are_rejected(index, table, vectors):
    embeddings = lookalike.Embeddings(index.vectors, index.table, index.space)
    assert rows_of(index.search(embeddings[:4], k=1)) == [[0], [1], [2], [3]]
    other = lookalike.Embeddings(index.vectors, index.table, "another")
    with pytest.raises(LookalikeError, match="cannot be compared"):
        index.search(other)
    with pytest.raises(ValueError, match="6 numbers"):
        index.search(vectors)


@pytest.mark.parametrize(
    ("arguments", "named", "words"),
    [
        ((np.eye(3),), {}, "labels: each vector needs one"),
        ((np.eye(3), [1, 2]), {}, "2"),
        ((np.eye(3), [1, 2, 3]), {"split": "test"}, "split"),
        ((np.zeros((2, 2)), [1, 2]), {}, "zero"),
        ((np.full((2, 2), np.nan), [1, 2]), {}, "NaN"),
    ],
)
def test_wrong_vectors_are_rejected(arguments, named, words):
    with pytest.raises(ValueError, match=words):
        lookalike.Index.build(*arguments, **named)


@pytest.mark.parametrize(
    ("query", "named", "error", "words"),
    [
        ([], {}, ValueError, "empty"),
        (7, {}, TypeError, "got int"),
        ({"a": 1}, {}, LookalikeError, "no such photo"),
        ([None], {}, TypeError, "NoneType"),
        (np.eye(2)[None], {}, TypeError, "vectors are numbers"),
        (torch.zeros(2, 5, 5), {}, TypeError, r"images \[3, S, S\]"),
        (np.ones(6), {"k": 0}, ValueError, "k=0"),
        (np.ones(6), {"by": "path"}, ValueError, "image, label"),
        (np.ones(6), {"threshold": 2.0}, ValueError, "from -1 to 1"),
        (np.ones(6), {"box": (0, 0, 1, 1)}, ValueError, "part of a photo"),
        (np.zeros(6), {}, ValueError, "zero"),
    ],
)
def test_wrong_queries_are_rejected(vectors, query, named, error, words):
    index = lookalike.Index.build(vectors, np.arange(40))
    with pytest.raises(error, match=words):
        index.search(query, **named)
