"""What is in the explorer's folder: numbers that are right, one file or many, and no layout made twice."""

import base64
import gzip
import json
import re

import numpy as np
import polars as pl
import pytest
from hostile_names import HOSTILE, LABELS, make_dataset, make_vectors
from PIL import Image

from lookalike.cli.main import main
from lookalike.data.table import Table
from lookalike.embeddings import Embeddings
from lookalike.errors import LookalikeError
from lookalike.explore import folder, sheets
from lookalike.explore.columns import Column, page_columns, short_paths
from lookalike.explore.folder import Options, write_explorer
from lookalike.explore.page import describe_columns

QUICK = Options(layout="pca", neighbours=5, progress=False)


def unpack_page(page):
    """The facts and arrays that a page holds."""
    text = re.search(r'id="data">([^<]*)<', page.read_text(encoding="utf-8"))[1]
    blob = gzip.decompress(base64.b64decode(text))
    length = int.from_bytes(blob[:4], "little")
    head = json.loads(blob[4 : 4 + length])
    start = -(-(4 + length) // 8) * 8
    kinds = {"f4": "<f4", "f8": "<f8", "u4": "<u4", "i2": "<i2", "u1": "u1", "u2": "<u2"}
    arrays = {
        name: np.frombuffer(blob, kinds[kind], size, start + place)
        for name, (kind, place, size) in head["arrays"].items()
    }
    return head, arrays


def test_neighbours_equal_a_plain_loop():
    vectors = make_vectors().astype(np.float64)
    rows, scores = folder.nearest_rows(vectors.astype(np.float32), 5)
    for row, vector in enumerate(vectors):
        alike = [(-float(vector @ other), place) for place, other in enumerate(vectors) if place != row]
        assert rows[row].tolist() == [place for _, place in sorted(alike)[:5]]
        assert scores[row] == pytest.approx([-value for value, _ in sorted(alike)[:5]], abs=1e-6)


def test_fewer_neighbours_than_asked_for_and_equal_vectors():
    rows, scores = folder.nearest_rows(np.tile(np.float32([1, 0]), (3, 1)), 2)
    assert rows.tolist() == [[1, 2], [0, 2], [0, 1]] and (scores == 1).all()


def test_few_vectors_or_one_number_still_have_places():
    assert folder.lay_out_map(np.ones((3, 1)), "tsne", 0).shape == (3, 2)


def test_tiles_come_coarse_first_and_each_once():
    places = np.random.default_rng(0).random((3000, 2)).astype(np.float32)
    tiles = sheets.tile_order(places)
    assert sorted(tiles) == list(range(3000))
    first = places[np.argsort(tiles)[:64]]
    assert len({(int(x * 8), int(y * 8)) for x, y in first}) == 64, (
        "the first 64 are one of each of 8 × 8 cells"
    )
    assert sorted(sheets.tile_order(np.zeros((5, 2), np.float32))) == list(range(5))


@pytest.mark.parametrize("single", [True, False])
def test_the_page_holds_what_it_shows(made, single):
    page = made(single)
    head, arrays = unpack_page(page)
    vectors, count = make_vectors(), len(make_vectors())
    rows, scores = folder.nearest_rows(vectors, 5)
    assert arrays["neighbours"].reshape(count, 5).tolist() == rows.tolist()
    assert arrays["similarity"].reshape(count, 5) / 32767 == pytest.approx(scores, abs=2e-5)
    label = head["columns"][0]
    assert [label["values"][code] for code in arrays["column-0"]] == [
        name for name in LABELS for _ in range(4)
    ]
    assert min(arrays["x"]) == 0 and max(*arrays["x"], *arrays["y"]) == 1
    assert (page.parent / head["originals"] / head["paths"][7]).is_file()
    assert f"{head['root']}/{head['paths'][0]}".endswith("photos/0/a b#1.png")
    text = page.read_text(encoding="utf-8")
    assert HOSTILE not in text and "&lt;script&gt;document.title" in text
    assert "http://" not in re.sub(r"http://www\.w3\.org/2000/svg", "", text) and "https://" not in text


def test_each_picture_is_on_its_tile(made):
    page = made(False)
    head, arrays = unpack_page(page)
    sheet = Image.open(page.parent / "sheets" / "0000.webp").convert("RGB")
    for row in (0, 11, 23):
        tile = int(arrays["tile"][row])
        x, y = tile % head["per_side"] * 64, tile // head["per_side"] * 64
        assert (arrays["tile_width"][row], arrays["tile_height"][row]) == (24, 18 + row // 4)
        seen = sheet.getpixel((x + 12, y + 9))
        with Image.open(page.parent / head["originals"] / head["paths"][row]) as original:
            assert seen == pytest.approx(original.convert("RGB").getpixel((12, 9)), abs=12)


def test_the_parquet_is_what_embedding_atlas_reads(made):
    frame = pl.read_parquet(made().parent / "points.parquet")
    assert frame.columns[:4] == ["x", "y", "neighbors", "image"]
    assert {"path", "label", "split", "weight", "camera"} <= set(frame.columns)
    rows, scores = folder.nearest_rows(make_vectors(), 5)
    first = frame["neighbors"][3]
    assert first["ids"] == rows[3].tolist() and first["distances"] == pytest.approx(1 - scores[3])
    assert frame["image"][3]["bytes"][:4] == b"RIFF"
    assert (made().parent / frame["path"][3]).is_file()


def test_the_layout_is_computed_once(tmp_path, monkeypatch):
    table, vectors = make_dataset(tmp_path), make_vectors()
    page = write_explorer(vectors, table, tmp_path / "map", "one", QUICK)
    before = unpack_page(page)[1]
    monkeypatch.setattr(folder, "lay_out_map", lambda *_: pytest.fail("laid out again"))
    again = Options(layout="pca", neighbours=5, progress=False, thumbnail=32)
    after = unpack_page(write_explorer(vectors, table, tmp_path / "map", "two", again))[1]
    for name in ("x", "y", "neighbours", "similarity"):
        assert np.array_equal(before[name], after[name])
    with pytest.raises(pytest.fail.Exception, match="laid out again"):
        write_explorer(vectors[::-1], table, tmp_path / "map", "three", QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "map", "photos"]
    assert ">two<" in page.read_text() or "two" in page.read_text()


def test_what_is_not_an_explorer_is_not_replaced(tmp_path):
    table = make_dataset(tmp_path)
    with pytest.raises(LookalikeError, match="exists"):
        write_explorer(make_vectors(), table, tmp_path / "photos", "x", QUICK)
    with pytest.raises(LookalikeError, match="1 image; a map needs at least 2"):
        write_explorer(make_vectors()[:1], table.take([0]), tmp_path / "new", "x", QUICK)


def test_an_image_that_is_gone_is_crossed_out_and_said(tmp_path, caplog):
    table = make_dataset(tmp_path)
    table.file(5).unlink()
    page = write_explorer(make_vectors(), table, tmp_path / "map", "x", QUICK)
    assert "1 image cannot be read" in caplog.text and unpack_page(page)[1]["tile_width"][5] == 64


def test_columns_become_classes_numbers_or_text():
    frame = pl.DataFrame(
        {
            "path": [f"{row}.png" for row in range(40)],
            "label": pl.Series([2**63 + row % 2 for row in range(40)], dtype=pl.UInt64),
            "split": ["test"] * 40,
            "hash": [f"{row:08x}" for row in range(40)],
            "weight": [None, float("inf"), *map(float, range(38))],
            "year": [2000 + row % 3 for row in range(40)],
            "tags": [["a"]] * 40,
        }
    )
    found = {
        column.name: column
        for column in page_columns(Table(frame), {"map@r": np.arange(40.0), "split": np.zeros(40)})
    }
    kinds = {name: column.kind for name, column in found.items()}
    assert kinds == {
        "label": "category",
        "split": "category",
        "hash": "text",
        "weight": "number",
        "year": "category",
        "map@r": "number",
    }
    assert found["label"].values == [str(2**63), str(2**63 + 1)]
    assert np.isnan(found["weight"].codes[:2]).all()


def test_paths_start_in_the_folder_of_all_images(tmp_path):
    frame = pl.DataFrame({"path": ["a/b/1.png", "a/c/2.png"]})
    short, folder, root = short_paths(Table(frame, tmp_path / "x"))
    assert short == ["b/1.png", "c/2.png"] and folder == str(tmp_path / "x" / "a") and root == "x/a"


@pytest.fixture
def embeddings(tmp_path):
    Embeddings(make_vectors(), make_dataset(tmp_path), "5pace").save(tmp_path / "emb")
    return tmp_path / "emb"


def test_from_the_command_line(embeddings, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert main(["explore", str(embeddings), "layout=pca", "progress=false"]) == 0
    page = embeddings / "explore" / "index.html"
    assert capsys.readouterr().out.splitlines()[-1] == str(page) and opened == []
    assert "<title>" in page.read_text()
    assert main(["explore", f"run={embeddings}", "layout=pca", "seed=3"]) == 2
    assert main(["explore", f"run={embeddings}", "layout=pca", "progress=false", "open=true"]) == 0
    assert opened == [page.as_uri()]


def test_what_cannot_be_explored(tmp_path, capsys):
    assert main(["explore", str(tmp_path / "none")]) == 1
    assert main(["explore", str(tmp_path)]) == 1
    assert main(["explore", "a", "b"]) == 2
    said = capsys.readouterr().err
    assert "no such folder" in said and "neither a run nor" in said and "explore shows one run" in said


@pytest.mark.parametrize(
    ("start", "ends"),
    [
        ("a rather long shared beginning/", ["cat", "dog"]),
        ("\N{CAT FACE} a long beginning that is shared by ", ["cat", "dog"]),
        ("", ["shared/cat", "shared/dog"]),
        ("", ["a rather long name of a single class"]),
        ("", ["a rather long name without company", "quite another long name"]),
    ],
)
def test_the_legend_leaves_out_what_all_long_classes_begin_with(start, ends):
    values = [start + end for end in ends]
    column = Column("label", "category", values, np.arange(len(values), dtype=np.uint32))
    listed, _ = describe_columns([column])
    assert listed[0]["start"] == len(start.encode("utf-16-le")) // 2  # as JavaScript counts
