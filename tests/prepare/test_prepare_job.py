import logging
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import polars as pl
import pytest
import yaml
from PIL import Image

from lookalike.cli.prepare import Config, main
from lookalike.config import load
from lookalike.data.table import read_table
from lookalike.errors import ConfigError, DataError, LookalikeError


@pytest.fixture
def prepare(tmp_path):
    """`prepare("source.root=…", …)` runs the job in this process and reads what it wrote."""

    def run(*arguments):
        out = tmp_path / "data" / "mine"
        main(load("prepare", Config, [f"out={out}", "progress=false", "workers=0", *arguments]))
        return read_table(out)

    return run


@pytest.fixture
def photos(shapes, tmp_path):
    return shapes(tmp_path / "photos", classes=8, per_class=4, size=24)


def png(width, height, data=b""):
    """A PNG whose header claims a size."""

    def part(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", data) + part(b"IEND", b"")


def classes_by_split(table):
    return {
        name: set(table.frame.filter(pl.col("split") == name)["label"]) for name in ("train", "val", "test")
    }


def test_folders_to_a_dataset(photos, prepare, tmp_path):
    table = prepare(f"source.root={photos}", "seed=3")
    assert table.frame.columns == ["path", "label", "split", "width", "height"]
    assert len(table) == 32
    assert all(table.file(row).is_file() for row in range(32))
    by_split = classes_by_split(table)
    assert [len(by_split[name]) for name in ("train", "val", "test")] == [4, 2, 2]
    assert sum(map(len, by_split.values())) == 8
    assert set(table.frame["width"]) == {24}
    about = yaml.safe_load((tmp_path / "data" / "mine" / "config.yaml").read_text())
    assert about["source"]["root"] == str(photos)
    assert about["seed"] == 3
    assert sorted(file.name for file in (tmp_path / "data" / "mine").iterdir()) == [
        "config.yaml",
        "table.parquet",
    ]


def test_bad_files_are_listed_and_left_out(photos, prepare, tmp_path, caplog):
    good = (photos / "red triangle" / "0.png").read_bytes()
    Image.new("RGB", (40, 40), "red").save(photos / "red triangle" / "cut.jpg", quality=95)
    whole = (photos / "red triangle" / "cut.jpg").read_bytes()
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 255
    bad = {
        "cut.jpg": (whole[: len(whole) // 2], "truncated"),
        "empty.png": (b"", "0 bytes"),
        "letter.jpg": (b"Dear Sir or Madam, this is no picture.", "not a readable image"),
        "damaged.png": (bytes(damaged), "damaged"),
        "bomb.png": (png(50_000, 50_000, zlib.compress(bytes(1000))), "too large"),
    }
    for name, (content, _) in bad.items():
        (photos / "red triangle" / name).write_bytes(content)
    (photos / "lost.jpg").write_bytes(good)
    Image.new("RGB", (1, 1)).save(photos / "red triangle" / "dot.png")
    table = prepare(f"source.root={photos}")
    assert len(table) == 33, "a picture of one pixel is a picture"
    listed = pl.read_csv(tmp_path / "data" / "mine" / "skipped.csv")
    reasons = dict(listed.select("path", "reason").rows())
    assert len(reasons) == len(bad) + 1
    for name, (_, reason) in bad.items():
        assert reason in reasons[f"red triangle/{name}"]
    assert "6 left out" in caplog.text
    assert "letter.jpg: not a readable image" in caplog.text


def test_headers_only(photos, prepare):
    whole = (photos / "red triangle" / "0.png").read_bytes()
    (photos / "red triangle" / "0.png").write_bytes(whole[:-30])
    (photos / "red triangle" / "1.png").write_bytes(b"")
    assert len(prepare(f"source.root={photos}", "check=false")) == 31


def test_too_much_is_bad(photos, prepare, tmp_path):
    for file in sorted(photos.rglob("*.png"))[:20]:
        file.write_bytes(b"")
    (photos / "empty").mkdir()
    with pytest.raises(DataError, match=r"20 of 32 images cannot be used, more than max_skipped=0\.5 allows"):
        prepare(f"source.root={photos}")
    assert not (tmp_path / "data").exists()
    assert len(prepare(f"source.root={photos}", "max_skipped=0.7")) == 12


def test_one_class_is_left(photos, prepare):
    for file in photos.rglob("*.png"):
        if file.parent.name != "red triangle":
            file.write_bytes(b"")
    with pytest.raises(DataError, match=r"one class, 'red triangle' .4 images., is the only usable one"):
        prepare(f"source.root={photos}", "max_skipped=1")


def test_every_class_has_one_image(shapes, tmp_path, prepare):
    photos = shapes(tmp_path / "photos", classes=6, per_class=1)
    with pytest.raises(DataError, match="each of the 6 classes has a single image"):
        prepare(f"source.root={photos}")


def test_a_class_with_one_image_is_trained_on_only(photos, prepare, caplog):
    for file in sorted((photos / "red triangle").iterdir())[1:]:
        file.unlink()
    with caplog.at_level(logging.INFO, "lookalike"):
        by_split = classes_by_split(prepare(f"source.root={photos}", "test=0.6"))
    assert "red triangle" in by_split["train"]
    assert "1 class has a single image" in caplog.text


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="POSIX only")
def test_ctrl_c_leaves_nothing(tmp_path):
    photos, large = tmp_path / "photos", tmp_path / "large.png"
    Image.effect_noise((600, 600), 50).convert("RGB").save(large, compress_level=1)
    for name in ("a", "b"):
        (photos / name).mkdir(parents=True)
        for number in range(800):
            (photos / name / f"{number}.png").hardlink_to(large)
    (photos / "notes.txt").touch()
    command = [
        sys.executable,
        "-m",
        "lookalike",
        "prepare",
        f"source.root={photos}",
        "out=data/mine",
        "workers=2",
    ]
    job = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert "ignored 1 file" in job.stderr.readline()
    time.sleep(1)
    assert job.poll() is None, "it ended before it could be stopped"
    os.killpg(job.pid, signal.SIGINT)
    _, errors = job.communicate(timeout=900)
    assert job.returncode == 1
    assert "Ctrl-C" in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob("data/*"))


def test_images_divided(shapes, tmp_path, prepare):
    photos = shapes(tmp_path / "photos", classes=2, per_class=20)
    by_split = classes_by_split(prepare(f"source.root={photos}", "split=images"))
    assert by_split["train"] == by_split["val"] == by_split["test"] == {"red triangle", "green square"}


def test_a_split_that_the_data_brings_is_kept(photos, prepare, tmp_path, caplog):
    (tmp_path / "sorted").mkdir()
    for number, folder in enumerate(sorted(photos.iterdir())):
        place = tmp_path / "sorted" / ("train" if number < 5 else "test")
        place.mkdir(exist_ok=True)
        folder.rename(place / folder.name)
    with caplog.at_level(logging.INFO, "lookalike"):
        by_split = classes_by_split(prepare(f"source.root={tmp_path / 'sorted'}"))
    assert [len(by_split[name]) for name in ("train", "val", "test")] == [5, 0, 3]
    assert "kept" in caplog.text


def test_identities_on_both_sides_are_said(photos, prepare, tmp_path, caplog):
    names = [str(file.relative_to(photos)) for file in sorted(photos.rglob("*.png"))]
    rows = [
        (name, Path(name).parent.name, "test" if number % 4 else "train") for number, name in enumerate(names)
    ]
    pl.DataFrame(rows, schema=["path", "label", "split"], orient="row").write_csv(photos / "mine.csv")
    prepare("source=table", f"source.file={photos / 'mine.csv'}")
    assert "8 of the 8 identities of test are also in train" in caplog.text


def test_boxes_end_at_the_border(photos, prepare, tmp_path, caplog):
    rows = [
        ("red triangle/0.png", "a", "0 0 24 24"),
        ("red triangle/0.png", "b", "2.5 3 30 40"),
        ("red triangle/1.png", "a", ""),
        ("red triangle/2.png", "b", "24 0 30 10"),
    ]
    file = photos / "dataset_info.csv"
    pl.DataFrame(rows, schema=["file_name", "label", "bbox"], orient="row").write_csv(file)
    with caplog.at_level(logging.INFO, "lookalike"):
        table = prepare("source=table", f"source.file={file}")
    assert [table.box(row) for row in range(len(table))] == [(0, 0, 24, 24), (2, 3, 24, 24), None]
    cut = "box 2.5 3.0 30.0 40.0 of an image of 24 × 24 pixels: clipped at its border"
    assert f"boxes that extend beyond their images:\n  red triangle/0.png, row 1: {cut}" in caplog.text
    assert pl.read_csv(tmp_path / "data" / "mine" / "cut_boxes.csv").rows() == [
        ("red triangle/0.png", 1, cut)
    ]
    listed = pl.read_csv(tmp_path / "data" / "mine" / "skipped.csv")
    assert listed.rows() == [
        ("red triangle/2.png", 3, "box starts at 24.0 0.0, outside the image of 24 × 24 pixels")
    ]


def test_boxes_lie_on_the_upright_picture(prepare, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (40, 20), "blue").save(tmp_path / name, exif=exif)
    rows = [("a.jpg", "1", 0, 0, 20, 40), ("b.jpg", "1", 0, 0, 20, 40), ("a.jpg", "2", 0, 0, 9, 9)]
    pl.DataFrame(rows, schema=["path", "label", "x1", "y1", "x2", "y2"], orient="row").write_csv(
        tmp_path / "t.csv"
    )
    table = prepare("source=table", f"source.file={tmp_path / 't.csv'}")
    assert table.frame.select("width", "height").rows() == [(20, 40)] * 3
    assert table.box(0) == (0, 0, 20, 40)


def test_what_exists_is_refused_before_any_work(photos, prepare, tmp_path):
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "mine" / "precious").touch()
    with pytest.raises(LookalikeError, match="exists"):
        prepare("source.root=nowhere")
    assert [file.name for file in (tmp_path / "data" / "mine").iterdir()] == ["precious"]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("val=1.5", "val=1.5: must be at most 1"),
        ("test=0.95", "add up to more than 1"),
        ("split=class", "no such split. Did you mean classes or class_size"),
        ("source.names=join", "one of refuse, merge, keep"),
        ("source.level=0", "at least 1"),
        ("source.rooot=x", "root"),
        ("source=folders", "Did you mean folder"),
    ],
)
def test_wrong_keys(prepare, argument, said):
    with pytest.raises(ConfigError, match=said):
        prepare("source.root=photos", argument)


def test_from_the_command_line(photos, tmp_path):
    (photos / "red triangle" / "zero.jpg").touch()
    command = [
        sys.executable,
        "-m",
        "lookalike",
        "prepare",
        f"source.root={photos}",
        "out=data/mine",
        "workers=2",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "data/mine"
    assert "red triangle/zero.jpg: the file is empty (0 bytes)" in done.stdout + done.stderr
    assert len(read_table(tmp_path / "data" / "mine")) == 32
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "exists" in again.stderr
    assert "Traceback" not in again.stderr
