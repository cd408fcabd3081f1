import sys
import types

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lookalike.cli.main import main
from lookalike.plots.drawing import font
from lookalike.plots.preview import MARGIN, preview, sample_per_class


@pytest.fixture
def dataset(tmp_path, shapes_folder):
    files = sorted(shapes_folder.glob("*/[01].png"))
    rows = {"path": [str(file) for file in files], "label": [file.parent.name for file in files]}
    (tmp_path / "mine").mkdir()
    pl.DataFrame(rows).with_columns(split=pl.lit("train")).write_csv(tmp_path / "mine" / "table.csv")
    return tmp_path / "mine"


def test_a_user_sees_images_of_several_classes_changed_several_times(dataset, tmp_path, capsys):
    out = tmp_path / "shown" / "preview.png"
    words = [f"dataset={dataset}", f"out={out}", "augment=strong", "images=5", "draws=6", "image_size=32"]
    assert main(["preview", *words]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    with Image.open(out) as image:
        first = np.asarray(image)
    assert main(["preview", *words]) == 0
    with Image.open(out) as image:
        assert (np.asarray(image) == first).all(), "the same seed, the same picture"
    assert main(["preview", *words, "seed=1"]) == 0
    with Image.open(out) as image:
        assert np.asarray(image).shape == first.shape
        assert (np.asarray(image) != first).any()


@pytest.mark.parametrize("name", ["pv.txt", "pv.jpg", "pv"])
def test_another_ending_than_that_of_a_png_is_refused(dataset, tmp_path, capsys, name):
    assert main(["preview", f"dataset={dataset}", f"out={tmp_path / name}"]) == 2
    assert "ends in .png" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (["augment=strong"], "augment=strong, resize=squash"),
        ([], "augment=standard, resize=squash"),
        (["augment._target_=lookalike.data.own.Mine"], "resize=squash"),
    ],
)
def test_the_title_names_the_choice(dataset, tmp_path, monkeypatch, words, title):
    import lookalike.plots.preview as module
    from lookalike.data.augment import Augment

    monkeypatch.setitem(sys.modules, "lookalike.data.own", own := types.ModuleType("lookalike.data.own"))
    own.Mine = Augment
    seen = []
    drawn = preview(np.zeros((1, 8, 8, 3), np.uint8), [], ["a"], "title")
    monkeypatch.setattr(module, "preview", lambda *given: seen.append(given[3]) or drawn)
    assert main(["preview", f"dataset={dataset}", f"out={tmp_path / 'p.png'}", "images=1", *words]) == 0
    assert seen == [title]


def test_one_draw_leaves_room_for_the_heading():
    plain = np.zeros((1, 32, 32, 3), np.uint8)
    narrow = preview(plain, [plain], ["a"], "title").width
    words = "32 × 32 px; left: as in evaluation; right: random versions as in training"
    assert narrow >= font(13).getlength(words) + 2 * MARGIN


def test_unreadable_images_are_left_out_and_none_at_all_is_an_error(dataset, tmp_path, capsys):
    frame = pl.read_csv(dataset / "table.csv")
    (dataset / "broken.png").write_bytes(b"no picture")
    for count, code in ((1, 0), (len(frame), 1)):
        paths = ["broken.png"] * count + frame["path"].to_list()[count:]
        frame.with_columns(path=pl.Series(paths)).write_csv(dataset / "table.csv")
        words = [f"dataset={dataset}", f"out={tmp_path / 'p.png'}", "images=64", "draws=1", "augment=none"]
        assert main(["preview", *words]) == code
        assert "broken.png" in capsys.readouterr().err


def test_images_are_of_as_many_classes_as_can_be():
    labels = np.array(list("aaaaaabbbc"))
    for count, expected in ((3, "abc"), (5, "aabbc"), (99, "aaaaaabbbc")):
        assert "".join(sorted(labels[sample_per_class(labels, count, 0)])) == expected
    assert sample_per_class(labels, 5, 0) != sample_per_class(labels, 5, 1)


def test_each_line_holds_the_plain_image_and_its_changes_in_order():
    plain = np.stack([np.full((72, 72, 3), shade, np.uint8) for shade in (10, 20)])
    drawn = [np.stack([np.full((72, 72, 3), shade + n, np.uint8) for shade in (100, 200)]) for n in range(3)]
    picture = np.asarray(preview(plain, drawn, ["a", "b"], "title"))

    def locate_shade(shade):
        rows, columns = np.nonzero((picture == shade).all(axis=2))
        assert len(rows) >= 72 * 72 - 72 * 4
        return int(np.median(rows)), int(np.median(columns))

    for line, shades in enumerate(([10, 100, 101, 102], [20, 200, 201, 202])):
        places = [locate_shade(shade) for shade in shades]
        assert len({row for row, _ in places}) == 1, line
        assert [column for _, column in places] == sorted(column for _, column in places)
