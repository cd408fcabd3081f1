import logging

import numpy as np
import polars as pl
from PIL import Image, ImageDraw
from planted_copies import alter, scene
from scipy.fft import dctn

import lookalike
from lookalike.cli.main import main
from lookalike.data.decode import open_image
from lookalike.data.table import Table, read_table
from lookalike.prepare.duplicates.copies import copy_groups, find_copies
from lookalike.prepare.duplicates.signatures import hash_column, perceptual_hashes, read_signatures


def table_of(folder, images, labels=None):
    paths = []
    for name, image in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name)
        paths.append(name)
    labels = labels or ["a"] * len(paths)
    return Table(pl.DataFrame({"path": paths, "label": labels, "split": ["train"] * len(paths)}), folder)


def copies_of(table, **options):
    signatures = read_signatures(table)
    copies = find_copies(table, signatures, **options)
    return copies, copy_groups(copies, signatures)


def test_copies_of_scenes_are_found_and_nothing_else(tmp_path):
    images = {f"{number}.png": scene(number) for number in range(60)}
    images |= {f"copy{number}.png": alter(images[f"{number}.png"], number) for number in range(40)}
    copies, groups = copies_of(table_of(tmp_path, images))
    assert {tuple(pair) for pair in copies.duplicates.pairs.tolist()} == {
        (row, 60 + row) for row in range(40)
    }
    assert sorted(map(sorted, groups)) == [[row, 60 + row] for row in range(40)]


def test_the_largest_comes_first_in_a_group(tmp_path):
    image = scene(1)
    small, large = image.resize((80, 60)), image.resize((320, 240))
    _, groups = copies_of(table_of(tmp_path, {"0.png": small, "1.png": image, "2.png": large}))
    assert groups == [[2, 0, 1]]


def test_equal_pixels_in_two_formats_are_exact(tmp_path):
    image = scene(2)
    table = table_of(tmp_path, {"a.png": image, "b.bmp": image, "c.tif": image, "d.jpg": image})
    copies = copies_of(table)[0].duplicates
    exact = {tuple(pair) for pair in copies.pairs[copies.exact].tolist()}
    assert exact == {(0, 1), (0, 2), (1, 2)}
    assert len(copies.pairs) == 6


def test_drawings_that_differ_in_one_place_are_no_copies(tmp_path):
    images = {}
    for number in range(3):
        image = Image.new("RGB", (96, 96), "white")
        image.paste("black", (20, 20, 76, 76))
        image.paste("white", (30 + 10 * number, 40, 36 + 10 * number, 56))
        images[f"{number}.png"] = image
    assert not len(copies_of(table_of(tmp_path, images))[0].duplicates.pairs)


def clock(shade):
    image = Image.new("RGB", (96, 96), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((2, 2, 93, 93), fill=(150, 170, 180))
    draw.ellipse((12, 12, 83, 83), fill=(225, 232, 238))
    draw.line((48, 48, 48, 20), fill=(shade, shade, shade), width=5)
    return image


def test_drawings_of_two_designers_are_no_copies_but_brighter_and_compressed_ones_are(tmp_path):
    first = clock(90)
    images = {"0.png": first, "other.png": clock(120), "bright.png": first.point(lambda value: value * 0.94)}
    copies = copies_of(
        table_of(tmp_path, images | {"small.jpg": first, "large.png": first.resize((120, 118))})
    )
    pairs = set(map(tuple, copies[0].duplicates.pairs.tolist()))
    assert {(0, 2), (0, 3), (0, 4)} <= pairs
    assert (0, 1) not in pairs


def moved_object(shift):
    front, disc = scene(101, (320, 240)), Image.new("L", (320, 240))
    ImageDraw.Draw(disc).ellipse((80 + shift, 60, 240 + shift, 200), fill=255)
    moved = Image.new("RGB", (320, 240))
    moved.paste(front, (shift, 0))
    return Image.composite(moved, scene(1, (320, 240)), disc)


def test_the_next_photo_of_a_burst_is_no_copy(tmp_path):
    images = {"0.jpg": moved_object(0), "1.jpg": moved_object(3), "2.jpg": moved_object(0).resize((240, 180))}
    copies = copies_of(table_of(tmp_path, images))[0]
    assert copies.duplicates.pairs.tolist() == [[0, 2]]
    assert copies.correlations.min() > 0.95


def test_mirrored_copies_on_request(tmp_path):
    image = scene(3)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    table = table_of(tmp_path, {"0.png": image, "1.png": mirrored, "2.png": scene(4)})
    assert not len(copies_of(table)[0].duplicates.pairs)
    copies = copies_of(table, mirrored=True)[0].duplicates
    assert copies.pairs.tolist() == [[0, 1]]
    assert copies.mirrored.all()


def test_many_blank_images_are_one_group(tmp_path):
    white = Image.new("RGB", (40, 40), "white")
    white.save(tmp_path / "white.png")
    Image.new("RGB", (40, 40), "black").save(tmp_path / "black.png")
    for number in range(300):
        (tmp_path / f"{number}.png").hardlink_to(tmp_path / "white.png")
    names = ["black.png", *(f"{number}.png" for number in range(300))]
    frame = pl.DataFrame({"path": names, "label": ["a"] * 301, "split": ["train"] * 301})
    copies, groups = copies_of(Table(frame, tmp_path))
    assert groups == [list(range(1, 301))]
    assert len(copies.pairs) == 299


def test_the_hash_is_the_published_one(tmp_path):
    table = table_of(tmp_path, {f"{number}.png": scene(number) for number in range(5)})
    signatures = read_signatures(table)
    hashes = perceptual_hashes(signatures.grey)
    for grey, value, text in zip(signatures.grey, hashes.tolist(), hash_column(signatures), strict=True):
        spectrum = dctn(grey.astype(np.float64), norm="ortho")[:8, :8].ravel()
        bits = spectrum >= np.median(spectrum[1:])
        assert value == int("".join("01"[bit] for bit in bits.astype(int)), 2) == int(text, 16)
        assert len(text) == 16


def test_unreadable_images_have_no_hash_and_no_copies(tmp_path):
    table = table_of(tmp_path, {"0.png": scene(0), "1.png": scene(0), "2.png": scene(1)})
    (tmp_path / "1.png").write_bytes(b"")
    signatures = read_signatures(table)
    assert [problem.row for problem in signatures.problems] == [1]
    assert hash_column(signatures)[1] is None
    assert not len(find_copies(table, signatures).pairs)


def folder_of_classes(root, copies=True):
    for label in "ab":
        (root / label).mkdir(parents=True)
        for number in range(3):
            scene(10 * ord(label) + number).save(root / label / f"{number}.png")
    if copies:
        open_image(root / "a" / "0.png").resize((320, 240)).save(root / "a" / "large.png")
        alter(open_image(root / "b" / "1.png"), 5).resize((60, 45)).save(root / "b" / "small.jpg")
        open_image(root / "a" / "2.png").save(root / "b" / "other.png")
    return root


def test_prepare_hashes_adds_a_column_of_the_images_that_are_stored(tmp_path):
    source = folder_of_classes(tmp_path / "photos")
    table = lookalike.prepare(source, tmp_path / "set", hashes=True)
    signatures = read_signatures(table)
    assert table.frame["hash"].to_list() == hash_column(signatures)
    small = lookalike.prepare(source, tmp_path / "small", hashes=True, shrink=64)
    assert small.frame["hash"].to_list() == hash_column(read_signatures(small))


def test_prepare_filter_keeps_the_largest_copy_of_a_class(tmp_path, caplog):
    caplog.set_level(logging.INFO, "lookalike")
    lookalike.prepare(folder_of_classes(tmp_path / "photos"), tmp_path / "set")
    before = (tmp_path / "set" / "table.parquet").read_bytes()
    assert (
        main(
            ["prepare", "filter", f"dataset={tmp_path}/set", "dedup=10", f"out={tmp_path}/less", "workers=0"]
        )
        == 0
    )
    paths = {path.split("photos/")[1] for path in read_table(tmp_path / "less").frame["path"]}
    assert paths == {"a/large.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png", "b/2.png", "b/other.png"}
    reasons = dict(pl.read_csv(tmp_path / "less" / "left_out.csv").select("path", "reason").iter_rows())
    assert {reason.split("photos/")[1] for reason in reasons.values()} == {
        "a/large.png: dedup=10",
        "b/1.png: dedup=10",
    }
    assert (tmp_path / "set" / "table.parquet").read_bytes() == before


def test_prepare_merge_keeps_the_larger_of_two_copies(tmp_path, capsys):
    lookalike.prepare(folder_of_classes(tmp_path / "one", copies=False), tmp_path / "a")
    other = tmp_path / "two"
    for label in "ab":
        (other / label).mkdir(parents=True)
        scene(500 + ord(label)).save(other / label / "new.png")
    open_image(tmp_path / "one" / "a" / "0.png").resize((320, 240)).save(other / "a" / "larger.png")
    alter(open_image(tmp_path / "one" / "b" / "0.png"), 3).resize((80, 60)).save(other / "b" / "smaller.png")
    (other / "a" / "same.png").write_bytes((tmp_path / "one" / "a" / "1.png").read_bytes())
    lookalike.prepare(other, tmp_path / "b")
    words = ["prepare", "merge", f"{tmp_path}/a", f"{tmp_path}/b", "labels=same", "workers=0"]
    assert main([*words, f"out={tmp_path}/refused"]) == 1
    assert main([*words, "dedup=10", f"out={tmp_path}/both"]) == 0
    paths = {"/".join(path.split("/")[-3:]) for path in read_table(tmp_path / "both").frame["path"]}
    assert {"two/a/larger.png", "two/a/new.png", "one/b/0.png", "one/a/1.png"} <= paths
    assert not {"one/a/0.png", "two/b/smaller.png", "two/a/same.png"} & paths
    clashes = pl.read_csv(tmp_path / "both" / "clashes.csv")
    assert (clashes["kind"] == "copy").sum() == 3
