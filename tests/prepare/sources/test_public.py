"""How the files of a public set are found, unpacked, fetched, or asked for."""

import os
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hostile import answer_ranges, body, serving, status
from layouts import (
    CAR_NAMES,
    cars,
    cub,
    idx,
    inshop,
    lfw,
    lines,
    mat,
    mnist,
    names,
    picture,
    tar_bytes,
    write_files,
    zip_bytes,
)
from PIL import Image

from lookalike.cli.prepare import Config, main
from lookalike.config import load
from lookalike.config.catalogue import CONF, choices, summary
from lookalike.data.pairs import read_pairs
from lookalike.data.table import read_table
from lookalike.errors import ConfigError, DataError
from lookalike.prepare.download.locating import find_piece
from lookalike.prepare.sources import mnist as module
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

FILES = {"set/list.txt": b"x", "set/images/1.jpg": picture()}


def about(url="", size=None, checksum=None, login="Ask its authors."):
    archive = Archive("set.zip", url, size, checksum)
    pieces = (Piece("list.txt", (archive,)), Piece("images", (archive,)))
    return PublicSet("tiny", "Tiny Set", "CC0", "1 kB", "https://example.org/tiny", pieces, login)


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


def test_nothing_there_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        Raw().open(about())
    assert str(caught.value).splitlines() == [
        "Tiny Set: files are missing in raw/tiny (no such folder yet), each as an archive or unpacked:",
        "  set.zip, which contains list.txt, images",
        "Size: 1 kB. Licence: CC0.",
        "It is described at https://example.org/tiny",
        "Ask its authors. Put the files into raw/tiny, or give their folder: raw=…",
    ]
    with pytest.raises(DataError, match="download=true downloads it; or put the files into raw/tiny"):
        Raw().open(about(url="https://example.org/set.zip"))
    with pytest.raises(DataError, match="download=true cannot download all of it"):
        Raw(download=True).open(about())
    assert names(tmp_path) == [], "and asks nobody"


def test_a_file_instead_of_a_folder(tmp_path):
    write_files(tmp_path, {"set.zip": zip_bytes(FILES)})
    with pytest.raises(DataError, match="this is a file; give the folder that contains it"):
        Raw(tmp_path / "set.zip").open(about())


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz", "set.tgz", "one/two/set.zip"])
def test_an_archive_is_unpacked_beside_itself_once(tmp_path, name):
    write_files(tmp_path, {name: zip_bytes(FILES) if name.endswith("zip") else tar_bytes(FILES)})
    places = Raw(tmp_path).open(about())
    folder = (tmp_path / name).parent / "set.unpacked"
    assert places == {"list.txt": folder / "set" / "list.txt", "images": folder / "set" / "images"}
    (folder / "set" / "list.txt").write_bytes(b"mine")
    Raw(tmp_path).open(about())
    assert (folder / "set" / "list.txt").read_bytes() == b"mine"


@pytest.mark.parametrize("top", ["", "set/", "a/b/c/"])
def test_what_is_unpacked_already_is_found(tmp_path, top):
    write_files(tmp_path, {f"{top}list.txt": b"x", f"{top}images/1.jpg": b"x"})
    assert Raw(tmp_path).open(about())["images"] == tmp_path / top / "images"


def test_two_that_could_be_meant(tmp_path):
    write_files(tmp_path, {"a/list.txt": b"x", "b/list.txt": b"x"})
    with pytest.raises(DataError, match="choose one by its folder"):
        find_piece(tmp_path, "list.txt")


def test_two_archives_that_could_be_meant(tmp_path):
    write_files(tmp_path, {f"{name}/set.zip": zip_bytes(FILES) for name in "ab"})
    with pytest.raises(DataError, match=r"a/set\.zip and .*b/set\.zip; choose one by its folder"):
        Raw(tmp_path).open(about())


def test_an_archive_that_is_newer_than_what_was_unpacked(tmp_path, caplog):
    write_files(tmp_path, {"set.zip": zip_bytes(FILES)})
    Raw(tmp_path).open(about())
    Raw(tmp_path).open(about())
    assert not caplog.text
    os.utime(tmp_path / "set.zip", (2**32, 2**32))
    Raw(tmp_path).open(about())
    assert "set.zip is newer than" in caplog.text


def test_folders_of_classes_are_not_searched(tmp_path):
    write_files(tmp_path, {f"images/{number}/list.txt": b"x" for number in range(80)})
    assert find_piece(tmp_path, "list.txt") is None


def test_half_an_archive_is_not_taken_for_whole(tmp_path):
    data = zip_bytes(FILES)
    write_files(tmp_path, {"set.zip": data[:-30]})
    for what in (about(size=len(data)), about()):
        with pytest.raises(DataError, match="damaged or truncated"):
            Raw(tmp_path).open(what)
        assert names(tmp_path) == ["set.zip"]


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ({"size": 999}, "bytes, but 999 are published: not the archive that the authors published"),
        ({"checksum": f"md5:{32 * '0'}"}, "its md5 checksum is"),
    ],
)
def test_an_archive_packed_by_others_is_used_and_said(tmp_path, expected, said, caplog):
    write_files(tmp_path, {"set.zip": zip_bytes(FILES)})
    assert Raw(tmp_path).open(about(**expected))["list.txt"].read_bytes() == b"x"
    assert said in caplog.text


@pytest.mark.parametrize("top", ["images/", "", "of them/images/"])
def test_an_archive_of_a_folder_or_of_what_is_in_it(tmp_path, top):
    what = PublicSet("tiny", "Tiny", "CC0", "1 kB", "x", (Piece("images", (Archive("images.zip"),)),))
    write_files(tmp_path, {"images.zip": zip_bytes({f"{top}{name}/1.jpg": b"x" for name in "ab"})})
    place = Raw(tmp_path).open(what)["images"]
    assert place.name == "images"
    assert names(place) == ["a", "b"]


def test_what_an_archiver_of_a_mac_adds_is_no_data(tmp_path):
    mac = {f"__MACOSX/{name.replace('/1', '/._1')}": b"x" for name in FILES} | {".DS_Store": b"x"}
    write_files(tmp_path, {"set.zip": zip_bytes({"__MACOSX/set/list.txt": b"no"} | mac | FILES)})
    places = Raw(tmp_path).open(about())
    assert places["list.txt"].read_bytes() == b"x"
    assert places["images"].parent.name == "set"


def test_an_archive_that_holds_something_else(tmp_path):
    write_files(tmp_path, {"set.zip": zip_bytes({"other.txt": b"x"})})
    for _ in range(2):
        with pytest.raises(DataError, match=r"set.zip: unpacked in .*set.unpacked, but list.txt is not in"):
            Raw(tmp_path).open(about())


def test_a_zip_in_pieces(tmp_path):
    data = zip_bytes(FILES)
    write_files(
        tmp_path, {f"set.zip.{part + 1:03}": data[part * 100 : (part + 1) * 100] for part in range(20)}
    )
    (tmp_path / "set.zip.002").rename(tmp_path / "aside")
    with pytest.raises(DataError, match=r"of the parts of set\.zip, number 2 is missing"):
        Raw(tmp_path).open(about())
    (tmp_path / "aside").rename(tmp_path / "set.zip.002")
    assert Raw(tmp_path).open(about())["list.txt"].read_bytes() == b"x"


@pytest.mark.skipif(shutil.which("zip") is None, reason="no zip on this machine")
def test_a_zip_across_disks(tmp_path):
    noise = {"set/noise.bin": os.urandom(150_000)}
    (tmp_path / "raw").mkdir()
    write_files(tmp_path, FILES | noise)
    subprocess.run(["zip", "-q", "-r", "-s", "64k", "raw/set.zip", "set"], cwd=tmp_path, check=True)
    assert (tmp_path / "raw" / "set.z02").exists()
    assert Raw(tmp_path / "raw").open(about())["list.txt"].read_bytes() == b"x"


def test_what_is_missing_is_fetched_when_asked(tmp_path, server):
    data = zip_bytes(FILES)
    url = server.gives("/set.zip", answer_ranges(data))
    what = about(url=url, size=len(data))
    with pytest.raises(DataError, match="download=true downloads it"):
        Raw(tmp_path).open(what)
    assert server.log == []
    Raw(tmp_path, download=True, private=True).open(what)
    assert len(server.log) == 1, "one archive, though two pieces are in it"
    assert names(tmp_path) == ["set.unpacked", "set.zip"]
    server.answers.clear()
    Raw(tmp_path, download=True, private=True).open(what)


def test_a_fetched_archive_without_the_piece(tmp_path, server):
    url = server.gives("/other.zip", body(zip_bytes({"other.txt": b"x"})))
    with pytest.raises(DataError, match=r"set\.zip: unpacked in .*, but list\.txt is not in it"):
        Raw(tmp_path, download=True, private=True).open(about(url=url))


def test_missing_parts_are_fetched(tmp_path, server):
    data = zip_bytes(FILES)
    parts = [data[:200], data[200:]]
    archives = tuple(
        Archive(f"set.zip.{number:03}", server.gives(f"/{number}", answer_ranges(part)), len(part))
        for number, part in enumerate(parts, 1)
    )
    what = PublicSet("tiny", "Tiny", "CC0", "1 kB", "x", (Piece("list.txt", archives),))
    write_files(tmp_path, {"set.zip.001": parts[0]})
    with pytest.raises(DataError, match=r"has 2 parts; missing: set\.zip\.002"):
        Raw(tmp_path).open(what)
    assert Raw(tmp_path, download=True, private=True).open(what)["list.txt"].read_bytes() == b"x"


@pytest.fixture
def prepare(tmp_path):
    """`prepare("source=cub", …)` runs the job with raw files in tmp_path / "raw", and reads what it wrote."""

    def run(*arguments, out="out"):
        given = [
            f"out={tmp_path / out}",
            f"raw={tmp_path / 'raw'}",
            "progress=false",
            "workers=0",
            *arguments,
        ]
        main(load("prepare", Config, given))
        return read_table(tmp_path / out)

    return run


def test_the_job_from_archive_to_dataset(tmp_path, prepare):
    write_files(tmp_path / "raw", {"CUB_200_2011.tgz": tar_bytes(cub())})
    table = prepare("source=cub")
    assert table.frame.columns == ["path", "label", "split", "x1", "y1", "x2", "y2", "width", "height"]
    assert table.box(0) == (2, 3, 12, 15)
    assert table.frame["split"].value_counts().sort("split").rows() == [("test", 4), ("train", 4)]
    assert Image.open(table.file(0)).crop(table.box(0)).size == (10, 12)


BOXES = [(-3, 3, 7, 15), (20, 3, 30, 15), (30, 3, 35, 8), (-9, 3, -5, 7)]
"""Of images of 24 × 20 pixels: two that stick out, two that lie outside."""


def boxed_cub():
    boxes = [*BOXES, *[(2, 3, 12, 15)] * 4]
    rows = [(number, x1, y1, x2 - x1, y2 - y1) for number, (x1, y1, x2, y2) in enumerate(boxes, 1)]
    return "bounding_boxes.txt", cub() | {"CUB_200_2011/bounding_boxes.txt": lines(*rows)}


def boxed_cars():
    rows = [
        {
            "relative_im_path": f"car_ims/{place + 1:06}.jpg",
            **dict(zip(("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"), (x1 + 1, y1 + 1, x2, y2), strict=True)),
            "class": 97 + place // 2,
            "test": 0,
        }
        for place, (x1, y1, x2, y2) in enumerate([*BOXES, *[(2, 3, 12, 15)] * 4])
    ]
    annotated = mat(annotations=rows, class_names=CAR_NAMES)
    return "cars_annos.mat", cars() | {"CARS196/cars_annos.mat": annotated}


def boxed_inshop():
    files = inshop()
    name = "Anno/list_bbox_inshop.txt"
    count, header, *rows = files[name].decode().splitlines()
    boxes = [*BOXES, *[(2, 3, 12, 15)] * 2]
    rows = [
        f"{row.split()[0]} 3 1 {x1 + 1} {y1 + 1} {x2} {y2}"
        for row, (x1, y1, x2, y2) in zip(rows, boxes, strict=True)
    ]
    return "list_bbox_inshop.txt", files | {name: lines(count, header, *rows)}


@pytest.mark.parametrize("detect", ["none", "box"])
@pytest.mark.parametrize(
    ("source", "boxed"), [("cub", boxed_cub), ("cars196", boxed_cars), ("inshop", boxed_inshop)]
)
def test_boxes_of_public_sets_outside_of_their_images(tmp_path, prepare, source, boxed, detect, here):
    name, files = boxed()
    write_files(tmp_path / "raw", files)
    table = prepare(f"source={source}", "source.boxes=true", f"detect={detect}")
    assert len(table) == len(BOXES) - 2 + (2 if source == "inshop" else 4)
    assert not [column for column in table.frame.columns if "row" in column or "file" in column]
    if detect == "none":
        assert [table.box(row) for row in range(2)] == [(0, 3, 7, 15), (20, 3, 24, 15)]
    cut = pl.read_csv(tmp_path / "out" / "cut_boxes.csv")
    assert cut["row"].to_list() == [0, 1], "the rows of the file of boxes"
    assert all(reason.endswith(f"clipped at its border ({name})") for reason in cut["reason"])
    left_out = {row: (path, why) for path, row, why in pl.read_csv(tmp_path / "out" / "skipped.csv").rows()}
    assert left_out.keys() == {2, 3}
    assert left_out[2][0].endswith(".jpg")
    assert left_out[2][1].endswith(f", outside the image of 24 × 20 pixels ({name})")
    assert left_out[3][0] == name
    assert left_out[3][1].endswith(": is left of or above the image")


def test_the_job_divides_what_brings_no_split(tmp_path, prepare):
    write_files(tmp_path / "raw", mnist(train=40, test=20))
    table = prepare("source=mnist", "source.official_split=false", "val=0", "test=0.5")
    halves = {
        split: set(table.frame.filter(pl.col("split") == split)["label"]) for split in ("train", "test")
    }
    assert len(halves["train"]) == len(halves["test"]) == 5
    assert not halves["train"] & halves["test"]


def test_the_job_keeps_the_pairs_beside_the_table(tmp_path, prepare, caplog):
    write_files(tmp_path / "raw", lfw())
    table = prepare("source=lfw")
    pairs = pl.read_csv(tmp_path / "out" / "pairs.csv")
    assert pairs["same"].to_list() == [True, False, True, False]
    assert [pair.fold for pair in read_pairs(tmp_path / "out" / "pairs.csv")] == [0, 0, 1, 1]
    assert set(pairs["path_a"]) | set(pairs["path_b"]) <= set(table.frame["path"])
    assert all((tmp_path / "out" / path).is_file() for path in pairs["path_b"])
    lost = tmp_path / "raw" / "lfw.unpacked" / "lfw" / "Zach_Safrin" / "Zach_Safrin_0001.jpg"
    lost.write_bytes(b"no image")
    prepare("source=lfw", out="again")
    assert len(pl.read_csv(tmp_path / "again" / "pairs.csv")) == 3
    assert "1 pair left out: an image is missing" in caplog.text


def test_the_job_with_roles(tmp_path, prepare):
    write_files(tmp_path / "raw", inshop())
    table = prepare("source=inshop")
    assert table.frame["role"].to_list() == ["both"] * 3 + ["query", "gallery", "gallery"]


def test_the_job_downloads(tmp_path, prepare, server, monkeypatch):
    files = mnist(train=20, test=10)
    pieces = tuple(
        Piece(name, (Archive(name, server.gives(f"/{name}", answer_ranges(data))),))
        for name, data in files.items()
    )
    monkeypatch.setattr(module, "SET", replace(module.SET, pieces=pieces))
    assert len(prepare("source=mnist", "download=true", "private=true")) == 30
    server.gives("/t10k-labels-idx1-ubyte.gz", status(404))
    (tmp_path / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="404"):
        prepare("source=mnist", "download=true", "private=true", out="other")
    assert not (tmp_path / "other").exists()


def test_the_job_from_addresses(tmp_path, prepare, server):
    rows = [
        (server.gives(f"/{number}.jpg", body(picture(number))), f"cat {number % 3}") for number in range(9)
    ]
    pl.DataFrame(rows, schema=["url", "label"], orient="row").write_csv(tmp_path / "list.csv")
    given = ["source=urls", f"source.list={tmp_path / 'list.csv'}"]
    with pytest.raises(DataError, match=r"127\.0\.0\.1 is not a public address"):
        prepare(*given)
    table = prepare(*given, "private=true")
    assert len(table) == 9
    assert {"url", "label", "split"} <= set(table.frame.columns)


def test_keys_that_a_source_has_no_use_for(tmp_path, prepare):
    with pytest.raises(ConfigError, match="this source has none"):
        prepare("source=folder", f"source.root={tmp_path}")
    given = [f"out={tmp_path / 'out'}", "download=true", "source=folder", f"source.root={tmp_path}"]
    with pytest.raises(ConfigError, match="download=true: only public sets"):
        main(load("prepare", Config, given))


def test_every_public_set_says_licence_size_and_what_to_do():
    for name, file in choices("source").items():
        text = file.read_text(encoding="utf-8")
        if "???" in text:  # of the user's own files
            continue
        first, second = text.splitlines()[:2]
        assert first == f"# {summary(file)}"
        assert second.startswith("# licence: "), name
        assert f"raw/{name}/" in second or f"raw/{name}" in second, name
        assert re.search("[MG]B|size not published", second.split(";")[1]), "its size"
        assert ("download=true" in second) or ("no download" in second) or ("login" in second), name
    assert (CONF / "source" / "cub.yaml").exists()


def test_an_idx_file_of_other_dimensions_is_refused(tmp_path):
    files = mnist() | {"train-images-idx3-ubyte.gz": idx(np.zeros((3, 4)))}
    with pytest.raises(DataError, match="not an idx file of images"):
        module.table(Raw(write_files(tmp_path, {"x/" + name: data for name, data in files.items()})))
