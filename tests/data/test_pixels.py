import io
import random

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lookalike.data import jpeg
from lookalike.data.augment import Augment, Strong
from lookalike.data.flip import Flip
from lookalike.data.images import ImageTable, open_image
from lookalike.data.pixels import open_pixels
from lookalike.data.random_crop import RandomCrop
from lookalike.data.table import Table
from lookalike.errors import ImageError


def photo(width=52, height=37, seed=0):
    """Smooth, with some noise."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    noise = np.random.default_rng(seed).integers(-20, 20, (height, width, 3))
    return Image.fromarray((np.stack([x, y, 255 - x], -1) + noise).clip(0, 255).astype(np.uint8))


def encode_image(image, kind="JPEG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif_with_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


KINDS = {
    "plain": encode_image(photo(), quality=90),
    "no subsampling": encode_image(photo(), quality=95, subsampling=0),
    "progressive": encode_image(photo(), progressive=True),
    "grey": encode_image(photo().convert("L")),
    "comment": encode_image(photo(), comment="a" * 300),
    "EXIF without orientation": encode_image(photo(), exif=Image.Exif()),
    **{
        f"orientation {number}": encode_image(photo(), exif=exif_with_orientation(number))
        for number in range(1, 10)
    },
    "CMYK": encode_image(photo().convert("CMYK")),
    "PNG": encode_image(photo(), "PNG"),
    "WebP": encode_image(photo(), "WEBP"),
}
USUAL = [name for name in KINDS if name not in ("CMYK", "PNG", "WebP", "orientation 9")]


def everything(size):
    return None, max(size)


def read(data, choose=everything, box=None):
    return open_pixels(io.BytesIO(data), choose, box)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("box", [None, (3, 5, 30, 36)])
def test_pixels_are_those_of_pillow(name, box, tmp_path):
    expected = np.asarray(open_image(io.BytesIO(KINDS[name]), box))
    assert (read(KINDS[name], box=box) == expected).all()
    file = tmp_path / "picture"
    file.write_bytes(KINDS[name])
    assert (open_pixels(file, everything, box) == expected).all()


@pytest.mark.parametrize("augment", [Augment, Strong, Flip, RandomCrop])
def test_photos_in_every_orientation_can_be_changed(augment, tmp_path):
    names = [name for name in KINDS if name.startswith("orientation")]
    for place, name in enumerate(names):
        (tmp_path / f"{place}.jpg").write_bytes(KINDS[name])
    rows = range(len(names))
    frame = pl.DataFrame({"path": [f"{place}.jpg" for place in rows], "label": names, "split": "train"})
    batch = ImageTable(Table(frame, tmp_path), augment(48), seed=0).__getitems__(rows)
    assert batch.rows.tolist() == [*rows]


def test_a_line_of_pixels_can_be_turned_and_changed(tmp_path):
    cases = [(size, turn) for size in ((1, 1), (1, 9), (9, 1)) for turn in range(1, 9)]
    for place, (size, turn) in enumerate(cases):
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.effect_noise(size, 80).convert("RGB").save(tmp_path / f"{place}.jpg", exif=exif)
    frame = pl.DataFrame({"path": [f"{place}.jpg" for place in range(len(cases))], "label": "a"})
    table = Table(frame.with_columns(split=pl.lit("train")), tmp_path)
    assert len(ImageTable(table, RandomCrop(16), seed=0).__getitems__(range(len(cases))).rows) == len(cases)


@pytest.mark.parametrize("name", KINDS)
def test_usual_jpegs_take_the_fast_path_and_nothing_else(name):
    assert (jpeg.read_header(KINDS[name]) is not None) == (name in USUAL)


def test_without_a_native_decoder_all_is_the_same(monkeypatch):
    expected = {name: read(data) for name, data in KINDS.items()}
    monkeypatch.setattr(jpeg, "_native_decoder", lambda: None)
    assert all((read(data) == expected[name]).all() for name, data in KINDS.items())


@pytest.mark.parametrize("name", ["plain", "orientation 6", "PNG"])
def test_a_part_of_the_box_is_chosen_by_its_size(name):
    asked = []

    def choose(size):
        asked.append(size)
        return (2, 3, 12, 17), 10

    whole = np.asarray(open_image(io.BytesIO(KINDS[name])))
    assert (read(KINDS[name], choose, (4, 6, 30, 36)) == whole[9:23, 6:16]).all()
    assert set(asked) == {(26, 30)}


def test_a_jpeg_comes_smaller_where_enough_is_left_and_shows_the_same():
    data = encode_image(photo(800, 600), quality=95)
    part = (100, 50, 500, 450)
    full = read(data, lambda size: (part, 300))
    assert full.shape == (400, 400, 3)
    for least, side in ((200, 200), (100, 100), (51, 100), (50, 50), (1, 50)):
        small = read(data, lambda size, least=least: (part, least))
        assert small.shape == (side, side, 3)
        reference = np.asarray(Image.fromarray(full).resize((side, side), Image.Resampling.BOX)).astype(int)
        assert abs(reference - small).mean() < 4


def test_damaged_files_are_refused_as_by_pillow():
    rng = random.Random(0)
    refused = 0
    for number in range(300):
        name = rng.choice(["plain", "progressive", "grey", "orientation 6"])
        data = bytearray(KINDS[name])
        for _ in range(rng.randrange(1, 6)):
            place = rng.randrange(len(data))
            if rng.random() < 0.3:
                del data[place : place + rng.randrange(1, 30)]
            else:
                data[place % len(data)] = rng.randrange(256)
        try:
            expected = np.asarray(open_image(io.BytesIO(bytes(data))))
        except ImageError:
            refused += 1
            with pytest.raises(ImageError):
                read(bytes(data))
            continue
        assert (read(bytes(data)) == expected).all(), number
    assert 20 < refused < 280


@pytest.mark.parametrize("name", ["plain", "progressive"])
def test_no_byte_may_be_missing(name):
    for missing in (1, 2, 10, 300):
        with pytest.raises(ImageError):
            read(KINDS[name][:-missing])


def test_a_bomb_is_refused_from_its_header():
    data = bytearray(KINDS["plain"])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageError, match="at most 100,000,000"):
        read(bytes(data))


def test_headers_that_end_early_or_lie_are_left_to_pillow():
    data = KINDS["orientation 6"]
    whole = jpeg.read_header(data)
    assert whole == (52, 37, 6)
    for length in range(len(data)):
        assert jpeg.read_header(data[:length]) in (None, whole)
    rng = random.Random(1)
    for _ in range(500):
        broken = bytearray(data[:250])
        broken[rng.randrange(2, 250)] = rng.randrange(256)
        jpeg.read_header(broken)
