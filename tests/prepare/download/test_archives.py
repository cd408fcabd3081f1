"""Archives from an enemy are refused, and leave nothing, inside the folder or out of it."""

import contextlib
import gzip
import io
import os
import random
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile

import pytest
from layouts import names, tar_bytes, zip_bytes

from lookalike.errors import DataError
from lookalike.prepare.download import archives
from lookalike.prepare.download.archives import Limits, unpack

FILES = {"set/a.jpg": b"one" * 1000, "set/b/c.jpg": b"two", "list.txt": b"", "set/Ж é.jpg": b"3"}


@pytest.fixture
def archive_folder(tmp_path):
    """A folder of archives, watched: nothing may appear but what a test expects."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def contents(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def assert_refused(place, data, wrong, limits=None, name="x"):
    (place / name).write_bytes(data)
    before = names(place.parent), names(place)
    with pytest.raises(DataError, match=wrong):
        unpack(place / name, place / "out", limits=limits)
    assert (names(place.parent), names(place)) == before, "nothing is left"


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_good_ones_whatever_their_name(archive_folder, kind):
    (archive_folder / "x").write_bytes(zip_bytes(FILES) if kind == "zip" else tar_bytes(FILES, kind))
    told = []
    unpack(archive_folder / "x", archive_folder / "out", lambda done, total: told.append((done, total)))
    assert contents(archive_folder / "out") == FILES
    assert told[-1][0] <= told[-1][1]
    assert all(
        not file.stat().st_mode & 0o111 for file in (archive_folder / "out").rglob("*") if file.is_file()
    )


def test_one_with_folders_and_a_backslash(archive_folder):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.mkdir("empty")
        archive.writestr("win\\dows\\a.txt", b"x")
        archive.writestr("./dot/b.txt", b"y")
    (archive_folder / "x").write_bytes(stream.getvalue())
    unpack(archive_folder / "x", archive_folder / "out")
    assert contents(archive_folder / "out") == {"win/dows/a.txt": b"x", "dot/b.txt": b"y"}


@pytest.mark.parametrize(
    "name",
    [
        "../out.txt",
        "a/../../out.txt",
        "/etc/out.txt",
        "C:/out.txt",
        "c:out.txt",
        "..\\out.txt",
        "\\\\host\\share\\x",
    ],
)
@pytest.mark.parametrize("pack", [zip_bytes, tar_bytes])
def test_outside(archive_folder, name, pack):
    assert_refused(archive_folder, pack({"good.txt": b"x", name: b"x"}), "would be written outside")


@pytest.mark.parametrize("name", ["a\x01b", "a" * 5000, "a\nb"])
def test_names_that_are_none(archive_folder, name):
    assert_refused(archive_folder, tar_bytes({name: b"x"}), "is not a valid file name")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar(archive_folder, kind):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        entry = tarfile.TarInfo("way_out")
        entry.type, entry.linkname = kind, "/etc"
        archive.addfile(entry)
        archive.addfile(tarfile.TarInfo("way_out/x"))
    assert_refused(archive_folder, stream.getvalue(), "'way_out' is a link or a device")


def test_links_in_a_zip(archive_folder):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        entry = zipfile.ZipInfo("way_out")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc")
    assert_refused(archive_folder, stream.getvalue(), "'way_out' is a link or a device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("other", ["a/x.jpg", "A/X.JPG", "a//x.jpg", "a/./x.jpg"])
def test_a_name_twice(archive_folder, other):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/x.jpg", b"1")
        archive.writestr(other, b"2")
    assert_refused(archive_folder, stream.getvalue(), "occurs in it twice, or in upper and lower case")


def test_composed_and_decomposed_names(archive_folder):
    assert_refused(archive_folder, tar_bytes({"caf\u00e9": b"1", "cafe\u0301": b"2"}), "occurs in it twice")


@pytest.mark.parametrize("both", [("a", "a/b"), ("a/b", "a")])
def test_a_file_and_a_folder_at_once(archive_folder, both):
    assert_refused(archive_folder, zip_bytes(dict.fromkeys(both, b"x")), "is a file and a folder at once")


def test_bombs(archive_folder):
    small = Limits(growth=10.0, free=1 << 20)
    zeros = {"zeros": bytes(8 << 20)}
    for pack in (zip_bytes, tar_bytes):
        assert_refused(archive_folder, pack(zeros), "a decompression bomb", small)
    assert_refused(
        archive_folder,
        zip_bytes({f"{number}": b"" for number in range(30)}),
        "more than 20 files",
        Limits(files=20),
    )
    assert_refused(
        archive_folder,
        tar_bytes({f"{number}": b"" for number in range(30)}),
        "more than 20 files",
        Limits(files=20),
    )
    assert_refused(archive_folder, tar_bytes({"a": b"x" * 5000}), "more than 4,000", Limits(size=4000))


def test_a_bomb_behind_the_end_of_a_tar(archive_folder):
    data = gzip.compress(tar_bytes({"a": b"x"}, "w") + bytes(8 << 20))
    assert_refused(archive_folder, data, "a decompression bomb", Limits(growth=10.0, free=1 << 20))


def test_a_zip_that_lies_about_its_sizes(archive_folder):
    data = bytearray(zip_bytes({"a": b"x" * 100_000}))
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        struct.pack_into("<I", data, data.index(signature) + offset, 10)
    assert_refused(archive_folder, bytes(data), "damaged or truncated|are declared")
    data = bytearray(zip_bytes({"a": b"x" * 100}))
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 3_000_000_000)
    assert_refused(archive_folder, bytes(data), "a decompression bomb")


def test_a_disk_that_is_too_small(archive_folder, monkeypatch):
    monkeypatch.setattr(
        archives.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, (64 << 20) + 100)
    )
    assert_refused(archive_folder, zip_bytes({"a": b"x" * 1000}), "than the 0.0 GB of free disk space")
    assert_refused(archive_folder, tar_bytes({"a": b"x" * 1000}), "free some space")


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_halves(archive_folder, kind):
    files = {f"{number}.jpg": os.urandom(4096) for number in range(20)}
    data = zip_bytes(files) if kind == "zip" else tar_bytes(files, kind)
    for share in (0.03, 0.3, 0.5, 0.9):
        assert_refused(
            archive_folder, data[: int(len(data) * share)], "damaged or truncated|end-of-archive marker"
        )


def test_a_tar_cut_between_two_files(archive_folder):
    files = {f"{number}.jpg": bytes([number]) * 512 for number in range(20)}
    assert_refused(archive_folder, tar_bytes(files, "w")[: 10 * 1024], "no end-of-archive marker")


def test_damage_is_found(archive_folder):
    noise = {"a.jpg": os.urandom(50_000)}
    packed = [tar_bytes(noise, kind) for kind in ("w:gz", "w:bz2", "w:xz")]
    for data in map(bytearray, [zip_bytes(noise), *packed]):
        data[len(data) // 2] ^= 1
        assert_refused(archive_folder, bytes(data), "damaged or truncated")


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz"])
def test_random_damage_never_leaves_the_folder(archive_folder, kind):
    whole = zip_bytes(FILES) if kind == "zip" else tar_bytes(FILES, kind)
    rng = random.Random(kind)
    for number in range(60):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.choice([0, 46, 47, 50, 255, rng.randrange(256)])
        (archive_folder / "x").write_bytes(data)
        with contextlib.suppress(DataError):
            unpack(archive_folder / "x", archive_folder / "out" / str(number), limits=Limits(free=1 << 20))
        assert names(archive_folder.parent) == ["in"]
        assert set(names(archive_folder)) <= {"out", "x"}
        if (archive_folder / "out").exists():
            assert set(names(archive_folder / "out")) <= {str(number)}, "nothing half is left"
            shutil.rmtree(archive_folder / "out")


def test_other_things(archive_folder):
    for data in (b"", b"404: not found", b"PK", b"\1" * 3000):
        assert_refused(archive_folder, data, "damaged or truncated|end-of-archive marker")


def test_encrypted(archive_folder):
    data = bytearray(zip_bytes({"a": b"x"}))
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(signature) + offset] |= 1
    assert_refused(archive_folder, bytes(data), "encrypted; unpack it yourself")


def test_pieces_of_a_zip(archive_folder):
    data = zip_bytes({"a": os.urandom(20_000), "b/c": b"x"})
    parts = [archive_folder / f"x.zip.{number:03}" for number in (1, 2, 3)]
    for number, part in enumerate(parts):
        part.write_bytes(data[number * 7000 : (number + 1) * 7000])
    unpack(parts, archive_folder / "out")
    assert set(contents(archive_folder / "out")) == {"a", "b/c"}
    with pytest.raises(DataError, match=r"x.zip.001 … x.zip.002: damaged or truncated"):
        unpack([parts[0], parts[2], parts[1]], archive_folder / "other")
    with pytest.raises(DataError, match="damaged or truncated"):
        unpack(parts[:2], archive_folder / "other")


@pytest.mark.skipif(shutil.which("zip") is None, reason="no zip on this machine")
def test_a_zip_across_disks(archive_folder):
    files = {f"{number}.bin": os.urandom(50_000) for number in range(6)}
    for name, content in files.items():
        (archive_folder / name).write_bytes(content)
    subprocess.run(["zip", "-q", "-s", "64k", "x.zip", *files], cwd=archive_folder, check=True)
    parts = [*sorted(archive_folder.glob("x.z0*")), archive_folder / "x.zip"]
    assert len(parts) == 5
    unpack(parts, archive_folder / "out")
    assert contents(archive_folder / "out") == files
    with pytest.raises(DataError, match="has 5 parts, but 4 are present"):
        unpack(parts[1:], archive_folder / "other")
    with pytest.raises(DataError, match="has 5 parts, but 1 are present"):
        unpack(parts[-1], archive_folder / "other")


def test_a_folder_that_exists_is_left_alone(archive_folder):
    (archive_folder / "x").write_bytes(zip_bytes(FILES))
    (archive_folder / "out").mkdir()
    (archive_folder / "out" / "mine").touch()
    with pytest.raises(Exception, match="exists"):
        unpack(archive_folder / "x", archive_folder / "out")
    assert names(archive_folder / "out") == ["mine"]


def entry(name, data=b"", **known):
    made = tarfile.TarInfo(name)
    made.size = len(data)
    for key, value in known.items():
        setattr(made, key, value)
    return made, io.BytesIO(data)


def tar_of(*entries):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for made, data in entries:
            archive.addfile(made, data)
    return stream.getvalue()


def test_headers_that_would_fill_the_memory(archive_folder):
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        data = tar_of(entry("x", bytes(2 << 20), type=kind), entry("a", b"x"))
        assert_refused(archive_folder, data, "has a header of 2,097,152 bytes")


def test_sparse_files(archive_folder):
    sizes = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99"}
    assert_refused(
        archive_folder,
        tar_of(entry("a", b"1\n0\n1\n".ljust(512, b"\0"), pax_headers=sizes)),
        "is a sparse file",
    )
    assert_refused(
        archive_folder, tar_of(entry("a", bytes(512), type=tarfile.GNUTYPE_SPARSE)), "is a sparse file"
    )


def test_a_header_that_gives_another_name(archive_folder):
    data = tar_of(entry("a", b"x", pax_headers={"path": "../../out.txt"}))
    assert_refused(archive_folder, data, "would be written outside")


@pytest.mark.parametrize("name", ["b" * 300, "a/" * 80 + "x"])
@pytest.mark.parametrize("pack", [zip_bytes, tar_bytes])
def test_names_longer_than_a_disk_takes(archive_folder, name, pack):
    assert_refused(archive_folder, pack({name: b"x"}), "is not a valid file name")


def test_a_name_with_a_zero_byte(archive_folder):
    assert_refused(
        archive_folder, zip_bytes({"a.txt": b"x"}).replace(b"a.txt", b"a\0txt"), "is not a valid file name"
    )


@pytest.mark.parametrize(
    ("encoding", "read"), [("utf-8", ["José", "雪碧"]), ("gbk", ["Jos¿ª", "╤⌐▒╠"]), ("cp437", ["José", "??"])]
)
def test_names_in_an_encoding_that_is_not_told(archive_folder, encoding, read, caplog):
    raw = [name.encode(encoding, "replace") for name in ("José", "雪碧")]
    data = zip_bytes({letter * len(one): b"x" for letter, one in zip("ab", raw, strict=True)})
    for letter, one in zip(b"ab", raw, strict=True):
        data = data.replace(bytes([letter]) * len(one), one)
    (archive_folder / "x").write_bytes(data)
    unpack(archive_folder / "x", archive_folder / "out")
    assert names(archive_folder / "out") == sorted(read)
    assert ("do not declare an encoding" in caplog.text) == (encoding != "utf-8")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"7z\xbc\xaf'\x1c" + bytes(600), "it is a 7z archive; only zip, tar"),
        (b"Rar!\x1a\x07\x01" + bytes(600), "it is a rar archive"),
        (b"<!doctype html>" + bytes(600), "it is a web page; the download may need a login"),
    ],
)
def test_kinds_that_are_not_opened(archive_folder, data, said):
    assert_refused(archive_folder, data, said)
