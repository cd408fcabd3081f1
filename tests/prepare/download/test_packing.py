"""`prepare shards`: the same rows and the same pixels, in tar files."""

import hashlib
import json
import os
import shutil
import tarfile

import numpy as np
import polars as pl
import pytest
from sharding import SPLITS, make_dataset, pack

from lookalike.cli import main
from lookalike.data.images import ImageTable, open_image
from lookalike.data.shards import parse_member
from lookalike.data.table import read_table
from lookalike.data.thumbnails import Thumbnails
from lookalike.prepare.download import shards
from lookalike.prepare.download.shards import Packing, member_names


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, shapes_folder):
    return make_dataset(tmp_path_factory.mktemp("packing"), shapes_folder)


@pytest.fixture(scope="module")
def packed_folder(dataset):
    out = dataset.parent.parent / "elsewhere" / "packed"
    assert pack(dataset, out, "megabytes=0.02") == 0
    return out


def pixels(table):
    return [np.asarray(open_image(table.file(row), table.box(row))) for row in range(len(table))]


def test_the_same_rows_and_the_same_pixels(dataset, packed_folder):
    old, new = read_table(dataset), read_table(packed_folder)
    assert new.frame.drop("path").equals(old.frame.drop("path"))
    assert new.frame.columns == old.frame.columns
    for one, other in zip(pixels(old), pixels(new), strict=True):
        assert np.array_equal(one, other)
    assert new.frame["path"][3] == new.frame["path"][7], "two boxes of one file share a member"
    assert new.frame["path"].n_unique() == 16
    assert [file.name for file in packed_folder.parent.iterdir()] == ["packed"]


def test_plain_tar_files_of_limited_size_with_unchanged_bytes_in_the_order_of_the_table(
    dataset, packed_folder
):
    old, new = read_table(dataset), read_table(packed_folder)
    files = sorted(packed_folder.glob("*.tar"))
    assert len(files) > 1 and max(file.stat().st_size for file in files) <= 20_000
    names = []
    for file in files:
        with tarfile.open(file) as tar:
            for info in tar:
                names.append(info.name)
                assert (info.mtime, info.uid, info.mode) == (0, 0, 0o644)
                row = [parse_member(path).name for path in new.frame["path"]].index(info.name)
                assert tar.extractfile(info).read() == old.file(row).read_bytes()
    assert names == [f"{label}/{number}.png" for label in SPLITS for number in range(4)]


def test_the_sums_are_right_and_the_same_twice(dataset, packed_folder, tmp_path):
    about = json.loads((packed_folder / "shards.json").read_text())
    assert about["images"] == 16
    listed = {one["file"]: one for one in about["files"]}
    assert set(listed) | {"shards.json"} == {file.name for file in packed_folder.iterdir()}
    for name, one in listed.items():
        data = (packed_folder / name).read_bytes()
        assert (one["bytes"], one["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert pack(dataset, tmp_path / "again", "megabytes=0.02") == 0
    again = json.loads((tmp_path / "again" / "shards.json").read_text())
    tars = [one for one in about["files"] if one["file"].endswith(".tar")]
    assert [one for one in again["files"] if one["file"].endswith(".tar")] == tars


def test_pairs_come_along(packed_folder):
    table = read_table(packed_folder).frame["path"]
    for name in ("pairs.csv", "different.csv"):
        pairs = pl.read_csv(packed_folder / name)
        assert pairs["path_a"].to_list() == table[:3].to_list()
        assert pairs["path_b"].to_list() == table[10:13].to_list()
    assert "same" in pl.read_csv(packed_folder / "pairs.csv").columns


def test_shards_of_shards_and_of_several(dataset, packed_folder, tmp_path):
    """Packed again, moved, and joined with another set: still the same pixels."""
    assert pack(packed_folder, tmp_path / "again", "megabytes=1") == 0
    again = read_table(tmp_path / "again")
    assert [path.split("/")[0] for path in again.frame["path"].unique()] == ["shard-00000.tar"] * 16
    for one, other in zip(pixels(read_table(dataset)), pixels(again), strict=True):
        assert np.array_equal(one, other)
    assert [parse_member(path).name for path in again.frame["path"][:2]] == [
        "red triangle/0.png",
        "red triangle/1.png",
    ]
    words = [f"out={tmp_path / 'both'}", "prefixes=[a/,b/]", "contents=false"]
    assert main.main(["prepare", "merge", str(dataset), str(tmp_path / "again"), *words]) == 0
    assert pack(tmp_path / "both", tmp_path / "mixed") == 0
    mixed = read_table(tmp_path / "mixed")
    assert len(mixed) == 34 and mixed.frame["path"].n_unique() == 32
    for one, other in zip(pixels(read_table(tmp_path / "both")), pixels(mixed), strict=True):
        assert np.array_equal(one, other)


def test_what_cannot_be_read_is_left_out_and_shifts_nothing(dataset, tmp_path, caplog):
    shutil.copytree(dataset.parent.parent, tmp_path / "own")
    own = tmp_path / "own" / "data" / "mine"
    photos = tmp_path / "own" / "photos" / "red triangle"
    (photos / "0.png").unlink()
    (photos / "1.png").write_bytes(b"")
    (photos / "3.png").write_text("<html>")
    (photos / "2.png").rename(photos / "large.png")
    (photos / "2.png").symlink_to("large.png")
    out = tmp_path / "packed"
    assert pack(own, out) == 0
    old, new = read_table(own, files=False), read_table(out)
    kept = [row for row in range(17) if row not in (0, 1, 3, 7)]
    assert new.frame.drop("path").equals(old.take(kept).frame.drop("path"))
    for one, other in zip(pixels(old.take(kept)), pixels(new), strict=True):
        assert np.array_equal(one, other)
    skipped = pl.read_csv(out / "skipped.csv")
    assert skipped["row"].to_list() == [0, 1, 3, 7]
    assert skipped["reason"][0] == "there is no such file"
    assert skipped["path"][0].endswith("red triangle/0.png")
    assert "4 left out" in caplog.text
    assert len(pl.read_csv(out / "different.csv")) == 1, "the pairs whose two images are there"


def test_too_much_lost_is_refused_and_nothing_is_left(dataset, tmp_path, capsys):
    shutil.copytree(dataset.parent.parent, tmp_path / "own")
    shutil.rmtree(tmp_path / "own" / "photos" / "red triangle")
    out = tmp_path / "new" / "packed"
    assert pack(tmp_path / "own" / "data" / "mine", out, "max_skipped=0.1") == 1
    assert "5 of 17 images cannot be used, more than max_skipped=0.1 allows" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []
    shutil.rmtree(tmp_path / "own" / "photos")
    assert pack(tmp_path / "own" / "data" / "mine", out, "max_skipped=1") == 1
    assert "17 of 17 images cannot be used" in capsys.readouterr().err


def test_a_full_disk_is_found_out_first(dataset, tmp_path, monkeypatch, set_free_bytes, capsys):
    set_free_bytes(70 << 20)
    read = []
    monkeypatch.setattr(shards, "_content", read.append)
    monkeypatch.setattr(shards, "_size", lambda file: 10**9)
    assert pack(dataset, tmp_path / "packed") == 1
    assert "16.0 GB more are required for the shards, 0.1 GB are free" in capsys.readouterr().err
    assert not read and list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing(dataset, tmp_path, monkeypatch, capsys):
    def full(tars, name, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards._Tars, "add", full)
    assert pack(dataset, tmp_path / "packed") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_refused(dataset, packed_folder, capsys):
    assert pack(dataset, packed_folder) == 1
    assert "exists; finished results are never overwritten" in capsys.readouterr().err


def test_memory_is_bounded_by_what_is_read_ahead(dataset, tmp_path, monkeypatch):
    """Far fewer bytes wait than the images have together."""
    monkeypatch.setattr(shards, "AHEAD", 1000)
    table = read_table(dataset)
    work = Packing(table, tmp_path / "out", tmp_path, 10**6, threads=2)
    waiting, most = [0], [0]
    true_read, true_add = shards._content, shards._Tars.add

    def read(file):
        found = true_read(file)
        waiting[0] += len(found[0])
        most[0] = max(most[0], waiting[0])
        return found

    def add(tars, name, data):
        waiting[0] -= len(data)
        return true_add(tars, name, data)

    monkeypatch.setattr(shards, "_content", read)
    monkeypatch.setattr(shards._Tars, "add", add)
    assert len(list(work)) == 16
    largest = max(table.file(row).stat().st_size for row in range(len(table)))
    assert most[0] <= 1000 + 2 * largest


def test_names_inside():
    names = member_names(["/a/b/x/1.jpg", "/a/b/y.tar/@512+9/x/1.jpg", "/a/b/y.tar/@512+9/z/2.jpg"])
    assert names == ["x/1.jpg", "1/x/1.jpg", "z/2.jpg"]
    assert member_names(["/a/b/1.jpg"]) == ["1.jpg"]
    hostile = member_names(["/a/b/s.tar/@512+9/../../../etc/passwd", "/a/b/c.jpg"])
    assert all(".." not in name.split("/") and not name.startswith("/") for name in hostile)


def test_a_batch_of_training_is_the_same(dataset, packed_folder):
    from lookalike.data.random_crop import RandomCrop

    batches = [
        ImageTable(read_table(folder), RandomCrop(32), seed=3).__getitems__(list(range(17)))
        for folder in (dataset, packed_folder)
    ]
    assert batches[0].images.equal(batches[1].images)
    assert not batches[1].skipped


def test_the_small_pictures_of_reports_are_the_same(dataset, packed_folder):
    old, new = (Thumbnails(read_table(folder), 24) for folder in (dataset, packed_folder))
    assert old.load(range(17)) == new.load(range(17))
    assert not new.problems
    assert new.path(0) == "shard-00000.tar/red triangle/0.png", "for people: without the place of its bytes"


@pytest.mark.parametrize("change", ["cut", "mixed"])
def test_a_damaged_shard_costs_its_own_images_only(packed_folder, tmp_path, change):
    from lookalike.data.random_crop import RandomCrop

    shutil.copytree(packed_folder, tmp_path / "own")
    images = ImageTable(read_table(tmp_path / "own"), RandomCrop(32), seed=3)
    first = tmp_path / "own" / "shard-00000.tar"
    if change == "cut":
        os.truncate(first, 5000)
    else:
        shutil.copy(tmp_path / "own" / "shard-00001.tar", first)
    batch = images.__getitems__(list(range(17)))
    whole = ImageTable(read_table(packed_folder), RandomCrop(32), seed=3).__getitems__(list(range(17)))
    bad = [problem.row for problem in batch.skipped]
    assert 0 < len(bad) < 17
    assert all("shard-00000.tar/@" in problem.path and "shard" in problem.reason for problem in batch.skipped)
    good = [row for row in range(17) if row not in bad]
    assert batch.rows.tolist() == good
    assert batch.images.equal(whole.images[good])
    if change == "cut":
        with pytest.raises(Exception, match="rows are invalid") as caught:
            read_table(tmp_path / "own")
        assert "truncated" in str(caught.value)


def test_the_jobs_take_it_as_a_folder(packed_folder, dataset, tmp_path, monkeypatch, capsys):
    """Split, filter, stats, sheet and a prepared table with small images, from shards."""
    monkeypatch.chdir(tmp_path)
    assert (
        main.main(["prepare", "split", f"dataset={packed_folder}", "split=images", "out=split", "test=0.5"])
        == 0
    )
    assert sorted(map(hash, map(bytes, pixels(read_table("split"))))) == sorted(
        map(hash, map(bytes, pixels(read_table(dataset))))
    )
    (tmp_path / "keep.txt").write_text("blue hexagon/1.png\nred triangle\n")
    assert main.main(["prepare", "filter", f"dataset={packed_folder}", "keep=keep.txt", "out=few"]) == 0
    assert read_table("few").frame["label"].to_list() == ["red triangle"] * 5 + ["blue hexagon"]
    assert (
        main.main(
            ["prepare", "stats", f"dataset={packed_folder}", "out=stats", "duplicates=true", "workers=0"]
        )
        == 0
    )
    numbers = json.loads((tmp_path / "stats" / "stats.json").read_text())
    assert numbers["formats"]["by_content"] == {"PNG": 16} and numbers["formats"]["with_another_ending"] == 0
    files = {dataset / path for path in read_table(dataset).frame["path"]}
    assert numbers["formats"]["bytes"] == sum(file.stat().st_size for file in files)
    assert main.main(["prepare", "sheet", f"dataset={packed_folder}", "out=sheet", "progress=false"]) == 0
    assert not (tmp_path / "sheet" / "skipped.csv").exists()
    words = [
        "source=table",
        f"source.file={packed_folder / 'table.parquet'}",
        "out=small",
        "shrink=16",
        "workers=0",
    ]
    assert main.main(["prepare", *words, "progress=false"]) == 0
    small = read_table("small")
    assert all(min(open_image(small.file(row)).size) == 16 for row in range(len(small)))


def test_a_wrong_key_is_refused(dataset, tmp_path):
    assert pack(dataset, tmp_path / "x", "megabytes=0") == 2
