"""Every kind of picture through every reader: Pillow's, the fast one, the cache, training, and shrinking."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lookalike.data.cache import Cache
from lookalike.data.decode import MAX_PIXELS
from lookalike.data.image_input import as_pillow_image
from lookalike.data.images import ImageTable, image_size, open_image
from lookalike.data.pixels import open_pixels
from lookalike.data.table import Table
from lookalike.data.transforms import to_tensor
from lookalike.errors import ImageError
from lookalike.prepare.files import check_by_decoding, check_header
from lookalike.prepare.resize import shrink_image

WIDTH, HEIGHT = 64, 48
HEIC = Path(__file__).parent / "heic_photos"
STORED = {  # how a camera held that way stores a picture
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


def gradient():
    x, y = np.meshgrid(np.linspace(0, 255, WIDTH), np.linspace(0, 255, HEIGHT))
    return np.stack([x, y, 255 - x], -1).astype(np.uint8)


UPRIGHT = gradient()
LOSSY = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "AVIF": {"quality": 95}}


def encode_image(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **(LOSSY.get(kind, {}) | options))
    return stream.getvalue()


def xmp(orientation, form=0):
    said = [
        f'<rdf:Description tiff:Orientation="{orientation}"/>',
        f"<rdf:Description tiff:Orientation='{orientation}'/>",
        f"<rdf:Description><tiff:Orientation>{orientation}</tiff:Orientation></rdf:Description>",
    ][form]
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>{said}</rdf:RDF></x:xmpmeta>'.encode()


def exif(orientation=None):
    made = Image.Exif()
    made[0x010F] = "maker"
    if orientation is not None:
        made[0x0112] = orientation
    return made.tobytes()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values, depth, kind, *before, after=(), interlaced=False):
    """A PNG of stored samples [H, W, C] with chunks before and after its pixels."""
    height, width = values.shape[:2]
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in values]
    elif depth == 8:
        rows = [row.astype(np.uint8).tobytes() for row in values]
    else:
        bits = np.unpackbits(values.reshape(height, width, 1).astype(np.uint8), axis=-1)[..., 8 - depth :]
        rows = [np.packbits(row.reshape(-1)).tobytes() for row in bits]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join([head, *before, body, *after]) + chunk(b"IEND", b"")


def segment(data, *parts):
    """A JPEG with APP1 parts put in front of all else."""
    made = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)
    return data[:2] + made + data[2:]


def before_scan(data, part):
    """A JPEG with an APP1 part between frame header and pixels."""
    place = data.index(b"\xff\xda")
    return data[:place] + b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part + data[place:]


def stored_image(orientation):
    return Image.fromarray(np.ascontiguousarray(STORED[orientation](UPRIGHT)))


XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
XMP_TEXT = b"XML:com.adobe.xmp\0\0\0\0\0"
TOLERANCE = {"JPEG": 20, "AVIF": 24, "HEIC": 12}


def turned_photos():
    """Photos that are `UPRIGHT` once they are turned, as (name, data)."""
    for turn in STORED:
        image, rgb = stored_image(turn), STORED[turn](UPRIGHT)
        for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
            yield f"{kind} EXIF {turn}", encode_image(image, kind, exif=exif(turn))
        plain = encode_image(image, "JPEG")
        yield f"JPEG XMP {turn}", segment(plain, XMP_MARK + xmp(turn))
        yield f"JPEG EXIF without it, XMP {turn}", segment(plain, exif(), XMP_MARK + xmp(turn, 2))
        yield f"JPEG XMP apostrophes {turn}", segment(plain, XMP_MARK + xmp(turn, 1))
        yield f"JPEG EXIF {turn}, XMP of before", segment(plain, exif(turn), XMP_MARK + xmp(9 - turn))
        yield f"JPEG damaged EXIF, XMP {turn}", segment(plain, b"Exif\0\0rubbish", XMP_MARK + xmp(turn))
        yield f"JPEG EXIF beside the pixels {turn}", before_scan(plain, exif(turn))
        yield f"PNG XMP {turn}", png(rgb, 8, 2, chunk(b"iTXt", XMP_TEXT + xmp(turn)))
        packed = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(turn, 2))
        yield f"PNG packed XMP {turn}", png(rgb, 8, 2, chunk(b"iTXt", packed))
        yield f"PNG EXIF at the end {turn}", png(rgb, 8, 2, after=[chunk(b"eXIf", exif(turn)[6:])])
        yield f"PNG XMP at the end {turn}", png(rgb, 8, 2, after=[chunk(b"iTXt", XMP_TEXT + xmp(turn))])
        profile = f"\nexif\n{len(exif(turn)):8d}\n{exif(turn).hex()}\n".encode()
        old = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile))
        yield f"PNG of ImageMagick {turn}", png(rgb, 8, 2, old)
        yield f"WEBP XMP {turn}", encode_image(image, "WEBP", xmp=xmp(turn))
        for form in range(3):
            tags = {700: xmp(turn, form)}
            yield f"TIFF XMP {turn}, form {form}", encode_image(image, "TIFF", tiffinfo=tags)
        yield f"TIFF lzw EXIF {turn}", encode_image(image, "TIFF", exif=exif(turn), compression="tiff_lzw")
        tags = {700: xmp(turn)}
        yield f"TIFF lzw XMP {turn}", encode_image(image, "TIFF", tiffinfo=tags, compression="tiff_lzw")
        if turn > 1:
            yield f"HEIC {turn}", (HEIC / f"orientation{turn}.heic").read_bytes()
    yield "HEIC upright", (HEIC / "upright.heic").read_bytes()
    yield "HEIC 10 bits", (HEIC / "deep.heic").read_bytes()
    image = Image.fromarray(UPRIGHT)
    yield "netpbm colour", encode_image(image, "PPM")
    yield "netpbm text", b"P3\n# by hand\n64 48\n255\n" + " ".join(map(str, UPRIGHT.ravel())).encode()
    deep = (UPRIGHT.astype(">u2") * 257).tobytes()
    yield "netpbm 16 bits", b"P6 64 48 65535\n" + deep
    yield "JPEG EXIF 9", encode_image(image, "JPEG", exif=exif(9))
    yield "JPEG EXIF 0, XMP 6", segment(encode_image(image, "JPEG"), exif(0), XMP_MARK + xmp(6))


TURNED = dict(turned_photos())
LEFT, WHITE = UPRIGHT[:, : WIDTH // 2], 255
GREY = UPRIGHT[..., :1]


def see_through():
    """Pictures with something transparent: (name, data, expected pixels [H, W, 3], tolerance)."""
    for depth in (1, 2, 4, 8, 16):
        most = (1 << depth) - 1
        values = np.rint(GREY / 255 * most).astype(np.uint16)
        for key in (0, most // 3, most):
            expected = np.where(values == key, 255, np.rint(values / most * 255)).repeat(3, -1)
            mark = chunk(b"tRNS", struct.pack(">H", key))
            yield f"grey {depth} bits, {key} transparent", png(values, depth, 0, mark), expected, 0
    rgb = UPRIGHT.astype(np.uint16)
    key = rgb[5, 9]
    expected = np.where((rgb == key).all(-1, keepdims=True), 255, rgb)
    yield "colour", png(rgb, 8, 2, chunk(b"tRNS", struct.pack(">3H", *key))), expected, 0
    deep = rgb * 256 + np.arange(WIDTH, dtype=np.uint16)[None, :, None]
    deep[6, 9] = deep[5, 9] - 1  # the same upper bytes, another colour
    key = deep[5, 9]
    expected = np.where((deep == key).all(-1, keepdims=True), 255, deep >> 8)
    yield "colour 16 bits", png(deep, 16, 2, chunk(b"tRNS", struct.pack(">3H", *key))), expected, 0
    alpha = np.where(np.arange(WIDTH) < WIDTH // 2, 0, 255)[None, :, None].repeat(HEIGHT, 0)
    over = np.where(alpha == 0, 255, UPRIGHT)
    grey = np.where(alpha == 0, 255, GREY).repeat(3, -1)
    yield "RGBA", png(np.concatenate([UPRIGHT, alpha], -1), 8, 6), over, 0
    yield "RGBA 16 bits", png(np.concatenate([UPRIGHT, alpha], -1) * 257, 16, 6), over, 0
    yield "LA", png(np.concatenate([GREY, alpha], -1), 8, 4), grey, 0
    yield "LA 16 bits", png(np.concatenate([GREY, alpha], -1) * 257, 16, 4), grey, 0
    image = Image.fromarray(np.concatenate([UPRIGHT, alpha.astype(np.uint8)], -1))
    yield "WebP", encode_image(image, "WEBP", exact=True), over, 0
    yield "TIFF", encode_image(image, "TIFF"), over, 0
    yield (
        "TIFF LA",
        encode_image(image.convert("LA"), "TIFF"),
        np.where(alpha == 0, 255, -1).repeat(3, -1),
        None,
    )
    yield "AVIF", encode_image(image, "AVIF"), over, 24
    yield "HEIC", (HEIC / "half_transparent.heic").read_bytes(), over, 12
    palette = Image.fromarray(UPRIGHT).quantize(16)
    colours = np.asarray(palette.convert("RGB"))
    for kind in ("PNG", "GIF"):
        expected = np.where(np.asarray(palette)[..., None] == 3, 255, colours)
        yield f"palette {kind}", encode_image(palette, kind, transparency=3), expected, 0


SEE_THROUGH = {name: (data, expected, most) for name, data, expected, most in see_through()}


def others():
    image = Image.fromarray(UPRIGHT)
    deep = (GREY[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    yield "CMYK JPEG", encode_image(image.convert("CMYK"), "JPEG")
    yield "CMYK TIFF", encode_image(image.convert("CMYK"), "TIFF")
    yield "grey JPEG", encode_image(image.convert("L"), "JPEG")
    yield "progressive JPEG", encode_image(image, "JPEG", progressive=True, exif=exif(6))
    yield "RGB JPEG", encode_image(image, "JPEG", keep_rgb=True)
    ycck = bytearray(encode_image(image.convert("CMYK"), "JPEG"))
    ycck[ycck.index(b"Adobe") + 11] = 2
    yield "YCCK JPEG", bytes(ycck)
    yield "ICC JPEG", encode_image(image, "JPEG", icc_profile=b"\0" * 200)
    yield "MPO", encode_image(image, "MPO", save_all=True, append_images=[image], exif=exif(6))
    yield "16-bit PNG", encode_image(Image.fromarray(deep), "PNG")
    yield "16-bit TIFF", encode_image(Image.fromarray(deep), "TIFF", exif=exif(6))
    big = Image.frombytes("I;16B", (WIDTH, HEIGHT), deep.astype(">u2").tobytes())
    yield "16-bit TIFF, big-endian", encode_image(big, "TIFF")
    yield "netpbm grey", encode_image(image.convert("L"), "PPM")
    yield "netpbm grey text", b"P2 2 2 15\n0 15 7 1\n"
    yield "netpbm grey 16 bits", b"P5\n64 48\n65535\n" + deep.astype(">u2").tobytes()
    yield "netpbm grey 10 bits", b"P5\n64 48\n1023\n" + (deep >> 6).astype(">u2").tobytes()
    yield "netpbm black and white", encode_image(image.convert("1"), "PPM")
    yield "HEIC grey", (HEIC / "grey.heic").read_bytes()
    yield "AVIF grey", encode_image(image.convert("L"), "AVIF")


FILES = TURNED | {name: data for name, (data, *_) in SEE_THROUGH.items()} | dict(others())


def everything(size):
    return None, max(size)


def readings(data, folder):
    """What each way of reading makes of a picture, int [H, W, 3], by its name."""
    file = folder / "picture"
    file.write_bytes(data)
    yield "open_image", np.asarray(open_image(io.BytesIO(data)))
    yield "a path", np.asarray(open_image(file))
    yield "fast", open_pixels(io.BytesIO(data), everything)
    yield "fast, a path", open_pixels(file, everything)
    frame = pl.DataFrame({"path": ["picture"], "label": "a", "split": "train"})
    for seed in (None, 0):
        table = ImageTable(Table(frame, folder), to_tensor, seed=seed)
        yield f"a table, seed {seed}", table[0].image.permute(1, 2, 0).numpy()
    cache = Cache(folder / "cache", 1000, 10**9)
    for _ in range(2):
        yield "the cache", cache.get(str(file), None, everything)
    if not format_needs_a_plugin(data):
        yield "Pillow's picture", np.asarray(as_pillow_image(Image.open(io.BytesIO(data))))
        yield "Pillow's copy", np.asarray(as_pillow_image(Image.open(file)))


def format_needs_a_plugin(data):
    return data[4:8] == b"ftyp" and data[8:10] == b"he"


@pytest.mark.parametrize("name", FILES)
def test_every_reader_sees_the_same(name, tmp_path):
    data = FILES[name]
    expected = np.asarray(open_image(io.BytesIO(data)))
    size = expected.shape[1::-1]
    for how, found in readings(data, tmp_path):
        assert found.shape == expected.shape, how
        assert (found == expected).all(), how
    file = tmp_path / "picture"
    for read in (check_by_decoding, check_header):
        assert (read(file).width, read(file).height) == size
    assert image_size(io.BytesIO(data)) == size
    assert shrink_image(file, None, tmp_path / "small.jpg", 1000, 90) == size


@pytest.mark.parametrize("name", TURNED)
def test_photos_come_out_upright(name):
    found = np.asarray(open_image(io.BytesIO(TURNED[name]))).astype(int)
    assert found.shape == UPRIGHT.shape
    assert abs(found - UPRIGHT).max() <= TOLERANCE.get(name.split()[0], 0)


@pytest.mark.parametrize("name", SEE_THROUGH)
def test_what_is_transparent_lies_over_white(name):
    data, expected, most = SEE_THROUGH[name]
    found = np.asarray(open_image(io.BytesIO(data))).astype(int)
    if most is None:  # only what is transparent is known
        assert (found[expected == 255] == 255).all()
    elif most:
        middle = slice(WIDTH // 2 - 8, WIDTH // 2 + 8)  # lossy formats blur the border
        found[:, middle] = expected[:, middle]
        assert abs(found - expected).max() <= most
    else:
        assert (found == expected).all()


@pytest.mark.parametrize("bits", ["netpbm grey 16 bits", "netpbm grey 10 bits", "16-bit PNG"])
def test_deep_grey_is_scaled(bits):
    found = np.asarray(open_image(io.BytesIO(FILES[bits]))).astype(int)
    assert abs(found - GREY).max() <= 1


def test_a_box_is_cut_out_of_the_upright_photo():
    for name in ("JPEG XMP 6", "PNG XMP at the end 6", "TIFF XMP 6, form 0", "TIFF XMP 6, form 1", "HEIC 6"):
        data = TURNED[name]
        whole = np.asarray(open_image(io.BytesIO(data)))
        for read in (open_image(io.BytesIO(data), (40, 5, 60, 45)), None):
            part = open_pixels(io.BytesIO(data), everything, (40, 5, 60, 45)) if read is None else read
            assert (np.asarray(part) == whole[5:45, 40:60]).all(), name


def refusal(data, read=open_image):
    with pytest.raises(ImageError) as caught:
        read(io.BytesIO(data))
    return caught.value.reason


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("read", [open_image, image_size])
def test_pictures_that_would_fill_the_memory_are_refused_by_their_header(read):
    side = int(MAX_PIXELS**0.5) + 1
    assert "too large" in refusal(f"P5\n{side} {side}\n255\n".encode(), read)
    assert "too large" in refusal(f"P1 {side} {side} ".encode(), read)
    avif = encode_image(Image.fromarray(UPRIGHT), "AVIF")
    heic = (HEIC / "upright.heic").read_bytes()
    for data in (avif, heic):
        place = data.index(b"ispe") + 8
        bomb = data[:place] + struct.pack(">II", side, side) + data[place + 8 :]
        if read is open_image or b"avif" in data[:32]:
            assert refusal(bomb)


@pytest.mark.parametrize("name", ["HEIC upright", "AVIF EXIF 1", "netpbm colour", "netpbm 16 bits"])
def test_files_that_were_cut_off_are_refused(name):
    data = TURNED[name]
    for end in {*range(1, len(data) - 1, 37), len(data) - 30}:
        assert refusal(data[:end])


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera raw file"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio"),
        (b"P7\nWIDTH 2\n", "begins with"),
    ],
)
def test_what_is_no_picture_is_named(data, word):
    assert word in refusal(data)


def test_without_pi_heif_the_reason_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pi_heif", None)
    assert "pip install pi-heif" in refusal((HEIC / "upright.heic").read_bytes())


def test_a_float_tiff_is_refused_with_the_way_out():
    reason = refusal(encode_image(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"))
    assert "8 or 16 bits" in reason
