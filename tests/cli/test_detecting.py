"""`prepare detect=…` from photos to a dataset of crops, with a detector of the user's own."""

import json
import logging
import math
import sys

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from lookalike.cli.main import main as command
from lookalike.cli.prepare import Config, main
from lookalike.config import load
from lookalike.data.table import Table, read_table
from lookalike.detect.crop_table import CropResult
from lookalike.errors import ConfigError, DataError, LookalikeError

DETECTOR = '''
import os
import numpy as np
from lookalike.detect import Detection

class Dots:
    """Faces whose eyes are a red dot and a blue one; brightness is the number of the pair."""

    def __init__(self, landmarks: bool = True):
        self.landmarks = landmarks

    def __call__(self, image):
        if (image[0, 0] == (1, 2, 3)).all():
            raise RuntimeError("what a picture")
        if (image[0, 0] == (3, 2, 1)).all():
            os._exit(1)
        found = []
        for level in (250, 200):
            eyes = []
            for channel in (0, 2):
                rest = image[:, :, [i for i in range(3) if i != channel]].max(axis=2)
                y, x = np.nonzero((abs(image[:, :, channel].astype(int) - level) < 9) & (rest < 9))
                if len(x):
                    eyes.append((x.mean() + 0.5, y.mean() + 0.5))
            if len(eyes) == 2:
                (x, y), far = np.mean(eyes, axis=0), np.linalg.norm(np.subtract(*eyes))
                box = (x - far, y - far, x + far, y + far)
                found.append(Detection(box, level / 255, np.array(eyes) if self.landmarks else None))
        return found

class Never:
    def __call__(self, image):
        return []
'''
GREY = (90, 90, 90)
DETECT = ["detect=face", "detect.detector={_target_: own_detector.Dots}", "detect.format=png"]


@pytest.fixture(autouse=True)
def own_detector(tmp_path, monkeypatch):
    (tmp_path / "own_detector.py").write_text(DETECTOR)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("own_detector", None)


def face(pairs, size=(120, 90), corner=GREY):
    """A grey picture with pairs of eyes: centre, distance, degrees and brightness of each."""
    pixels = np.full((size[1], size[0], 3), GREY, np.uint8)
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    for (cx, cy), far, degrees, level in pairs:
        across, down = (far / 2 * turn(math.radians(degrees)) for turn in (math.cos, math.sin))
        for sign, channel in ((-1, 0), (1, 2)):
            dot = (x - cx - sign * across) ** 2 + (y - cy - sign * down) ** 2 <= 3.2**2
            pixels[dot] = [level if i == channel else 0 for i in range(3)]
    pixels[0, 0] = corner
    return Image.fromarray(pixels)


@pytest.fixture
def photos(tmp_path):
    """Two classes of three faces, each turned otherwise; one shows two faces, and one none."""
    root = tmp_path / "photos"
    for number, name in enumerate(["ann", "bob"]):
        (root / name).mkdir(parents=True)
        for picture in range(3):
            eyes = [((50 + 5 * picture, 40), 24 + 2 * picture, 30 * picture - 40 * number, 250)]
            if (number, picture) == (0, 2):
                eyes = [((25, 50), 20, 10, 200), ((70, 40), 30, 10, 250)]
            face(eyes).save(root / name / f"{picture}.png")
    face([]).save(root / "bob" / "nobody.png")
    return root


@pytest.fixture
def prepare(tmp_path):
    def run(*arguments, out="mine", workers=0):
        folder = tmp_path / "data" / out
        common = [f"out={folder}", "progress=false", f"workers={workers}"]
        main(load("prepare", Config, [*common, *arguments]))
        return read_table(folder)

    return run


def eyes_of(file):
    """Where the red and the blue dot are, in pixels."""
    pixels = np.asarray(Image.open(file).convert("RGB"), np.float64)
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + 0.5
    found = []
    for channel in (0, 2):
        others = pixels[:, :, [i for i in range(3) if i != channel]].max(axis=2)
        weight = np.where((pixels[:, :, channel] > 225) & (others < 80), 1.0, 0.0)
        found.append((float((weight * x).sum() / weight.sum()), float((weight * y).sum() / weight.sum())))
    return found


def test_faces_are_aligned_and_nothing_is_lost(photos, prepare, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "lookalike"):
        table = prepare(f"source.root={photos}", *DETECT, "detect.size=120")
    assert table.frame.columns == [
        *("path", "label", "split", "width", "height"),
        *("original", "original_box", "found", "found_box", "found_landmarks", "found_score"),
    ]
    assert len(table) == 6
    for row in range(6):
        image = Image.open(table.file(row))
        assert image.size == (120, 120)
        np.testing.assert_allclose(eyes_of(table.file(row)), [[42, 48], [78, 48]], atol=0.5)
        assert (table.folder / table.frame["original"][row]).resolve().parent.parent == photos.resolve()
    assert sorted(table.frame["found"]) == [1, 1, 1, 1, 1, 2]
    (two,) = table.frame.filter(pl.col("found") == 2).iter_rows(named=True)
    assert (two["label"], two["original_box"]) == ("ann", None)
    box = [float(number) for number in two["found_box"].split()]
    assert box == pytest.approx([40, 10, 100, 70], abs=1), "the larger one, in pixels of the original"
    assert len(two["found_landmarks"].split()) == 4
    assert two["found_score"] == pytest.approx(250 / 255)
    skipped = pl.read_csv(tmp_path / "data" / "mine" / "skipped.csv").rows()
    assert skipped == [("bob/nobody.png", None, "nothing was detected in it")]
    assert "several in 1 (the largest is used), none in 1 (left out)" in caplog.text
    about = yaml.safe_load((tmp_path / "data" / "mine" / "config.yaml").read_text())
    assert about["detect"]["detector"]["_target_"] == "own_detector.Dots"
    assert sorted(file.name for file in (tmp_path / "data").iterdir()) == ["mine"]


def test_all_of_several_and_whole_ones(photos, prepare, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "lookalike"):
        table = prepare(f"source.root={photos}", *DETECT, "detect.which=all", "detect.missing=keep")
    assert len(table) == 8
    assert len(set(table.frame["path"])) == 8
    whole = table.frame.filter(pl.col("found") == 0)
    assert whole["found_box"].to_list() == [None]
    assert Image.open(table.folder / whole["path"][0]).size == (240, 240)
    kept = pl.read_csv(tmp_path / "data" / "mine" / "kept_whole.csv").rows()
    assert kept == [("bob/nobody.png", None, "nothing was detected in it")]
    assert "detection, kept whole:\n  bob/nobody.png" in caplog.text


def test_a_box_says_where_to_look(photos, prepare, tmp_path):
    rows = [
        ("ann/2.png", "left", 0, 20, 45, 90),
        ("ann/2.png", "right", 45, 0, 120, 90),
        ("bob/0.png", "left"),
    ]
    rows[2] += (None,) * 4
    names = ["path", "label", "x1", "y1", "x2", "y2"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(photos / "t.csv")
    table = prepare("source=table", f"source.file={photos / 't.csv'}", *DETECT)
    boxes = dict(
        table.frame.select("label", "original_box").filter(pl.col("original_box").is_not_null()).rows()
    )
    assert boxes == {"left": "0 20 45 90", "right": "45 0 120 90"}
    levels = table.frame.filter(pl.col("original_box").is_not_null()).sort("label")["found_score"]
    assert levels.to_list() == pytest.approx([200 / 255, 250 / 255])


def test_crops_to_boxes(photos, prepare):
    rows = [
        ("ann/0.png", "a", 30, 30, 70, 50),
        ("ann/1.png", "a", 0, 0, 200, 90),
        ("bob/0.png", "b", 0, 0, 9, 9),
    ]
    names = ["path", "label", "x1", "y1", "x2", "y2"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(photos / "t.csv")
    source = ["source=table", f"source.file={photos / 't.csv'}"]
    table = prepare(*source, "detect=box", "detect.size=40", "detect.format=png")
    assert table.frame.select("width", "original_box").rows() == [
        (40, "30 30 70 50"),
        (40, "0 0 200 90"),
        (40, "0 0 9 9"),
    ]
    crop, original = np.asarray(Image.open(table.file(0))), Image.open(photos / "ann/0.png")
    np.testing.assert_array_equal(crop, np.asarray(original.crop((30, 20, 70, 60))))
    with pytest.raises(DataError, match="detect=box needs boxes, and this source has none"):
        prepare(f"source.root={photos}", "detect=box", out="other")


def test_upright_before_anything_is_looked_for(prepare, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(2):
            turned = face([((50, 40), 30, 0, 250)]).transpose(Image.Transpose.ROTATE_90)
            turned.save(tmp_path / "photos" / name / f"{number}.png", exif=exif)
    table = prepare(f"source.root={tmp_path / 'photos'}", *DETECT)
    points = [float(number) for number in table.frame["found_landmarks"][0].split()]
    assert points == pytest.approx([35, 40, 65, 40], abs=0.5)


def test_without_landmarks_squares(photos, prepare):
    own = "detect.detector={_target_: own_detector.Dots, landmarks: false}"
    table = prepare(f"source.root={photos}", "detect=face", own, "detect.margin=0")
    assert table.frame["path"].str.ends_with(".jpg").all()
    image = Image.open(table.file(0))
    assert (image.format, image.size) == ("JPEG", (240, 240))
    assert eyes_of(table.file(0))[0][0] == pytest.approx(60, abs=2), "a quarter of a box twice as wide"


def test_a_detector_that_fails_or_kills_costs_one_picture(photos, prepare, tmp_path, monkeypatch):
    monkeypatch.setattr("lookalike.detect.crop_table.AT_ONCE", 1)
    for name in ("ann/2.png", "bob/1.png", "bob/2.png", "bob/nobody.png"):
        (photos / name).unlink()
    face([((50, 40), 30, 0, 250)], corner=(1, 2, 3)).save(photos / "ann" / "failing.png")
    face([((50, 40), 30, 0, 250)], corner=(3, 2, 1)).save(photos / "ann" / "deadly.png")
    table = prepare(f"source.root={photos}", *DETECT, "max_skipped=0.9", workers=1)
    assert len(table) == 3
    reasons = dict(pl.read_csv(tmp_path / "data" / "mine" / "skipped.csv").select("path", "reason").rows())
    assert reasons["ann/failing.png"] == "the detector failed: RuntimeError: what a picture"
    assert "crashed the worker process" in reasons["ann/deadly.png"]
    assert len(reasons) == 2


def test_after_a_cut_it_goes_on(photos, prepare, tmp_path, monkeypatch, caplog):
    from lookalike.detect import work

    many, written = work.open_image, []

    def interrupt_decoding(file):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(file.name)
        return many(file)

    monkeypatch.setattr(work, "open_image", interrupt_decoding)
    with pytest.raises(KeyboardInterrupt):
        prepare(f"source.root={photos}", *DETECT)
    left = tmp_path / "data" / ".mine.crops"
    assert len((left / "done.jsonl").read_text().splitlines()) == 4
    with (left / "done.jsonl").open("a") as file:
        file.write('{"name": "cut of')
    (photos / "ann" / "1.png").touch()
    again = []
    monkeypatch.setattr(work, "open_image", lambda file: (again.append(file.name), many(file))[1])
    with caplog.at_level(logging.INFO, "lookalike"):
        table = prepare(f"source.root={photos}", *DETECT)
    assert "resuming after 4 finished images" in caplog.text
    assert len(again) == 4, "one that has changed since, and three that are new"
    assert len(table) == 6
    assert (
        table.frame["path"].to_list()
        == prepare(f"source.root={photos}", *DETECT, out="b").frame["path"].to_list()
    )
    assert not left.exists()


def test_a_failure_before_the_first_crop_leaves_nothing(photos, prepare, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lookalike.detect.work.replace_file", full)
    with pytest.raises(OSError, match="No space"):
        prepare(f"source.root={photos}", *DETECT)
    assert not list((tmp_path / "data").iterdir())


def test_pairs_of_images_become_pairs_of_crops(tmp_path):
    made = CropResult(
        Table(pl.DataFrame(), tmp_path), [], [], [], tmp_path, {"a.jpg": "images/a-1.jpg", "b.jpg": "b"}
    )
    pairs = pl.DataFrame({"path_a": ["a.jpg", "c.jpg"], "path_b": ["b.jpg", "a.jpg"], "same": [True, False]})
    assert made.pairs(pairs).rows() == [("images/a-1.jpg", "b", True), (None, "images/a-1.jpg", False)]


def test_unreadable_images_and_boxes_outside_are_listed(photos, prepare, tmp_path):
    (photos / "ann" / "empty.png").touch()
    rows = [(f"ann/{n}.png", "a", 0, 0, 100, 90) for n in range(3)] + [("bob/0.png", "b", 500, 0, 510, 9)]
    rows += [("ann/empty.png", "a", 0, 0, 5, 5), ("bob/1.png", "b", 0, 0, 100, 90)]
    names = ["path", "label", "x1", "y1", "x2", "y2"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(photos / "t.csv")
    table = prepare("source=table", f"source.file={photos / 't.csv'}", *DETECT)
    assert len(table) == 4
    reasons = dict(pl.read_csv(tmp_path / "data" / "mine" / "skipped.csv").select("path", "reason").rows())
    assert reasons == {
        "bob/0.png": "box starts at 500 0, outside the image of 120 × 90 pixels",
        "ann/empty.png": "the file is empty (0 bytes)",
    }


def test_other_settings_begin_anew(photos, prepare, tmp_path, caplog):
    with pytest.raises(DataError, match="7 of 7 images cannot be used"):
        prepare(
            f"source.root={photos}", *DETECT, "detect.detector._target_=own_detector.Never", "max_skipped=1"
        )
    left = tmp_path / "data" / ".mine.crops"
    assert len((left / "done.jsonl").read_text().splitlines()) == 7
    assert json.loads((left / "settings.json").read_text())["detect"]["size"] == 240
    assert len(prepare(f"source.root={photos}", *DETECT, "detect.size=64")) == 6
    assert "with other settings are deleted" in caplog.text


def test_crops_of_which_too_little_can_be_used_are_kept_for_another_command(
    photos, prepare, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    with pytest.raises(DataError, match="1 of 7 images cannot be used") as refused:
        prepare(f"source.root={photos}", *DETECT, "max_skipped=0")
    assert "nobody.png" in str(refused.value) and "nobody.png" not in caplog.text, "listed once"
    left = tmp_path / "data" / ".mine.crops"
    assert f"{left} keeps the crops for a command with the same detect=" in caplog.text
    assert "goes on from there" not in caplog.text
    assert len(prepare(f"source.root={photos}", *DETECT)) == 6 and not left.exists()


def test_one_process_at_a_time(photos, prepare, tmp_path):
    from lookalike.detect.journal import journal

    with (
        journal(tmp_path / "data" / ".mine.crops", {}),
        pytest.raises(LookalikeError, match=r"process \d+ on .* is writing crops into"),
    ):
        prepare(f"source.root={photos}", *DETECT)


def test_crops_of_crops_are_refused(photos, prepare):
    table = prepare(f"source.root={photos}", *DETECT)
    file = table.folder / "table.parquet"
    with pytest.raises(DataError, match=r"source\.path=original"):
        prepare("source=table", f"source.file={file}", *DETECT, out="again")
    again = prepare("source=table", f"source.file={file}", "source.path=original", *DETECT, out="again")
    same = table.frame.drop("path", "original")
    assert again.frame.select(same.columns).equals(same)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["detect=faces"], "Did you mean face"),
        (["detect=face", "detect.size=0"], "at least 1"),
        (["detect=face", "detect.which=first"], "one of largest, central, all"),
        (["detect=face", "detect.detector={_target_: nowhere.Thing}"], "cannot be imported"),
        ([*DETECT, "detect.eyes=[0.6,0.4]"], "left eye"),
        (["detect.size=112"], "size"),
    ],
)
def test_wrong_settings_are_found_before_any_work(photos, prepare, tmp_path, arguments, said):
    with pytest.raises(ConfigError, match=said):
        prepare(f"source.root={photos}", *arguments)
    assert not (tmp_path / "data").exists()


def test_help_tells_of_it(capsys):
    assert command(["prepare", "--help"]) == 0
    assert "human faces" in capsys.readouterr().out.lower()
    assert command(["prepare", "detect=dog", "--help"]) == 0
    assert "No package contains the weights" in " ".join(capsys.readouterr().out.split())
