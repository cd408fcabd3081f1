"""`prepare fetch`: whole, resumed after a cut, checked to the last byte, and never outside its folder."""

import hashlib
import json
import os
import shutil
import sys
import time

import fsspec
import polars as pl
import pytest
from hostile import answer_and_stall, answer_ranges, in_turn, status, trickle
from sharding import make_dataset, pack

from lookalike.cli import main
from lookalike.data.table import read_table
from lookalike.errors import DataError, LookalikeError
from lookalike.prepare.download import dataset
from lookalike.prepare.download.dataset import fetch_dataset, read_sums
from lookalike.prepare.download.file import Expected, Patience
from lookalike.prepare.download.stores import Files, Web, open_store

QUICK = Patience(attempts=3, timeout=1.0, first=0.01, longest=5.0)


@pytest.fixture(scope="module")
def packed_dataset(tmp_path_factory, shapes_folder):
    root = tmp_path_factory.mktemp("fetching")
    assert pack(make_dataset(root, shapes_folder), root / "packed", "megabytes=0.02") == 0
    return root / "packed"


def give(server, folder):
    """Serve the files of a folder. The address."""
    for file in folder.iterdir():
        server.gives(f"/set/{file.name}", answer_ranges(file.read_bytes()))
    return f"{server.url}/set"


def same(folder, other):
    names = [sorted(file.name for file in place.iterdir()) for place in (folder, other)]
    return names[0] == names[1] and all(
        (folder / name).read_bytes() == (other / name).read_bytes() for name in names[0]
    )


def requested_ranges(server, name):
    return [headers.get("Range") for path, headers in server.log if path == f"/set/{name}"]


def test_a_web_server(packed_dataset, server, tmp_path, capsys):
    out = tmp_path / "new" / "mine"
    words = [f"url={give(server, packed_dataset)}/", f"out={out}", "progress=false"]
    assert main.main(["prepare", "fetch", *words]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert same(out, packed_dataset)
    assert [file.name for file in out.parent.iterdir()] == ["mine"], "nothing is left beside it"
    assert len(read_table(out)) == 17


def test_a_cut_is_gone_on_with_and_a_query_is_kept(packed_dataset, server, tmp_path):
    first = (packed_dataset / "shard-00000.tar").read_bytes()
    url = give(server, packed_dataset)
    for name in list(server.answers):
        server.answers[f"{name}?key=a%2Fb"] = server.answers.pop(name)
    server.answers["/set/shard-00000.tar?key=a%2Fb"] = answer_ranges(first, cut=7000)
    fetch_dataset(Web(f"{url}/?key=a%2Fb", QUICK), tmp_path / "mine")
    assert same(tmp_path / "mine", packed_dataset)
    ranges = requested_ranges(server, "shard-00000.tar?key=a%2Fb")
    assert ranges == [None, "bytes=7000-", "bytes=14000-"]


def test_the_next_run_goes_on_where_a_failed_one_stopped(packed_dataset, server, tmp_path, caplog):
    data = (packed_dataset / "shard-00001.tar").read_bytes()
    broken = in_turn(answer_and_stall(data[:3000], len(data), 0.1), lambda asked: asked.reply(503))
    url, out = give(server, packed_dataset), tmp_path / "mine"
    server.gives("/set/shard-00001.tar", broken)
    with pytest.raises(DataError, match=r"3,000 bytes are kept in .*run the same command again"):
        fetch_dataset(Web(url, QUICK), out, threads=1)
    assert not out.exists() and "keeps what was fetched; the same command resumes there" in caplog.text
    server.log.clear()
    server.gives("/set/shard-00001.tar", answer_ranges(data))
    fetch_dataset(Web(url, QUICK), out, threads=1)
    assert same(out, packed_dataset)
    assert requested_ranges(server, "shard-00000.tar") == [], "what is there and right is not fetched again"
    assert requested_ranges(server, "shard-00001.tar") == ["bytes=3000-"]


def test_what_was_damaged_meanwhile_is_fetched_again(packed_dataset, server, tmp_path):
    place, out = tmp_path / ".mine.fetching", tmp_path / "mine"
    shutil.copytree(packed_dataset, place)
    with (place / "shard-00000.tar").open("r+b") as stream:
        stream.seek(600)
        stream.write(b"x")
    (place / "shard-00099.tar").write_text("of an older version")
    (place / "old").mkdir()
    fetch_dataset(Web(give(server, packed_dataset), QUICK), out)
    assert same(out, packed_dataset)
    assert requested_ranges(server, "shard-00000.tar") and not requested_ranges(server, "shard-00001.tar")


def test_a_shard_that_is_not_the_one_listed_is_refused(packed_dataset, server, tmp_path):
    data = bytearray((packed_dataset / "shard-00000.tar").read_bytes())
    data[700] ^= 1
    url = give(server, packed_dataset)
    server.gives("/set/shard-00000.tar", answer_ranges(bytes(data)))
    with pytest.raises(DataError, match=r"shard-00000.tar: its sha256 checksum is .* is published, twice"):
        fetch_dataset(Web(url, QUICK), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("kind", ["memory", "file", "folder"])
def test_stores_and_folders(packed_dataset, tmp_path, kind):
    address = {
        "memory": "memory://bucket/set",
        "file": packed_dataset.as_uri(),
        "folder": str(packed_dataset),
    }[kind]
    if kind == "memory":
        fsspec.filesystem("memory").put(f"{packed_dataset}/", "/bucket/set/", recursive=True)
    assert (
        main.main(["prepare", "fetch", f"url={address}", f"out={tmp_path / 'mine'}", "progress=false"]) == 0
    )
    assert same(tmp_path / "mine", packed_dataset)


class Flaky:
    """A store whose streams break off after 3,000 bytes, at first without any."""

    def __init__(self, folder):
        self.folder, self.calls, self.starts = folder, 0, []

    def open(self, name):
        self.calls += 1
        if self.calls == 2:
            raise RuntimeError("the token is stale")
        stream = (self.folder / name).open("rb")
        return Cut(stream, self.starts)


class Cut:
    def __init__(self, stream, starts):
        self.stream, self.left, self.starts = stream, 3000, starts

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def seek(self, place):
        self.starts.append(place)
        self.stream.seek(place)

    def read(self, size):
        if not self.left:
            raise ConnectionResetError("peer")
        data = self.stream.read(min(size, self.left))
        self.left -= len(data)
        return data


def test_a_store_that_breaks_off_is_gone_on_with(packed_dataset, tmp_path):
    flaky = Flaky(packed_dataset)
    name = "shard-00000.tar"
    data = (packed_dataset / name).read_bytes()
    expected = Expected(len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")
    done = []
    store = Files("s3://b", flaky.open, QUICK)
    store.fetch(name, tmp_path / name, expected, lambda so_far, total: done.append((so_far, total)))
    assert (tmp_path / name).read_bytes() == data
    assert flaky.starts[:3] == [3000, 6000, 9000]
    assert done[-1] == (len(data), len(data))
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_store_that_fails_for_good_says_so(packed_dataset, tmp_path):
    def refuse(name):
        raise PermissionError(13, "Access Denied")

    with pytest.raises(DataError, match=r"s3://b/x: no permission to read it"):
        Files("s3://b", refuse, QUICK).fetch("x", tmp_path / "x", None, None)

    def fail_to_open(name):
        raise RuntimeError("no credentials")

    with pytest.raises(DataError, match=r"s3://b/x: no credentials"):
        Files("s3://b", fail_to_open, QUICK).fetch("x", tmp_path / "x", None, None)
    with pytest.raises(DataError, match=r"checksum is .* is published, twice"):
        wrong = Expected(None, "sha256:" + "0" * 64)
        Files(str(packed_dataset), lambda name: (packed_dataset / name).open("rb")).fetch(
            "config.yaml", tmp_path / "c", wrong, None
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("/nowhere/at/all", "there is no such folder"),
        ("s3://bucket/set", "pip install s3fs"),
        ("gs://bucket/set", "pip install gcsfs"),
        ("nonsense://bucket", "nonsense"),
    ],
)
def test_addresses_that_lead_nowhere(address, why, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(DataError, match=why):
        open_store(address)


def test_a_folder_without_a_list_is_said(server, tmp_path):
    with pytest.raises(DataError, match=r"404 Not Found.*prepare shards"):
        fetch_dataset(Web(f"{server.url}/set", QUICK), tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there is no such file"):
        fetch_dataset(open_store(str(tmp_path / "empty")), tmp_path / "mine")
    assert [file.name for file in tmp_path.iterdir()] == ["empty"]


GOOD = {"file": "table.parquet", "bytes": 3, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([GOOD | {"file": "../x"}], "plain name"),
        ([GOOD | {"file": "/etc/passwd"}], "plain name"),
        ([GOOD | {"file": "a/b.tar"}], "plain name"),
        ([GOOD | {"file": ".lock"}], "plain name"),
        ([GOOD | {"file": "x.part"}], "plain name"),
        ([GOOD | {"file": "x.py"}], "plain name"),
        ([GOOD | {"file": "x.tar\n"}], "plain name"),
        ([GOOD | {"file": "shards.json"}], "plain name"),
        ([GOOD | {"file": 7}], "plain name"),
        ([GOOD | {"bytes": -1}], "whole number"),
        ([GOOD | {"bytes": "3"}], "whole number"),
        ([GOOD | {"bytes": 10**400}], "whole number"),
        ([GOOD | {"bytes": True}], "whole number"),
        ([GOOD | {"file": "TABLE.parquet"}], "does not list table.parquet"),
        ([GOOD | {"sha256": "xyz"}], "64 hexadecimal digits"),
        ([GOOD, GOOD], "listed twice"),
        ([GOOD | {"file": "shard-00000.tar"}], "does not list table.parquet"),
        ([{"file": "x"}], "not what"),
        ("text", "not what"),
    ],
)
def test_a_hostile_list(entries, why, tmp_path):
    (tmp_path / "shards.json").write_text(json.dumps({"lookalike_shards": 1, "files": entries}))
    with pytest.raises(DataError, match=why):
        read_sums(tmp_path / "shards.json")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", "not what"),
        ("[" * 100_000, "not what"),
        ("no json", "not what"),
        ('{"lookalike_shards": 2, "files": []}', "version 2"),
    ],
)
def test_what_is_no_list(text, why, tmp_path):
    (tmp_path / "shards.json").write_text(text)
    with pytest.raises(DataError, match=why):
        read_sums(tmp_path / "shards.json")


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd",
        "/etc/passwd",
        "photos/cat.jpg",
        "../x/shard-00000.tar/@512+9/a.png",
        "/x/shard-00000.tar/@512+9/a.png",
        "shard-00009.tar/@512+9/a.png",
        "table.parquet/@512+9/a.png",
        "shard-00000.tar/@512+9/../../../etc/passwd",
        "shard-00000.tar/@512+9//etc/passwd",
        "shard-00000.tar/@512+99999999999/a.png",
        "shard-00000.tar/@511+9/a.png",
        "shard-00000.tar/@0+9/a.png",
        "shard-00000.tar/@512+9/x.tar/@512+9/a.png",
    ],
)
def test_a_hostile_table_is_refused_before_any_shard_is_fetched(packed_dataset, server, tmp_path, path):
    own = tmp_path / "own"
    shutil.copytree(packed_dataset, own)
    frame = read_table(own).frame
    frame = frame.with_columns(path=pl.Series([path, *frame["path"][1:]]))
    frame.write_parquet(own / "table.parquet")
    about = json.loads((own / "shards.json").read_text())
    for one in about["files"]:
        data = (own / one["file"]).read_bytes()
        one |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (own / "shards.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match=r"table.parquet cannot be used; nothing .* was kept") as found:
        fetch_dataset(Web(give(server, own), QUICK), tmp_path / "new" / "mine")
    assert [problem.row for problem in found.value.problems] == [0]
    assert not requested_ranges(server, "shard-00000.tar")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_full_disk_is_found_out_first(packed_dataset, server, tmp_path, monkeypatch):
    url = give(server, packed_dataset)
    true = dataset.require_space
    monkeypatch.setattr(dataset, "require_space", lambda *given: true(given[0], 10**18, *given[2:]))
    with pytest.raises(DataError, match=r"1000000000.0 GB more are required for the files.*another out="):
        fetch_dataset(Web(url, QUICK), tmp_path / "mine")
    assert {path for path, _ in server.log} == {"/set/shards.json"}


def test_one_process_at_a_time(packed_dataset, tmp_path):
    with (
        dataset._lock_folder(tmp_path / ".mine.fetching"),
        pytest.raises(LookalikeError, match=rf"process {os.getpid()} on .* is fetching this"),
    ):
        fetch_dataset(open_store(str(packed_dataset)), tmp_path / "mine")


def test_a_failure_stops_the_others(packed_dataset, server, tmp_path):
    """A file that cannot be had ends the job at once, though another one still comes, very slowly."""
    size = (packed_dataset / "shard-00000.tar").stat().st_size
    url = give(server, packed_dataset)
    server.gives("/set/shard-00000.tar", trickle(size))
    server.gives("/set/shard-00001.tar", status(404))
    began = time.monotonic()
    with pytest.raises(DataError, match=r"shard-00001.tar: the server says 404"):
        fetch_dataset(Web(url), tmp_path / "mine")
    assert time.monotonic() - began < 60
    assert not (tmp_path / "mine").exists()
