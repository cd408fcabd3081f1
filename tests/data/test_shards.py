"""Images in shards: read in their place, by threads and processes, and never another image's bytes."""

import io
import os
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lookalike.data import shards
from lookalike.data.cache import Cache
from lookalike.data.checking import check_frame
from lookalike.data.images import image_size, open_image
from lookalike.data.pixels import open_pixels
from lookalike.data.shards import Member, image_exists, image_status, parse_member, read_member, split_path
from lookalike.data.table import Table
from lookalike.errors import ImageError

NAMES = ["cat/1.jpg", "cat/2.png", f"{'long/' * 40}é 3.jpg", "ключ/猫.jpg", ".tar/@x+1/4.jpg"]


def picture(seed, kind="JPEG", size=(40, 30)):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.fixture
def shard(tmp_path):
    """A shard that Python's tarfile wrote, and by name the path and the bytes of each member."""
    file = tmp_path / "shard-00000.tar"
    images = {name: picture(seed, "PNG" if "png" in name else "JPEG") for seed, name in enumerate(NAMES)}
    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in images.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with tarfile.open(file) as tar:
        places = {info.name: (info.offset_data, info.size) for info in tar}
    return {name: (str(Member(str(file), *places[name], name)), data) for name, data in images.items()}, file


def test_a_path_says_shard_place_and_member(shard):
    images, file = shard
    for name, (path, data) in images.items():
        assert parse_member(path) == parse_member(Path(path))
        assert parse_member(path).name == name and parse_member(path).shard == str(file)
        assert str(parse_member(path)) == path
        assert read_member(parse_member(path)) == data
        assert image_status(path) == (len(data), file.stat().st_mtime_ns)
        assert image_exists(path)
    assert split_path("a/b/s.tar/@512+9/c/d.jpg") == ("a/b", "s.tar/@512+9/c/d.jpg")
    for plain in ("a.jpg", "a.tar/b.jpg", "a.tar/@5/b.jpg", "a.tar/@5+6", "a.tar/@5+6/", "x/@512+3/a.jpg"):
        assert parse_member(plain) is None
        assert split_path(plain) == os.path.split(plain)


def test_every_reader_sees_what_it_sees_in_a_file(shard, tmp_path):
    images, _ = shard
    for path, data in images.values():
        file = tmp_path / "single"
        file.write_bytes(data)
        assert image_size(path) == image_size(file) == (30, 40), "turned by its EXIF data"
        assert open_image(path) == open_image(file)
        box = (3, 5, 20, 25)
        assert open_image(path, box, 8) == open_image(file, box, 8)
        alike = [open_pixels(place, lambda size: ((1, 2, 9, 8), 4), box) for place in (path, str(file))]
        assert np.array_equal(*alike)


def test_an_ordinary_folder_may_be_called_tar(tmp_path):
    place = tmp_path / "holiday.tar" / "@home"
    place.mkdir(parents=True)
    (place / "a.png").write_bytes(picture(0, "PNG"))
    assert open_image(place / "a.png").size == (30, 40)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda path, file: os.truncate(file, 1000),
            "the shard ends after 1,000 bytes, before the image does",
        ),
        (lambda path, file: file.unlink(), "there is no shard .*shard-00000.tar"),
        (
            lambda path, file: path.replace("1.jpg", "9.jpg"),
            "other data there: it was replaced or",
        ),
        (lambda path, file: path.replace("@512", "@513"), "no image can start at byte 513 of a shard"),
        (lambda path, file: path.replace("@512", "@0"), "no image can start at byte 0 of a shard"),
        (lambda path, file: path.replace("@512", "@1024"), "other data there"),
        (lambda path, file: path.replace("@512", "@51200000000000"), "before the image does"),
        (lambda path, file: path.replace("+", "+1"), "before the image does|other data there"),
        (
            lambda path, file: file.write_bytes(os.urandom(file.stat().st_size)) and None,
            "other data there",
        ),
        (lambda path, file: file.rename(file.with_name("x")) and file.mkdir(), "directory|ends after|begins"),
    ],
)
def test_what_is_wrong_is_said_with_shard_and_member(shard, change, why):
    images, file = shard
    path = images["cat/1.jpg"][0]
    changed = change(path, file)
    path = changed if isinstance(changed, str) else path
    for look in (open_image, image_size, lambda path: open_pixels(path, lambda size: (None, None))):
        with pytest.raises(ImageError, match=why) as caught:
            look(path)
        assert caught.value.path == path


def test_damaged_bytes_are_a_damaged_image(shard):
    images, file = shard
    path, _ = images["cat/2.png"]
    with file.open("r+b") as stream:
        stream.seek(parse_member(path).offset + 200)
        stream.write(bytes(20))
    with pytest.raises(ImageError, match="damaged"):
        open_image(path)
    assert open_image(images["cat/1.jpg"][0]).size == (30, 40), "and its neighbours are whole"


def test_a_shard_that_was_replaced_is_read_anew(shard, tmp_path):
    images, file = shard
    path, data = images["cat/1.jpg"]
    assert read_member(parse_member(path)) == data
    new = bytes(reversed(data))
    whole = file.read_bytes().replace(data, new)
    other = tmp_path / "other"
    other.write_bytes(whole)
    other.replace(file)
    assert read_member(parse_member(path)) == new


def test_a_table_is_checked_without_reading_every_member(shard, tmp_path):
    images, _ = shard
    paths = [path.removeprefix(f"{tmp_path}/") for path, _ in images.values()]
    wrong = ["shard-00000.tar/@512+99999999/x", "shard-00000.tar/@7+9/x", "other.tar/@512+9/x"]
    frame = pl.DataFrame({"path": paths + wrong, "label": "a", "split": "train"})
    problems = check_frame(frame, tmp_path, "table.parquet")
    assert [problem.row for problem in problems] == [5, 6, 7]
    assert "it is truncated" in problems[0].reason
    assert "no image can start at byte 7" in problems[1].reason
    assert "there is no such shard" in problems[2].reason
    moved = Table(frame[:5], tmp_path).relative_to(tmp_path / "deep" / "er")
    assert moved.frame["path"].to_list() == [f"../../{path}" for path in paths]


def test_the_cache_knows_members_apart_and_sees_a_change(shard, tmp_path):
    images, file = shard
    cache = Cache(tmp_path / "cache", 16, 10**8)
    want = [path for path, _ in images.values()]
    first = [cache.get(path, None, lambda size: (None, None)) for path in want]
    assert len({picture.tobytes() for picture in first}) == len(want)
    assert len(list(cache.folder.glob("*/*.raw"))) == len(want)
    os.utime(file, ns=(0, 10**18))
    cache.get(want[0], None, lambda size: (None, None))
    assert len(list(cache.folder.glob("*/*.raw"))) == len(want) + 1


def sums(paths):
    return [sum(open_image(path).tobytes()) for path in paths]


def test_threads_and_processes_read_at_once(tmp_path, monkeypatch):
    """More shards than stay open, so that they are closed while others read."""
    monkeypatch.setattr(shards, "_open", shards.lru_cache(3)(lambda file, *version: shards._Shard(file)))
    paths, wanted = [], []
    for number in range(12):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            data = picture(number, "PNG")
            info = tarfile.TarInfo("a.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        paths.append(f"{tmp_path}/{number}.tar/@512+{len(data)}/a.png")
        wanted.append(sum(Image.open(io.BytesIO(data)).convert("RGB").tobytes()))
    orders = [np.random.default_rng(seed).permutation(12) for seed in range(24)]
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir())) if open_files.exists() else 0
    with ThreadPoolExecutor(8) as pool:
        for order, found in zip(orders, pool.map(lambda o: sums([paths[i] for i in o]), orders), strict=True):
            assert found == [wanted[place] for place in order]
    if before:
        assert len(list(open_files.iterdir())) <= before + 3, "none is left open"
    with get_context("fork").Pool(3) as pool:
        assert pool.map(sums, [paths] * 6) == [wanted] * 6


def test_other_programs_read_the_shards(shard, tmp_path):
    images, file = shard
    done = subprocess.run(["tar", "xOf", file, NAMES[2]], capture_output=True, check=True)
    assert done.stdout == images[NAMES[2]][1]
