"""What is left out of a folder, and identical images: counted, listed, with what to do."""

import csv
import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lookalike.cli.prepare import Config, main
from lookalike.config import load
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.prepare.dataset import refuse_unusable
from lookalike.prepare.folder import table
from lookalike.prepare.identical import identical, warn_of_identical

PHOTO = Path(__file__).parents[1] / "data" / "heic_photos"


def picture(file, seed):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 9, 3), np.uint8)).save(file)


def prepare(root, out):
    keys = ["source=folder", f"source.root={root}", f"out={out}", "progress=false", "workers=0"]
    main(load("prepare", Config, keys))


def test_photos_of_iphones_are_read(tmp_path):
    for place, name in enumerate(("tom/IMG_1.HEIC", "tom/IMG_2.heic", "mia/a.HEIF", "mia/b.hif")):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((PHOTO / f"orientation{place + 3}.heic").read_bytes())
    prepare(tmp_path / "photos", tmp_path / "out")
    frame = pl.read_parquet(tmp_path / "out" / "table.parquet")
    assert set(frame.select("width", "height").rows()) == {(64, 48)}
    assert sorted(frame["label"].unique()) == ["mia", "tom"]


OTHERS = {  # name, content, what its reason holds; nothing for files that nobody would miss
    "a.CR2": (b"II*\0", "convert it to JPEG"),
    "a.nef": (b"MM\0*", "convert it to JPEG"),
    "a.jxl": (b"\xff\x0a", "JPEG XL"),
    "a.psd": (b"8BPS", "convert it to JPEG"),
    "photos.zip": (b"PK\3\4", "unpack it"),
    "noending": (b"\xff\xd8\xff\xe0", "rename it"),
    "backup.jpg_original": (b"\xff\xd8\xff\xe0", "JPEG by its content"),
    "film.mp4": (b"\0\0\0\x14ftypisom", ""),
    "thumbnails.db": (b"SQLite", ""),
    "paper.pdf": (b"%PDF-1.4", ""),
}


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_other_kinds_are_listed_with_what_to_do(tmp_path, name):
    data, said = OTHERS[name]
    for label in ("a", "b"):
        picture(tmp_path / label / "1.png", 1)
    (tmp_path / "a" / name).write_bytes(data)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / name).write_bytes(data)
    found, problems = table(tmp_path)
    reasons = {one.path: one.reason for one in problems}
    assert len(found) == 2
    assert said in reasons[f"a/{name}"]
    assert (reasons[f"a/{name}"] == "not an image") == (not said)
    assert "a class folder without images that can be read, only 1 other file" in reasons["only/"]
    refuse_unusable(found, problems, 0, "here")  # no image was lost


def test_an_image_that_cannot_be_read_counts_as_lost():
    frame = pl.DataFrame({"path": ["a/1.png", "b/1.png"], "label": ["a", "b"]})
    with pytest.raises(DataError, match="1 of 3 images cannot be used"):
        refuse_unusable(Table(frame, Path()), [Problem("a/2.png", "damaged")], 0, "here")


def test_all_that_is_left_out_is_in_one_list_and_only_images_are_warned_of(tmp_path, caplog):
    for label in "abc":
        for number in range(3):
            picture(tmp_path / "photos" / label / f"{number}.png", 10 * ord(label) + number)
    (tmp_path / "photos" / "a" / "film.mp4").write_bytes(b"\0\0\0\x14ftypisom")
    (tmp_path / "photos" / "a" / "film.jpg").write_bytes(b"\0\0\0\x14ftypisom")
    (tmp_path / "photos" / "a" / "raw.dng").write_bytes(b"II*\0")
    prepare(tmp_path / "photos", tmp_path / "out")
    assert "2 left out" in caplog.text
    assert "it is a video" in caplog.text
    with (tmp_path / "out" / "skipped.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3


def rows(tmp_path, *given):
    """A table of (file, content seed, label, split)."""
    for name, seed, *_ in given:
        picture(tmp_path / name, seed)
    names = ("path", "seed", "label", "split")
    return Table(pl.DataFrame(list(given), schema=list(names), orient="row").drop("seed"), tmp_path)


def test_cats_that_were_entered_twice_are_said(tmp_path, caplog):
    found = rows(
        tmp_path,
        *[
            ("tom/1.png", 1, "tom", "train"),
            ("felix/9.png", 1, "felix", "train"),
            ("tom/2.png", 2, "tom", "test"),
        ],
        *[
            ("mia/1.png", 3, "mia", "train"),
            ("mia/2.png", 3, "mia", "test"),
            ("mia/3.png", 4, "mia", "train"),
        ],
    )
    assert identical(found) == [[0, 1], [3, 4]]
    warn_of_identical(found, Path("data/mine"))
    assert "2 images are copies" in caplog.text
    assert "1 image occurs under different labels and 1 image occurs in several splits" in caplog.text
    assert "tom/1.png (tom, train) = felix/9.png (felix, train)" in caplog.text
    assert "stats dataset=data/mine duplicates=true" in caplog.text


def test_copies_in_one_class_and_split_are_no_warning(tmp_path, caplog):
    found = rows(
        tmp_path, ("a/1.png", 1, "a", "train"), ("a/2.png", 1, "a", "train"), ("b/1.png", 2, "b", "train")
    )
    with caplog.at_level(logging.INFO, "lookalike"):
        warn_of_identical(found, Path("out"))
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "1 image is a copy" in caplog.text


def test_several_boxes_of_one_photo_are_no_copies(tmp_path):
    found = rows(tmp_path, ("a.png", 1, "a", "train"), ("b.png", 1, "b", "train"))
    twice = pl.concat([found.frame, found.frame[:1]])
    boxes = [pl.Series(name, values) for name, values in
             {"x1": [0, 1, 3], "y1": [0, 1, 3], "x2": [5, 6, 7], "y2": [5, 6, 7]}.items()]  # fmt: skip
    assert identical(Table(twice.with_columns(boxes), tmp_path)) == []
    same = [pl.Series(name, [value] * 3) for name, value in {"x1": 0, "y1": 0, "x2": 5, "y2": 5}.items()]
    assert identical(Table(twice.with_columns(same), tmp_path)) == [[0, 1, 2]]
