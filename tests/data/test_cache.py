import errno
import logging
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from lookalike.data import cache as cache_module
from lookalike.data.augment import Augment
from lookalike.data.cache import Cache, shrink_picture
from lookalike.data.images import ImageTable
from lookalike.data.random_crop import RandomCrop
from lookalike.data.table import Table
from lookalike.errors import ImageError


def whole(size):
    return None, None


@pytest.fixture
def photo(tmp_path):
    x, y = np.meshgrid(np.linspace(0, 255, 120), np.linspace(0, 255, 90))
    file = tmp_path / "photo.jpg"
    Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8)).save(file, quality=95)
    return str(file)


@pytest.fixture
def decoded_files(monkeypatch):
    """The files that were decoded."""
    files, true = [], cache_module.open_pixels
    monkeypatch.setattr(
        cache_module, "open_pixels", lambda file, *rest: files.append(file) or true(file, *rest)
    )
    return files


def entries(cache):
    return sorted(cache.folder.glob("*/*.raw"))


@pytest.mark.parametrize("box", [None, (10, 5, 110, 65)])
def test_what_comes_out_is_what_went_in(photo, tmp_path, decoded_files, box):
    first = Cache(tmp_path / "cache", 30, 10**9)
    found = first.get(photo, box, whole)
    assert min(found.shape[:2]) == 30
    for cache in (first, first, Cache(tmp_path / "cache", 30, 10**9)):
        again = cache.get(photo, box, whole)
        assert (again == found).all()
        part = cache.get(photo, box, lambda size: ((3, 4, 13, 24), 5))
        assert (part == found[4:24, 3:13]).all()
        assert part.flags.writeable
    assert len(decoded_files) == 1
    assert len(entries(first)) == 1


def test_pictures_are_shrunk_once_and_small_ones_left(photo):
    small = shrink_picture(np.array(Image.open(photo)), 30)
    assert small.shape == (30, 40, 3)
    expected = np.asarray(Image.open(photo).resize((40, 30), Image.Resampling.BICUBIC)).astype(int)
    assert abs(expected - small).max() <= 2
    assert shrink_picture(small, 30) is small
    assert shrink_picture(small, 31).shape == small.shape


def test_each_of_path_time_size_box_and_side_makes_another_entry(photo, tmp_path, decoded_files):
    cache = Cache(tmp_path / "cache", 30, 10**9)
    cache.get(photo, None, whole)
    cache.get(photo, (0, 0, 50, 50), whole)
    Cache(tmp_path / "cache", 31, 10**9).get(photo, None, whole)
    os.utime(photo, ns=(1, 1))
    cache.get(photo, None, whole)
    Path(photo).write_bytes(Path(photo).read_bytes() + b"x")
    os.utime(photo, ns=(1, 1))
    cache.get(photo, None, whole)
    other = Path(photo).with_name("other.jpg")
    Path(photo).rename(other)
    cache.get(str(other), None, whole)
    assert len(decoded_files) == len(entries(cache)) == 6
    with pytest.raises(ImageError, match="no such file"):
        cache.get(photo, None, whole)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:7],
        lambda raw: b"",
        lambda raw: raw[:100] + bytes([raw[100] ^ 1]) + raw[101:],
        lambda raw: b"other" + raw[5:],
        lambda raw: raw[:8] + b"\xff" * 8 + raw[16:],
    ],
)
def test_a_damaged_entry_is_made_anew(photo, tmp_path, decoded_files, damage):
    cache = Cache(tmp_path / "cache", 30, 10**9)
    expected = cache.get(photo, None, whole)
    entry = entries(cache)[0]
    raw = entry.read_bytes()
    entry.write_bytes(damage(raw))
    again = Cache(tmp_path / "cache", 30, 10**9)
    assert (again.get(photo, None, whole) == expected).all()
    assert entry.read_bytes() == raw
    assert len(decoded_files) == 2


def test_a_full_disk_is_said_once_and_costs_nothing_else(photo, tmp_path, monkeypatch, caplog):
    def full(path, write):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module, "replace_file", full)
    cache = Cache(tmp_path / "cache", 30, 10**9)
    with caplog.at_level(logging.WARNING):
        found = [cache.get(photo, None, whole) for _ in range(3)]
    assert all((each == found[0]).all() for each in found)
    assert caplog.text.count("No space left on device") == 1
    assert not entries(cache)


def test_it_stops_at_its_limit(photo, tmp_path, caplog):
    limit = 2 * (3 * 30 * 40 + 100)
    cache = Cache(tmp_path / "cache", 30, limit)
    for top in range(4):
        cache.get(photo, (0, top, 120, top + 80), whole)
    assert sum(entry.stat().st_size for entry in entries(cache)) <= limit
    assert caplog.text.count("reached its limit") == 1
    kept = len(entries(cache))
    assert kept >= 1
    later = Cache(tmp_path / "cache", 30, limit)
    later.get(photo, (0, 9, 120, 89), whole)
    assert len(entries(later)) == kept


@pytest.mark.parametrize("transform", [RandomCrop(24), Augment(24), lambda image: torch.tensor(image.size)])
def test_a_table_reads_through_it(photo, tmp_path, decoded_files, transform):
    frame = pl.DataFrame({"path": ["photo.jpg", "gone.jpg"], "label": ["a", "b"], "split": "train"})
    cache = Cache(tmp_path / "cache", 30, 10**9)
    images = ImageTable(Table(frame, tmp_path), transform, seed=0, cache=cache, memory=0)
    first = images.__getitems__([0, 1])
    second = images.__getitems__([0, 1])
    assert torch.equal(first.images, second.images)
    assert [problem.row for problem in second.skipped] == [1]
    assert decoded_files.count(photo) == 1


def test_a_cache_of_smaller_pictures_than_the_model_sees_is_said(tmp_path, caplog):
    from lookalike.training.assemble import open_cache
    from lookalike.training.settings import CacheSettings

    for side, said in ((None, False), (64, False), (32, True)):
        caplog.clear()
        open_cache(CacheSettings(tmp_path / "cache", side, 1.0), image_size=64)
        assert ("cache_side=32 is less than image_size=64" in caplog.text) == said
