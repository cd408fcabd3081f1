"""A list of addresses becomes images, whatever the servers do; what fails is listed."""

import io
import re
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from hostile import answer_and_stall, body, in_turn, status
from layouts import picture
from PIL import Image

from lookalike.errors import DataError
from lookalike.prepare import urls
from lookalike.prepare.download.file import Patience
from lookalike.prepare.download.hosts import DEAD, Hosts
from lookalike.prepare.sources.public import Raw
from lookalike.prepare.urls import Manners, fetch_images

QUICK = Patience(attempts=3, timeout=1.0, first=0.01, longest=3.0)
MANNERS = Manners(threads=4, per_host=2, patience=QUICK, private=True)


def test_a_list_becomes_a_table(server, tmp_path, caplog):
    kinds = {"a.jpg": "JPEG", "b.png": "PNG", "c": "WEBP", "d.jpg": "GIF", "e.bmp": "BMP", "f.tif": "TIFF"}
    rows = [
        (server.gives(f"/{name}?x=1", body(picture(place, kind=kind))), f"cat {place % 2}", "front", place)
        for place, (name, kind) in enumerate(kinds.items())
    ]
    rows += [(server.url + "/gone.jpg", "cat 0", "front", 6), (None, "cat 0", "front", 7)]
    pl.DataFrame(rows, schema=["url", "label", "view", "shelter"], orient="row").write_csv(
        tmp_path / "list.csv"
    )
    raw = Raw(tmp_path / "raw", private=True)
    table, problems = urls.table(tmp_path / "list.csv", raw)
    assert [str(problem) for problem in problems] == [
        f"{server.url}/gone.jpg, row 6: the server says 404 Not Found (there is no such file)",
        "list.csv, row 7: has no URL",
    ]
    assert table.frame["label"].to_list() == ["cat 0", "cat 1"] * 3
    assert table.frame["shelter"].to_list() == list(range(6))
    endings = [Path(path).suffix for path in table.frame["path"]]
    assert endings == [".jpg", ".png", ".webp", ".gif", ".bmp", ".tif"], "by content, not by name"
    for row in range(6):
        assert Image.open(table.file(row)).size == (24, 20)
    failed = pl.read_csv(tmp_path / "raw" / "failed.csv")
    assert failed["row"].to_list() == [6, 7]
    assert "2 rows could not be fetched" in caplog.text

    server.log.clear()
    server.gives("/gone.jpg", body(picture()))
    again, problems = urls.table(tmp_path / "list.csv", raw)
    assert [path for path, _ in server.log] == ["/gone.jpg"], "what is there is not asked for again"
    assert len(again) == 7
    assert len(problems) == 1


def test_the_same_image_in_several_rows_with_boxes(server, tmp_path):
    url = server.gives("/a.jpg", body(picture()))
    frame = pl.DataFrame({"photo": [url] * 3, "id": [1, 2, 3], "bbox": ["0 0 5 5", "5 5 9 9", "9 9 3 3"]})
    frame.write_csv(tmp_path / "list.csv")
    table, problems = urls.table(
        tmp_path / "list.csv", Raw(tmp_path / "raw", private=True), url="photo", label="id", box="xyxy"
    )
    assert len(server.log) == 1
    assert [table.box(row) for row in range(2)] == [(0, 0, 5, 5), (5, 5, 9, 9)]
    assert ["x1 < x2" in problem.reason and problem.row for problem in problems] == [2]
    assert not (tmp_path / "raw" / "failed.csv").exists()


def outcome(server, tmp_path, answer, manners=MANNERS):
    url = server.gives("/a", answer)
    found, failed = fetch_images([url], tmp_path / "raw", manners)
    assert len(found) + len(failed) == 1
    files = [file for file in (tmp_path / "raw").rglob("*") if file.is_file()]
    assert len(files) == len(found), "nothing half"
    return failed.get(url)


JPEG = picture()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (body(b"<html>no</html>", Content_Type="image/jpeg"), "not a readable image"),
        (body(b""), "empty"),
        (body(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "not a readable image"),
        (status(404), "404"),
        (status(403), "login"),
        (status(503), "503 .*, 3 attempts"),
        (status(429, Retry_After="3600"), "asks to wait 3,600 s"),
        (status(302, Location="file:///etc/passwd"), "redirects from http to file"),
        (status(302, Location="/a"), "loop"),
        (lambda asked: asked.reply(200, JPEG[:100], len(JPEG)), "ended after 100 of"),
        (lambda asked: asked.reply(200, JPEG[:-20], -1), "truncated|damaged"),
        (lambda asked: asked.reply(200, JPEG, 10**9), "more bytes than max_megabytes"),
        (answer_and_stall(JPEG[:50], len(JPEG), seconds=4), "no response in time"),
    ],
)
def test_what_comes_is_no_image(server, tmp_path, answer, why):
    manners = Manners(1, 1, patience=Patience(attempts=3, timeout=0.2, first=0.01, longest=3.0), private=True)
    reason = outcome(server, tmp_path, answer, manners)
    assert reason is not None
    assert re.search(why, reason), reason


def test_too_large(server, tmp_path):
    small = Manners(1, 1, most=500, patience=QUICK, private=True)
    assert "max_megabytes=0.0005" in outcome(server, tmp_path, body(picture(size=(400, 400))), small)

    def endless(asked):
        asked.reply(200, JPEG * 100, -1)

    assert "more bytes than max_megabytes" in outcome(server, tmp_path, endless, small)


def test_an_image_without_a_length_that_is_whole(server, tmp_path):
    assert outcome(server, tmp_path, lambda asked: asked.reply(200, JPEG, -1)) is None


def test_what_goes_wrong_once_is_tried_again(server, tmp_path):
    answers = in_turn(status(500), lambda asked: asked.reply(200, JPEG[:100], len(JPEG)), body(JPEG))
    assert outcome(server, tmp_path, answers) is None
    assert len(server.log) == 3


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/y.jpg", "data:image/png;base64,AAAA", "a.jpg", "x y"]
)
def test_addresses_that_are_not_asked(url, tmp_path):
    found, failed = fetch_images([url], tmp_path, MANNERS)
    assert found == {}
    assert "only http and https" in failed[url]


def test_no_more_than_a_few_at_once(server, tmp_path):
    now, most, lock = 0, 0, threading.Lock()

    def slow(asked):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.03)
        with lock:
            now -= 1
        asked.reply(200, JPEG)

    wanted = [server.gives(f"/{number}", slow) for number in range(12)]
    found, _ = fetch_images(wanted, tmp_path, Manners(8, 2, patience=QUICK, private=True))
    assert len(found) == 12
    assert most == 2


def test_a_host_that_asks_to_wait_is_left_alone(server, tmp_path):
    times = []

    def busy(asked):
        times.append(time.monotonic())
        if len(times) == 1:
            asked.reply(429, Retry_After="1")
        else:
            asked.reply(200, JPEG)

    wanted = [server.gives(f"/{number}", busy) for number in range(4)]
    found, failed = fetch_images(wanted, tmp_path, Manners(4, 1, patience=QUICK, private=True))
    assert failed == {}
    assert len(found) == 4
    assert times[1] - times[0] >= 0.99, "the others of this host wait, too"


def test_a_host_that_is_dead_does_not_cost_hours(tmp_path):
    wanted = [f"http://127.0.0.1:1/{number}" for number in range(300)]
    start = time.monotonic()
    patience = Patience(first=0.05, attempts=5)
    found, failed = fetch_images(wanted, tmp_path, Manners(4, 4, patience=patience, private=True))
    assert found == {}
    assert len(failed) == 300
    assert "its host failed 20 times in a row, the last time: no connection" in failed[wanted[-1]]
    assert time.monotonic() - start < 30


def test_hosts_take_turns_and_end():
    hosts = Hosts(["http://a/1", "http://a/2", "http://b/1"], per_host=1)
    first, second = hosts.take(), hosts.take()
    assert {first, second} == {"http://a/1", "http://b/1"}
    hosts.finish_url(first)
    hosts.finish_url(second)
    assert hosts.take() == "http://a/2"
    hosts.requeue("http://a/2", 0.01, whole_host=False)
    assert hosts.take() == "http://a/2"
    for _ in range(DEAD):
        assert not hosts.dead_hosts("http://a/2")
        hosts.mark_failed("http://a/2", "no answer")
    assert hosts.dead_hosts("http://a/2") == "its host failed 20 times in a row, the last time: no answer"
    hosts.mark_alive("http://a/2")
    assert not hosts.dead_hosts("http://a/2")
    hosts.finish_url("http://a/2")
    assert hosts.take() is None
    hosts.stop()


def test_a_list_that_is_none(server, tmp_path):
    file = tmp_path / "list.csv"
    with pytest.raises(DataError, match="there is no such file"):
        urls.table(file, Raw(tmp_path, private=True))
    file.write_text("where,label\nhttp://x,a\n")
    with pytest.raises(
        DataError, match=r"has no column 'url'; it has 'where', 'label'.*source\.columns=\{url: where\}"
    ):
        urls.table(file, Raw(tmp_path, private=True))
    file.write_text(f"url,label\n{server.url}/no.jpg,a\n")
    with pytest.raises(DataError, match=r"none of its 1 image could be fetched(.|\n)*404"):
        urls.table(file, Raw(tmp_path, private=True))
    assert (tmp_path / "failed.csv").exists()
    file.write_text(f"url,name\n{server.gives('/a.jpg', body(JPEG))},a\n")
    server.log.clear()
    with pytest.raises(DataError, match=r"list\.csv: has no column 'label'.*source\.label="):
        urls.table(file, Raw(tmp_path, private=True))
    file.write_text(f"url,label\n{server.url}/a.jpg,Cat\n{server.url}/b.jpg,cat\n")
    with pytest.raises(DataError, match=r"list\.csv: 1 label is spelled in several ways"):
        urls.table(file, Raw(tmp_path, private=True), names="refuse")
    file.write_text("url,label\n")
    with pytest.raises(DataError, match=r"list\.csv: the list has no rows"):
        urls.table(file, Raw(tmp_path, private=True))
    assert server.log == [], "before anything is asked for"


def test_slips_of_the_list_are_said_of_its_addresses(server, tmp_path):
    one, two, three = (server.gives(f"/{name}.jpg", body(JPEG)) for name in "abc")
    rows = [(one, "x"), (one, "y"), (two, "x"), (two, "x"), (three, "z"), (three, "")]
    lines = "".join(f"{url},{label}\n" for url, label in rows)
    (tmp_path / "list.csv").write_text(f"url,label\n{lines}")
    table, problems = urls.table(tmp_path / "list.csv", Raw(tmp_path / "raw", private=True))
    assert table.frame["url"].to_list() == [two, three]
    assert [str(problem) for problem in problems] == [
        f"{one}, row 0: {one} is listed under 2 labels, here 'x'",
        f"{one}, row 1: {one} is listed under 2 labels, here 'y'",
        f"{two}, row 3: {two} is listed before, in row 2",
        f"{three}, row 5: label is empty",
    ]


def test_nothing_is_written_outside_whatever_the_address(server, tmp_path):
    url = server.gives("/../../../x%2F..%2F..%2Fy.jpg", body(JPEG))
    found, failed = fetch_images([url], tmp_path / "raw", MANNERS)
    assert failed == {}
    assert [file.parent.parent for file in tmp_path.rglob("*") if file.is_file()] == [tmp_path / "raw"]
    assert io.BytesIO((tmp_path / "raw" / found[url]).read_bytes()).read() == JPEG
