"""Downloads from servers that drop, stall, lie, change their mind, and send half of what they promise."""

import email.utils
import hashlib
import os
import time
from contextlib import suppress
from functools import partial

import pytest
from hostile import answer_and_stall, answer_ranges, body, in_turn, status, trickle
from layouts import names

from lookalike.errors import DataError
from lookalike.prepare.download import file as download
from lookalike.prepare.download.connection import RefusedError
from lookalike.prepare.download.file import Expected, Patience
from lookalike.prepare.download.http import retry_after, validate_url

DATA = os.urandom(300_000)
MD5 = f"md5:{hashlib.md5(DATA).hexdigest()}"
SHA = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
QUICK = Patience(attempts=3, timeout=1.0, first=0.01, longest=5.0)
KNOWN = Expected(len(DATA), MD5)
fetch = partial(download.fetch, private=True)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "sets" / "a.zip"


def left(file):
    return names(file.parent) if file.parent.exists() else []


def ranges(server):
    return [headers.get("Range") for _, headers in server.log]


@pytest.mark.parametrize("expected", [None, KNOWN, Expected(len(DATA)), Expected(checksum=SHA)])
def test_a_good_server(server, file, expected):
    told = []
    fetch(server.gives("/a", answer_ranges(DATA)), file, expected, lambda *one: told.append(one), QUICK)
    assert file.read_bytes() == DATA
    assert left(file) == ["a.zip"]
    assert told[-1] == (len(DATA), len(DATA))
    assert len(server.log) == 1


def test_it_goes_on_where_it_was_cut(server, file):
    fetch(server.gives("/a", answer_ranges(DATA, cut=100_000)), file, None, None, QUICK)
    assert file.read_bytes() == DATA
    assert ranges(server) == [None, "bytes=100000-", "bytes=200000-"]
    assert server.log[1][1]["If-Range"] == '"one"'


def test_many_cuts_are_no_reason_to_give_up_while_something_comes(server, file):
    fetch(server.gives("/a", answer_ranges(DATA, cut=20_000)), file, KNOWN, None, QUICK)
    assert file.read_bytes() == DATA
    assert len(server.log) == 15 > QUICK.attempts


def test_it_goes_on_after_a_run_that_failed(server, file):
    url = server.gives("/a", in_turn(answer_ranges(DATA, cut=100_000), status(503)))
    with pytest.raises(
        DataError, match=r"503.*given up after 3 attempts.*100,000 bytes are kept.*a\.zip\.part"
    ):
        fetch(url, file, None, None, QUICK)
    assert left(file) == ["a.zip.part", "a.zip.part.json"]
    server.log.clear()
    server.gives("/a", answer_ranges(DATA))
    fetch(url, file, None, None, QUICK)
    assert file.read_bytes() == DATA
    assert ranges(server) == ["bytes=100000-"]
    assert left(file) == ["a.zip"]


def test_a_server_without_ranges(server, file):
    url = server.gives(
        "/a", in_turn(answer_ranges(DATA, cut=200_000, resumes=False), answer_ranges(DATA, resumes=False))
    )
    fetch(url, file, None, None, QUICK)
    assert file.read_bytes() == DATA


def test_a_file_that_changes_between_two_attempts(server, file):
    other = os.urandom(250_000)
    url = server.gives("/a", in_turn(answer_ranges(DATA, cut=100_000), answer_ranges(other, etag='"two"')))
    fetch(url, file, None, None, QUICK)
    assert file.read_bytes() == other, "not the start of one and the end of the other"


def test_a_file_that_changes_on_a_server_that_does_not_look_at_if_range(server, file):
    other = os.urandom(len(DATA))

    def careless(asked):
        asked.headers.replace_header("If-Range", '"two"') if "If-Range" in asked.headers else None
        answer_ranges(other, etag='"two"')(asked)

    url = server.gives("/a", in_turn(answer_ranges(DATA, cut=100_000), careless))
    fetch(url, file, None, None, QUICK)
    assert file.read_bytes() == other


def test_two_processes_do_not_write_into_one_file(server, file):
    url = server.gives("/a", answer_ranges(DATA))

    def fetch_again(done, total):
        with pytest.raises(DataError, match="another process is downloading it"):
            fetch(url, file, KNOWN, None, QUICK)

    fetch(url, file, KNOWN, fetch_again, QUICK)
    assert left(file) == ["a.zip"]
    assert file.read_bytes() == DATA
    assert len(server.log) == 1


def test_nothing_is_resumed_that_cannot_be_told_apart(server, file):
    def nameless(asked):
        start = asked.range_start()
        code = 206 if start else 200
        asked.reply(code, DATA[start:], Content_Range=f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")

    file.parent.mkdir()
    file.with_name("a.zip.part").write_bytes(b"something else")
    url = server.gives("/a", nameless)
    fetch(url, file, None, None, QUICK)
    assert ranges(server) == [None]
    assert file.read_bytes() == DATA


def test_with_a_checksum_a_nameless_part_is_used_and_found_out(server, file):
    file.parent.mkdir()
    file.with_name("a.zip.part").write_bytes(bytes(1000))
    fetch(server.gives("/a", answer_ranges(DATA)), file, KNOWN, None, QUICK)
    assert ranges(server) == ["bytes=1000-", None], "the sum was wrong: once more from the start"
    assert file.read_bytes() == DATA


def test_a_part_that_is_longer_than_the_file(server, file):
    file.parent.mkdir()
    file.with_name("a.zip.part").write_bytes(bytes(len(DATA) + 5))
    fetch(server.gives("/a", answer_ranges(DATA)), file, Expected(checksum=MD5), None, QUICK)
    assert file.read_bytes() == DATA


def test_a_part_that_is_whole_is_only_checked(server, file):
    file.parent.mkdir()
    file.with_name("a.zip.part").write_bytes(DATA)
    fetch(server.gives("/a", answer_ranges(DATA)), file, KNOWN, None, QUICK)
    assert server.log == []


def test_a_server_that_sends_less_than_it_says(server, file):
    def half(asked):
        asked.reply(200, DATA[:1000], len(DATA))

    with pytest.raises(DataError, match=r"ended after 1,000 of 300,000 bytes; given up after 3 attempts"):
        fetch(server.gives("/a", half), file, None, None, QUICK)
    assert not file.exists()


@pytest.mark.parametrize("known", [Expected(len(DATA)), KNOWN])
def test_a_server_that_says_half_is_all(server, file, known):
    with pytest.raises(DataError, match=r"announces 1,000 bytes, but 300,000 are published"):
        fetch(server.gives("/a", body(DATA[:1000])), file, known, None, QUICK)
    assert not file.exists()


def test_a_length_that_nobody_tells(server, file):
    def endless(asked):
        asked.reply(200, DATA, -1)
        asked.close_connection = True

    with pytest.raises(DataError, match="a truncated file would go unnoticed"):
        fetch(server.gives("/a", endless), file, None, None, QUICK)
    fetch(server.gives("/a", endless), file, Expected(len(DATA)), None, QUICK)
    assert file.read_bytes() == DATA


def test_a_server_that_never_stops(server, file):
    def flood(asked):
        asked.reply(200, DATA * 3, -1)
        asked.close_connection = True

    with pytest.raises(DataError, match="sends more than the 300,000 bytes"):
        fetch(server.gives("/a", flood), file, KNOWN, None, QUICK)
    assert left(file) == [], "what is of no use is not kept"
    fetch(server.gives("/a", answer_ranges(DATA)), file, KNOWN, None, QUICK)
    assert file.read_bytes() == DATA


def test_a_checksum_that_is_wrong_twice(server, file):
    other = os.urandom(len(DATA))
    with pytest.raises(DataError, match=r"its md5 checksum is .*, twice.*nothing was kept"):
        fetch(server.gives("/a", answer_ranges(other)), file, KNOWN, None, QUICK)
    assert left(file) == []
    assert len(server.log) == 2


def test_silence(server, file):
    url = server.gives("/a", in_turn(answer_and_stall(DATA[:5000], len(DATA)), answer_ranges(DATA)))
    start = time.monotonic()
    fetch(url, file, None, None, Patience(attempts=3, timeout=0.3, first=0.01))
    assert file.read_bytes() == DATA
    assert time.monotonic() - start < 60
    assert ranges(server) == [None, "bytes=5000-"]


def test_a_trickle_is_a_stall(server, file):
    url = server.gives("/a", in_turn(trickle(1000), trickle(1000)))
    with pytest.raises(DataError, match="almost no data arrived in"):
        fetch(url, file, None, None, Patience(attempts=1, timeout=0.3, first=0.01))


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_kept(server, file, code):
    url = server.gives("/a", in_turn(status(code, Retry_After="1"), answer_ranges(DATA)))
    start = time.monotonic()
    fetch(url, file, None, None, QUICK)
    assert time.monotonic() - start >= 1
    assert file.read_bytes() == DATA


def test_retry_after_beyond_our_patience(server, file):
    url = server.gives("/a", status(503, Retry_After="7200"))
    with pytest.raises(DataError, match=r"asks to wait 7,200 s.*run the same command again later"):
        fetch(url, file, None, None, QUICK)
    assert len(server.log) == 1


def test_retry_after_as_a_date_or_nonsense():
    moment = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 95 < retry_after({"Retry-After": moment}) <= 100
    assert retry_after({"Retry-After": email.utils.formatdate(0, usegmt=True)}) == 0
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({}) is None


@pytest.mark.parametrize(
    ("code", "why"),
    [(404, "there is no such file"), (403, "may require a login"), (401, "requires a login"), (400, "400")],
)
def test_an_answer_that_is_final(server, file, code, why):
    with pytest.raises(RefusedError, match=why):
        fetch(server.gives("/a", status(code)), file, None, None, QUICK)
    assert len(server.log) == 1
    assert left(file) == []


def test_a_page_instead_of_a_file(server, file):
    page = body(b"<html>please log in</html>", Content_Type="text/html; charset=utf-8")
    with pytest.raises(DataError, match="a web page, not a file"):
        fetch(server.gives("/a", page), file, None, None, QUICK)


@pytest.mark.parametrize("known", [None, Expected(checksum=MD5)])
def test_a_page_that_does_not_say_so(server, file, known):
    page = body(b"\n<!DOCTYPE html><html>please log in</html>")
    with pytest.raises(RefusedError, match="a web page, not a file"):
        fetch(server.gives("/a", page), file, known, None, QUICK)
    assert left(file) == []
    assert len(server.log) == 1


def raw(head, data=b""):
    """An answer as these bytes, and the connection ends."""

    def answer(asked):
        asked.wfile.write(b"HTTP/1.1 " + head + b"\r\n\r\n" + data)
        asked.close_connection = True

    return answer


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (raw(b"200 OK\r\nContent-Length: \xb2", b"xx"), "states its length"),
        (raw(b"200 OK\r\nContent-Length: " + b"9" * 5000, b"xx"), "states its length"),
        (raw(b"200 OK\r\nContent-Length: 1\r\nContent-Length: 2", b"xx"), "announces several lengths"),
        (raw(b"200 OK\r\nContent-Length: 0"), "sends an empty file"),
        (raw(b"503 No\r\nRetry-After: \xb2\r\nContent-Length: 0"), "503 No; given up after 3"),
        (raw(b"404 \x1b[31mred\r\nContent-Length: 0"), r"404 \?\[31mred \(there is no such file"),
        (raw(b"302 Found\r\nLocation: http://[::1\r\nContent-Length: 0"), "not a URL"),
        (raw(b"\x1b\xff"), "the connection broke"),
    ],
)
def test_heads_of_answers_that_are_wrong(server, file, answer, why):
    with pytest.raises(DataError, match=why) as caught:
        fetch(server.gives("/a", answer), file, None, None, QUICK)
    assert str(caught.value).isprintable()
    assert left(file) == []


def test_a_range_of_impossible_length(server, file):
    huge = "9" * 5000
    whole = answer_ranges(DATA, cut=1000)

    def answer(asked):
        if asked.range_start():
            asked.reply(206, b"x", Content_Range=f"bytes 1000-{huge}/{huge}", ETag='"one"')
        else:
            whole(asked)

    with pytest.raises(DataError, match="sent another range than requested"):
        fetch(server.gives("/a", answer), file, None, None, QUICK)


def test_a_head_that_comes_byte_by_byte(server, file):
    def answer(asked):
        asked.close_connection = True
        with suppress(OSError):
            while not asked.server.over.wait(0.1):
                asked.wfile.write(b"H")

    begun = time.monotonic()
    with pytest.raises(DataError, match="no response in time"):
        fetch(server.gives("/a", answer), file, None, None, Patience(attempts=1, timeout=0.5))
    assert time.monotonic() - begun < 60


def test_the_body_of_a_redirect_is_not_read(server, file):
    def endless(asked):
        asked.close_connection = True
        asked.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /a\r\n\r\n")
        with suppress(OSError):
            while not asked.server.over.wait(0.05):
                asked.wfile.write(b"x" * 1000)

    server.gives("/a", answer_ranges(DATA))
    fetch(server.gives("/1", endless), file, KNOWN, None, QUICK)
    assert file.read_bytes() == DATA
    assert len(server.log) == 2


def test_a_byte_a_connection_is_nothing(server, file):
    with pytest.raises(DataError, match="given up after 3 attempts"):
        fetch(server.gives("/a", answer_ranges(DATA, cut=1)), file, KNOWN, None, QUICK)


def test_a_disk_that_fills_while_nobody_knows_how_much_comes(server, file, monkeypatch, set_free_bytes):
    monkeypatch.setattr(download, "LOOK", 1000)
    set_free_bytes(*[1 << 40] * 3, 0)
    flood = raw(b"200 OK", DATA)
    with pytest.raises(DataError, match="more are required"):
        fetch(server.gives("/a", flood), file, Expected(checksum=MD5), None, QUICK)
    assert left(file) == []


def test_compression_nobody_asked_for(server, file):
    with pytest.raises(DataError, match="sends it compressed"):
        fetch(server.gives("/a", body(b"x", Content_Encoding="gzip")), file, None, None, QUICK)


def test_redirects(server, file):
    server.gives("/a", answer_ranges(DATA))
    fetch(server.gives("/1", status(302, Location="/a")), file, KNOWN, None, QUICK)
    assert file.read_bytes() == DATA


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("/1", "redirects in a loop"),
        ("file:///etc/passwd", "redirects from http to file"),
        ("ftp://127.0.0.1/x", "redirects from http to ftp"),
        ("data:text/plain,x", "redirects from http to data"),
    ],
)
def test_redirects_that_are_not_followed(server, file, to, why):
    with pytest.raises(RefusedError, match=why):
        fetch(server.gives("/1", status(302, Location=to)), file, None, None, QUICK)
    assert left(file) == []


def test_a_long_chain_of_redirects(server, file):
    for number in range(20):
        server.gives(f"/{number}", status(302, Location=f"/{number + 1}"))
    with pytest.raises(RefusedError, match="more than 5 times"):
        fetch(server.url + "/0", file, None, None, QUICK)
    assert len(server.log) <= 7


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("ftp://host/x", "only http and https"),
        ("data:image/png;base64,xx", "only http and https"),
        ("photos/a.jpg", "only http and https"),
        ("http:///x", "has no host"),
        ("http://user:pass@host/x", "user name or password"),
        ("http://host:port/x", "not a URL"),
        ("http://[::1/x", "not a URL"),
    ],
)
def test_what_is_no_url(url, why, file):
    with pytest.raises(RefusedError, match=why):
        fetch(url, file)


def test_urls_as_people_write_them():
    assert validate_url(" HTTP://Bücher.example/a b/ü.jpg?q=ä&x=%20#part ") == (
        "http://xn--bcher-kva.example/a%20b/%C3%BC.jpg?q=%C3%A4&x=%20"
    )
    assert validate_url("https://[::1]:8080/x") == "https://[::1]:8080/x"


def test_a_server_that_is_not_there(file):
    with pytest.raises(DataError, match=r"no connection.*given up after 3 attempts"):
        fetch("http://127.0.0.1:1/x", file, None, None, QUICK)
    assert left(file) == []


def test_a_disk_that_is_too_small(server, file, set_free_bytes):
    set_free_bytes(1000)
    with pytest.raises(DataError, match=r"more are required for a\.zip, 0\.0 GB are free"):
        fetch(server.gives("/a", answer_ranges(DATA)), file, KNOWN, None, QUICK)
    assert server.log == [], "before anything is asked for"
    with pytest.raises(DataError, match="more are required"):
        fetch(server.gives("/a", answer_ranges(DATA)), file, None, None, QUICK)
    assert not file.exists()
