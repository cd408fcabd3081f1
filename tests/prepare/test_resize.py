import numpy as np
import polars as pl
import pytest
from PIL import Image

from lookalike.cli.prepare import Config, main
from lookalike.config import load
from lookalike.data.images import open_image
from lookalike.data.table import Table, read_table
from lookalike.prepare import resize


def photo(width, height, shade):
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, shade)], -1).astype(np.uint8))


@pytest.fixture
def photos(tmp_path):
    for label in range(4):
        (tmp_path / "photos" / f"c{label}").mkdir(parents=True)
        for number in range(3):
            size = (200, 120) if number else (50, 30)
            photo(*size, 60 * label).save(tmp_path / "photos" / f"c{label}" / f"{number}.jpg")
    return tmp_path / "photos"


def prepare(tmp_path, *arguments):
    out = tmp_path / "data" / "mine"
    main(load("prepare", Config, [f"out={out}", "progress=false", "workers=0", *arguments]))
    return read_table(out)


def test_large_images_become_small_files_of_the_dataset_and_small_ones_stay(photos, tmp_path):
    table = prepare(tmp_path, f"source.root={photos}", "shrink=40")
    plain = read_table(
        main(load("prepare", Config, [f"out={tmp_path / 'plain'}", f"source.root={photos}", "workers=0"]))
    )
    assert table.frame["label"].to_list() == plain.frame["label"].to_list()
    assert table.frame["split"].to_list() == plain.frame["split"].to_list()
    for row in range(len(table)):
        file, original = table.file(row), table.frame["original"][row]
        width, height = table.frame["width"][row], table.frame["height"][row]
        with Image.open(file) as image:
            assert image.size == (width, height)
        if plain.file(row).name == "0.jpg":
            assert original is None
            assert file.resolve() == plain.file(row).resolve()
            continue
        assert (width, height) == (67, 40)
        assert file.resolve().is_relative_to(tmp_path / "data" / "mine" / "images")
        assert (table.folder / original).resolve() == plain.file(row).resolve()
        expected = np.asarray(open_image(plain.file(row)).resize((67, 40), Image.Resampling.LANCZOS)).astype(
            int
        )
        assert abs(expected - np.asarray(open_image(file))).mean() < 3
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["mine"]


def test_boxes_are_cut_out_and_kept_under_another_name(photos, tmp_path):
    rows = [
        {"path": f"c{label}/{number}.jpg", "label": f"c{label}", "x1": 20, "y1": 10, "x2": 190, "y2": 110}
        for label in range(4)
        for number in (1, 2)
    ]
    pl.DataFrame(rows).write_csv(photos / "boxes.csv")
    table = prepare(tmp_path, "source=table", f"source.file={photos / 'boxes.csv'}", "shrink=50")
    assert "x1" not in table.frame.columns
    assert table.frame.select("original_x1", "original_y1", "original_x2", "original_y2").row(0) == (
        *(20, 10, 190, 110),
    )
    assert set(table.frame.select("width", "height").rows()) == {(85, 50)}
    found = np.asarray(open_image(table.file(0))).astype(int)
    original = open_image(table.folder / table.frame["original"][0], (20, 10, 190, 110))
    assert abs(np.asarray(original.resize((85, 50), Image.Resampling.LANCZOS)) - found).mean() < 3


def test_names_and_splits_do_not_depend_on_the_order_of_rows(photos, tmp_path):
    rows = [
        {"path": f"c{label}/{number}.jpg", "label": f"c{label}"} for label in range(4) for number in (1, 2)
    ]
    found = []
    for place, order in enumerate((rows, rows[::-1])):
        pl.DataFrame(order).write_csv(photos / "rows.csv")
        out = tmp_path / str(place)
        keys = [
            f"source.file={photos / 'rows.csv'}",
            "shrink=50",
            "split=images",
            "val=0",
            "test=0.5",
            "seed=3",
        ]
        table = prepare(out, "source=table", *keys)
        found.append(dict(zip(table.frame["path"], table.frame.select("label", "split").rows(), strict=True)))
    assert found[0] == found[1]


def test_originals_are_found_from_a_dataset_made_from_it(photos, tmp_path):
    table = prepare(tmp_path, f"source.root={photos}", "shrink=40")
    moved = table.relative_to(tmp_path / "elsewhere" / "deep").frame
    files = [(row, name) for row, name in enumerate(moved["original"]) if name is not None]
    assert len(files) == 8
    for row, name in files:
        assert (tmp_path / "elsewhere" / "deep" / name).resolve() == (
            table.folder / table.frame["original"][row]
        ).resolve()
    own = Table(table.frame.with_columns(original=pl.lit("someone's own word")), table.folder)
    assert own.relative_to(tmp_path / "elsewhere").frame["original"].equals(own.frame["original"])


def test_damaged_images_are_listed_and_the_others_do_not_shift(photos, tmp_path):
    whole = (photos / "c1" / "1.jpg").read_bytes()
    (photos / "c1" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    table = prepare(tmp_path, f"source.root={photos}", "shrink=40")
    assert len(table) == 11
    skipped = pl.read_csv(table.folder / "skipped.csv")
    assert skipped["path"].to_list() == ["c1/1.jpg"]
    for row in range(11):
        shade = np.asarray(open_image(table.file(row)))[..., 2].mean()
        assert shade == pytest.approx(60 * int(table.frame["label"][row][1:]), abs=6)


def test_a_full_disk_leaves_nothing(photos, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resize, "shrink_image", full)
    with pytest.raises(OSError, match="No space"):
        prepare(tmp_path, f"source.root={photos}", "shrink=40")
    assert not list((tmp_path / "data").iterdir())
