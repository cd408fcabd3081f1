import io
import random
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from lookalike.data import images as data_images
from lookalike.data.images import ImageTable, Item, Unreadable, collate, image_size, open_image
from lookalike.data.table import Table
from lookalike.data.transforms import to_tensor
from lookalike.errors import ImageError, Problem

WIDTH, HEIGHT = 40, 30
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def gradient(width=WIDTH, height=HEIGHT):
    """Smooth, and different in every corner and channel, so that lossy formats keep it and turns show."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


def encode(image, format, **options):
    data = io.BytesIO()
    image.save(data, format, **options)
    return data.getvalue()


def pixels(data, **options):
    """The picture in these bytes as integers [H, W, 3]; it is always plain RGB."""
    image = open_image(io.BytesIO(data), **options)
    assert image.mode == "RGB"
    assert image.size == image_size(io.BytesIO(data)) or options
    return np.asarray(image).astype(int)


def refusal_message(data, *words, read=open_image):
    with pytest.raises(ImageError) as caught:
        read(io.BytesIO(data) if isinstance(data, bytes) else data)
    for word in words:
        assert word in caught.value.reason
    return caught.value


LOSSLESS = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
    "TIFF deflate": {"compression": "tiff_deflate"},
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_keep_every_pixel(name):
    data = encode(noise(), name.split()[0], **LOSSLESS[name])
    assert (pixels(data) == np.asarray(noise())).all()


@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 95, "progressive": True}, {"mode": "L"}])
def test_jpeg_is_read_to_within_its_loss(options):
    options = dict(options)
    image = gradient().convert(options.pop("mode", "RGB"))
    assert abs(pixels(encode(image, "JPEG", **options)) - np.asarray(image.convert("RGB"))).max() < 16


def test_the_content_decides_and_not_the_name(tmp_path):
    file = tmp_path / "really a png.jpg"
    file.write_bytes(encode(noise(), "PNG"))
    assert (np.asarray(open_image(file)) == np.asarray(noise())).all()
    assert image_size(str(file)) == (WIDTH, HEIGHT)


def test_a_path_a_name_and_an_open_file_give_the_same(tmp_path):
    file = tmp_path / ("ж" * 60 + " 🐈.png")
    noise().save(file)
    with file.open("rb") as stream:
        stream.seek(7)
        for source in (file, str(file), stream):
            assert (np.asarray(open_image(source)) == np.asarray(noise())).all()


def test_the_result_is_free_of_its_file(tmp_path):
    file = tmp_path / "a.gif"
    noise().save(file)
    image = open_image(file)
    file.unlink()
    assert type(image) is Image.Image
    assert image.info == {}
    assert image.copy().size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_comes_out_in_its_colours(format):
    for colour in ((255, 255, 255), (0, 0, 0), (255, 0, 0), (20, 200, 90)):
        image = Image.new("RGB", (16, 16), colour).convert("CMYK")
        data = encode(image, format)
        assert Image.open(io.BytesIO(data)).mode == "CMYK"
        assert abs(pixels(data) - colour).max() <= 6


def test_adobe_cmyk_jpeg_is_stored_inverted_and_comes_out_right():
    data = encode(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG", quality=95)
    assert b"Adobe" in data
    raw = Image.open(io.BytesIO(data))
    raw.tile = [tile._replace(args=("CMYK", "")) for tile in raw.tile]
    assert np.asarray(raw).min() > 250, "no ink is stored as 255, the reverse of CMYK elsewhere"
    assert pixels(data).min() > 250, "and means white paper"


DEEP = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_to_8(format):
    data = encode(Image.fromarray(DEEP), format)
    assert Image.open(io.BytesIO(data)).mode.startswith("I;16")
    found = pixels(data)
    assert abs(found - DEEP[..., None] / 257).max() <= 0.5
    assert found.min() == 0
    assert found.max() == 255


def test_16_bit_grey_tiff_of_the_other_byte_order_is_scaled_too():
    image = Image.frombytes("I;16B", (WIDTH, HEIGHT), DEEP.astype(">u2").tobytes())
    assert abs(pixels(encode(image, "TIFF")) - DEEP[..., None] / 257).max() <= 0.5


def tiff(values, bits, photometric):
    """A TIFF of one strip of 16-bit values, little-endian, with the tags given."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 0), (277, 1)]
    tags += [(278, height), (279, values.nbytes)]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + values.astype("<u2").tobytes()


def test_a_tiff_that_counts_ink_is_turned_into_light():
    assert abs(pixels(tiff(DEEP, 16, 0)) - (65535 - DEEP[..., None].astype(int)) / 257).max() <= 0.5
    assert abs(pixels(tiff(DEEP, 16, 1)) - DEEP[..., None] / 257).max() <= 0.5


def png(depth, colour, rows):
    """A PNG of one IDAT with the bit depth and colour type given; `rows` are bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    header = struct.pack(">IIBBBBB", len(rows[0]) * 8 // depth // channels, len(rows), depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_16_bit_colour_png_keeps_its_upper_8_bits():
    deep = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(">u2")
    found = pixels(png(16, 2, [row.tobytes() for row in deep]))
    assert abs(found - deep / 257).max() <= 1


def test_16_bit_alpha_png_lies_over_white():
    deep = np.zeros((4, 4, 2), ">u2")
    deep[:2] = (65535 // 5, 65535)
    found = pixels(png(16, 4, [row.tobytes() for row in deep]))
    assert (found[:2] == 51).all()
    assert (found[2:] == 255).all()


def test_32_bit_pixels_are_refused_with_the_way_out():
    image = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    refusal_message(encode(image, "TIFF"), "32-bit", "8 or 16")


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette(format):
    image = noise().quantize(64)
    assert (pixels(encode(image, format)) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_palette_with_a_transparent_colour_lies_over_white(format):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([9, 9, 9, 200, 30, 40])
    image.paste(0, (0, 0, 2, 4))
    found = pixels(encode(image, format, transparency=0))
    assert (found[:, :2] == 255).all()
    assert (found[:, 2:] == (200, 30, 40)).all()


def test_palette_with_half_transparent_colours_lies_over_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([9, 9, 9, 200, 30, 40])
    found = pixels(encode(image, "PNG", transparency=bytes([0, 128])))
    assert abs(found - (227, 142, 147)).max() <= 1


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("alpha", [0, 64, 255])
def test_alpha_lies_over_white(format, alpha):
    colour = np.array([10, 120, 240])
    image = Image.new("RGBA", (8, 8), (*colour.tolist(), alpha))
    found = pixels(encode(image, format, **({"lossless": True, "exact": True} if format == "WEBP" else {})))
    assert abs(found - (255 + (colour - 255) * alpha / 255)).max() <= 1


def test_grey_with_alpha_lies_over_white():
    found = pixels(encode(Image.new("LA", (4, 4), (100, 51)), "PNG"))
    assert abs(found - 224).max() <= 1


def test_a_transparent_grey_or_colour_of_a_png_lies_over_white():
    image = Image.fromarray(np.array([[7, 90], [90, 7]], np.uint8))
    assert pixels(encode(image, "PNG", transparency=7))[..., 0].tolist() == [[255, 90], [90, 255]]
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert pixels(encode(image, "PNG", transparency=(1, 2, 3))).tolist() == [[[255, 255, 255], [4, 5, 6]]]


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_and_black_and_white(mode):
    image = gradient().convert(mode)
    assert (pixels(encode(image, "PNG")) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation(format):
    frames = [Image.new("RGB", (12, 10), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert (pixels(data) == (255, 0, 0)).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(format, orientation):
    upright = gradient()
    stored = {  # how a camera held that way would have stored it
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: a.swapaxes(0, 1)[:, ::-1],
    }[orientation](np.asarray(upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), format, exif=exif, **options)
    assert image_size(io.BytesIO(data)) == upright.size
    assert abs(pixels(data) - np.asarray(upright)).max() <= (20 if format == "JPEG" else 0)


def test_a_turned_picture_is_not_turned_again_by_the_next_reader():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = open_image(io.BytesIO(encode(gradient(), "JPEG", exif=exif)))
    assert dict(image.getexif()) == {}


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + bytes(8)]
)
def test_damaged_exif_data_costs_no_picture(exif):
    assert pixels(encode(gradient(), "JPEG", exif=exif)).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_single_pixel(format):
    assert pixels(encode(Image.new("RGB", (1, 1), "white"), format)).tolist() == [[[255, 255, 255]]]


def test_what_is_not_there_is_said(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "notes.jpg").write_text("these are not pixels")
    assert "empty (0 bytes)" in refusal_message(tmp_path / "empty.png").reason
    assert "these are not p" in refusal_message(tmp_path / "notes.jpg", "not a readable image").reason
    assert "no such file" in refusal_message(tmp_path / "missing.jpg").reason
    assert "folder" in refusal_message(tmp_path).reason
    assert "File name too long" in refusal_message(tmp_path / ("n" * 300 + ".jpg"), "cannot be opened").reason
    for file in ("empty.png", "notes.jpg", "missing.jpg"):
        assert str(tmp_path / file) in str(refusal_message(tmp_path / file, read=image_size))


@pytest.mark.parametrize(
    "data", [b"%PDF-1.7", b"<svg xmlns=''/>", b"%!PS-Adobe-3.0 EPSF", b"\0" * 50, b"BN", b"\xff"]
)
def test_other_kinds_of_file_are_refused(data):
    refusal_message(data, "not a readable image")
    refusal_message(data, "not a readable image", read=image_size)


ENCODED = {
    "JPEG": encode(noise(), "JPEG", quality=90),
    "progressive JPEG": encode(noise(), "JPEG", progressive=True),
    "CMYK JPEG": encode(noise().convert("CMYK"), "JPEG"),
    "PNG": encode(noise(), "PNG"),
    "palette PNG": encode(noise().quantize(16), "PNG", transparency=bytes(range(16))),
    "16-bit PNG": encode(Image.fromarray(DEEP), "PNG"),
    "WebP": encode(noise(), "WEBP"),
    "lossless WebP": encode(noise(), "WEBP", lossless=True),
    "animated WebP": encode(noise(), "WEBP", save_all=True, append_images=[gradient()]),
    "BMP": encode(noise(), "BMP"),
    "GIF": encode(noise(), "GIF"),
    "animated GIF": encode(noise(), "GIF", save_all=True, append_images=[gradient()]),
    "TIFF": encode(noise(), "TIFF"),
    "TIFF lzw": encode(noise(), "TIFF", compression="tiff_lzw"),
    "TIFF deflate": encode(noise(), "TIFF", compression="tiff_deflate"),
    "16-bit TIFF": encode(Image.fromarray(DEEP), "TIFF"),
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_truncated_file_is_an_error_and_never_half_a_picture(name):
    data = ENCODED[name]
    whole = pixels(data)
    for missing in {*range(1, 40), *range(40, len(data), 13)}:
        try:
            found = pixels(data[:-missing])
        except ImageError as error:
            assert error.reason
            continue
        assert (found == whole).all(), f"{missing} bytes missing"
        assert missing < 4 or name.startswith("animated"), "only an end mark may be missing"


@pytest.mark.parametrize(
    "name", [name for name in ENCODED if "PNG" in name or "JPEG" in name or "WebP" in name]
)
def test_not_even_the_last_byte_may_be_missing(name):
    if name != "animated WebP":
        refusal_message(ENCODED[name][:-1])
    refusal_message(ENCODED["PNG"][:-12], "truncated")
    refusal_message(ENCODED["JPEG"][:-300], "truncated")


def test_a_png_with_wrong_pixels_is_refused():
    data = bytearray(png(8, 0, [bytes(8)] * 8))
    data[-20] ^= 1
    refusal_message(bytes(data), "damaged", "IDAT")


def test_a_known_kind_with_a_broken_header_is_called_damaged():
    for name, data in ENCODED.items():
        assert refusal_message(data[:11]).reason.startswith(("damaged", "the file ends")), name


def test_a_wrong_checksum_of_what_nobody_needs_costs_no_picture():
    text = b"tEXtkey\0value"
    wrong = struct.pack(">I", len(text) - 4) + text + bytes(4)
    data = png(8, 0, [bytes(8)] * 8)
    end = data.rindex(b"IEND") - 4
    assert pixels(data[:end] + wrong + data[end:]).shape == (8, 8, 3)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(ENCODED)), seed=st.integers(0, 10**6), changes=st.integers(1, 12))
def test_mutated_files_raise_nothing_but_our_error(name, seed, changes):
    rng = random.Random(seed)
    data = bytearray(ENCODED[name])
    reach = len(data) if rng.random() < 0.5 else min(len(data), 200)  # headers are where parsers break
    for _ in range(changes):
        place = rng.randrange(reach)
        match rng.randrange(4):
            case 0:
                data[place] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
            case 1:
                del data[place : place + rng.randrange(1, 20)]
            case 2:
                data[place:place] = rng.randbytes(rng.randrange(1, 20))
            case _:
                data[place] ^= 1 << rng.randrange(8)
        reach = min(reach, len(data))
    for read in (open_image, image_size, lambda file: open_image(file, box=(1, 1, 9, 9), at_least=4)):
        try:
            read(io.BytesIO(bytes(data)))
        except ImageError as error:
            assert "\n" not in error.reason.strip()


def replace_bytes(data, place, new):
    return data[:place] + new + data[place + len(new) :]


BOMBS = {
    "PNG": lambda: encode(Image.new("1", (24_000, 24_000)), "PNG"),
    "GIF": lambda: replace_bytes(ENCODED["GIF"], 6, struct.pack("<HH", 60_000, 60_000)),
    "BMP": lambda: (
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0)
    ),
    "WEBP": lambda: replace_bytes(ENCODED["animated WebP"], 24, b"\xfe\x3f\0" * 2),
    "TIFF": lambda: tiff(np.zeros((1, 1), np.uint16), 16, 1).replace(
        struct.pack("<HHII", 256, 4, 1, 1), struct.pack("<HHII", 256, 4, 1, 1 << 30)
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_refused_from_its_header(name, tmp_path):
    file = tmp_path / "bomb"
    file.write_bytes(BOMBS[name]())
    code = (
        "import resource, sys\n"
        "from lookalike.data.images import open_image, image_size\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for read in (open_image, image_size):\n"
        "    try:\n"
        "        read(sys.argv[1])\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    *errors, grown = ran.stdout.splitlines()
    assert len(errors) == 2
    assert all(line.startswith("ImageError") and "at most 100,000,000" in line for line in errors), errors
    assert int(grown) < 40_000, "kilobytes"


def test_a_picture_below_the_limit_is_read_and_one_above_it_is_not(monkeypatch):
    monkeypatch.setattr("lookalike.data.header.MAX_PIXELS", WIDTH * HEIGHT)
    assert pixels(encode(noise(), "PNG")).shape == (HEIGHT, WIDTH, 3)
    refusal_message(encode(gradient(WIDTH, HEIGHT + 1), "PNG"), "40 × 31", "1,200")


def test_reading_pictures_needs_no_torch():
    code = "import sys, lookalike.data.images; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_box_is_cut_out_of_the_upright_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(noise(), "PNG", exif=exif)
    whole = pixels(data)
    assert whole.shape == (WIDTH, HEIGHT, 3)
    assert (pixels(data, box=(3, 5, 10, 25)) == whole[5:25, 3:10]).all()


def test_a_box_that_sticks_out_is_cut_off_and_one_outside_refused():
    data = encode(noise(), "PNG")
    assert (pixels(data, box=(-5, 20, 8, 99)) == np.asarray(noise())[20:, :8]).all()
    for box in ((40, 0, 50, 10), (0, 30, 5, 40), (9, 9, 9, 12)):
        with pytest.raises(ImageError, match="is outside the image of 40 × 30 pixels"):
            open_image(io.BytesIO(data), box=box)


@pytest.mark.parametrize("box", [None, (100, 50, 500, 350)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_photo_may_come_out_smaller_and_shows_the_same(box, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(gradient(800, 600), "JPEG", quality=95, exif=exif)
    whole, small = (open_image(io.BytesIO(data), box=box, at_least=least) for least in (None, 64))
    assert 64 <= min(small.size) < 140
    assert abs(small.width / small.height - whole.width / whole.height) < 0.03
    shrunk = np.asarray(whole.resize(small.size)).astype(int)
    assert abs(shrunk - np.asarray(small)).mean() < 3


def test_at_least_leaves_what_is_small_already_and_other_formats():
    assert pixels(encode(gradient(), "JPEG"), at_least=30).shape == (HEIGHT, WIDTH, 3)
    assert pixels(encode(gradient(), "PNG"), at_least=1).shape == (HEIGHT, WIDTH, 3)


# --- the dataset


@pytest.fixture
def table(tmp_path):
    for name in "abdef":
        noise().rotate(ord(name)).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"no picture")
    frame = pl.DataFrame({"path": [f"{name}.png" for name in "abcdef"], "label": list("xyzxyw")})
    return Table(frame.with_columns(split=pl.lit("train")), tmp_path)


IDS = {"x": 0, "y": 1, "z": 2}


def test_an_item_is_picture_class_id_and_row(table):
    images = ImageTable(table, to_tensor, IDS)
    assert len(images) == 6
    item = images[3]
    assert item.image.dtype == torch.uint8
    assert (item.class_id, item.row) == (0, 3)
    assert (item.image.permute(1, 2, 0).numpy() == np.asarray(open_image(table.file(3)))).all()
    assert images[5].class_id == -1
    assert ImageTable(table, to_tensor)[0].class_id == -1


def test_an_unreadable_picture_is_reported_in_its_place(table):
    item = ImageTable(table, to_tensor, IDS)[2]
    assert isinstance(item, Unreadable)
    assert item.row == 2
    assert item.path.endswith("c.png")


def test_a_batch_keeps_each_row_with_its_own_picture(table):
    images = ImageTable(table, to_tensor, IDS)
    batch = collate(images[row] for row in (4, 2, 0, 5))
    assert batch.rows.tolist() == [4, 0, 5]
    assert batch.class_ids.tolist() == [1, 0, -1]
    assert batch.images.shape == (3, 3, HEIGHT, WIDTH)
    assert (batch.images[1] == images[0].image).all()
    assert [(problem.row, problem.reason[:3]) for problem in batch.skipped] == [(2, "not")]
    assert isinstance(batch.skipped[0], Problem)


def test_a_batch_of_unreadable_pictures_is_empty(table):
    batch = collate([ImageTable(table, to_tensor)[2]])
    assert len(batch.images) == len(batch.rows) == len(batch.class_ids) == 0
    assert len(batch.skipped) == 1
    assert batch.rows.dtype == batch.class_ids.dtype == torch.int64


def test_the_box_of_a_row_is_cut_out(table):
    boxes = {"x1": [1, None], "y1": [2, None], "x2": [11, None], "y2": [22, None]}
    frame = table.frame[:2].with_columns(**{name: pl.Series(values) for name, values in boxes.items()})
    images = ImageTable(Table(frame, table.folder), to_tensor)
    assert images[0].image.shape == (3, 20, 10)
    assert images[1].image.shape == (3, HEIGHT, WIDTH)


def scramble_image(image):
    return torch.randint(0, 256, (3, 2, 2), dtype=torch.uint8)


def batches_of_epoch(table, epoch, workers, rows, seed=3):
    images = ImageTable(table, scramble_image, seed=seed)
    images.set_epoch(epoch)
    loader = DataLoader(images, batch_sampler=rows, collate_fn=collate, num_workers=workers)
    return [dict(zip(batch.rows.tolist(), batch.images.tolist(), strict=True)) for batch in loader]


def merge_batches(batches):
    return {row: image for batch in batches for row, image in batch.items()}


def test_random_pixels_depend_on_seed_epoch_and_row_alone(table):
    first = merge_batches(batches_of_epoch(table, 1, 0, [[0, 1], [3, 4], [5]]))
    assert merge_batches(batches_of_epoch(table, 1, 2, [[5, 4, 0], [3], [1]])) == first
    assert all(
        image != first[row]
        for row, image in merge_batches(batches_of_epoch(table, 2, 0, [[0, 1, 3, 4, 5]])).items()
    )
    assert all(
        image != first[row]
        for row, image in merge_batches(batches_of_epoch(table, 1, 0, [[0, 1, 3, 4, 5]], 4)).items()
    )
    assert len({str(image) for image in first.values()}) == 5


def test_a_row_twice_in_a_batch_differs_from_itself(table):
    images = ImageTable(table, scramble_image, seed=0)
    first, second = images.__getitems__([1, 1]).images
    assert (first != second).any()
    assert torch.equal(torch.stack([first, second]), images.__getitems__([1, 1]).images)


def test_numbers_outside_are_left_as_they_were(table):
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    images = ImageTable(table, scramble_image, seed=0)
    for row in range(5):
        images[row]
    assert (torch.rand(4) == expected).all()


def test_workers_that_stay_alive_see_the_epoch_change(table):
    images = ImageTable(table, scramble_image, seed=0)
    loader = DataLoader(
        images, batch_sampler=[[0, 1]], collate_fn=collate, num_workers=1, persistent_workers=True
    )
    epochs = []
    for epoch in range(3):
        images.set_epoch(epoch)
        epochs += [batch.images for batch in loader]
    assert (epochs[0] != epochs[1]).any()
    assert (epochs[1] != epochs[2]).any()


def test_without_a_seed_the_transform_is_left_to_itself(table):
    images = ImageTable(table, lambda image: torch.tensor(image.size))
    item = images[0]
    assert isinstance(item, Item)
    assert item.image.tolist() == [WIDTH, HEIGHT]


def test_a_great_many_reads_leave_no_file_open(table):
    images = ImageTable(table, to_tensor)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        kept = [images[row % 6] for row in range(600)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert sum(isinstance(item, Unreadable) for item in kept) == 100


def images_over_epochs(table, seed, epochs=3, **memory):
    """What a transform that draws from the pictures' pixels and from random numbers gives in some epochs."""

    def transform(image):
        return to_tensor(image)[:, :4, :4] ^ torch.randint(256, (3, 1, 1), dtype=torch.uint8)

    images, found = ImageTable(table, transform, seed=seed, **memory), []
    for epoch in range(epochs):
        images.set_epoch(epoch)
        found.append(collate(images.__getitems__([0, 1, 2, 0])).images)
    return found


def test_small_pictures_are_decoded_once_for_training_and_come_out_the_same(table, monkeypatch):
    opened = []
    monkeypatch.setattr(
        data_images, "open_image", lambda source, *rest: opened.append(source) or open_image(source, *rest)
    )
    kept = images_over_epochs(table, seed=4)
    assert [opened.count(file) for file in dict.fromkeys(opened)] == [1, 1, 3]  # the third cannot be read
    again = images_over_epochs(table, seed=4, memory=len(table) * 3 * WIDTH * HEIGHT - 1)
    assert len(opened) == 5 + 12
    assert all(map(torch.equal, kept, again))
    assert not torch.equal(kept[0], kept[1])
    images_over_epochs(table, seed=None)
    assert len(opened) == 5 + 12 + 12


def test_paths_in_warnings_have_no_detours(tmp_path):
    from lookalike.data.thumbnails import placeholder_colour

    (tmp_path / "run" / "embeddings").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "run" / "embeddings")
    assert placeholder_colour(tmp_path / "run" / "embeddings" / ".." / "a.png") == str(
        tmp_path / "run" / "a.png"
    )
    kept = tmp_path / "link" / ".." / "a.png"
    assert placeholder_colour(kept) == str(kept), "a link leads elsewhere"
