"""A list, or a redirect, that leads into one's own network is not followed there."""

import socket

import pytest
from hostile import answer_ranges, body, status
from layouts import picture

from lookalike.prepare.download import addresses
from lookalike.prepare.download.addresses import is_within, non_public_kind
from lookalike.prepare.download.connection import RefusedError
from lookalike.prepare.download.file import Expected, fetch
from lookalike.prepare.download.http import open_url
from lookalike.prepare.urls import Manners, fetch_images

HERE = "127.0.0.1"


@pytest.fixture
def public(monkeypatch):
    """The address of the server counts as public."""
    monkeypatch.setattr(
        addresses, "non_public_kind", lambda place: None if place == HERE else non_public_kind(place)
    )


@pytest.fixture
def names(monkeypatch):
    """Names and their addresses, one after the other as they are asked for; the names that were."""
    known, asked, real = {}, [], socket.getaddrinfo

    def looked_up(host, port, *options, **more):
        if host not in known:
            return real(host, port, *options, **more)
        asked.append(host)
        return real(known[host].pop(0), port, *options, **more)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    return known, asked


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("127.0.0.1", "this machine itself"),
        ("127.8.9.1", "this machine itself"),
        ("::1", "this machine itself"),
        ("::ffff:127.0.0.1", "this machine itself"),
        ("2002:7f00:1::", "this machine itself"),
        ("169.254.169.254", "link-local"),
        ("fe80::1%1", "link-local"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("0.0.0.0", "private"),
        ("fd00::1", "private"),
        ("fec0::1", "reserved"),
        ("100.100.100.200", "reserved"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "private"),
    ],
)
def test_addresses_that_not_everybody_reaches(place, kind):
    assert non_public_kind(place) == kind


@pytest.mark.parametrize("place", ["8.8.8.8", "171.64.64.64", "2606:4700::1111", "172.32.0.1"])
def test_addresses_that_everybody_reaches(place):
    assert non_public_kind(place) is None


@pytest.mark.parametrize("host", [HERE, "localhost", "2130706433", "0x7f.1", "127.1"])
def test_a_list_that_asks_for_this_machine(host, server, tmp_path):
    url = server.gives("/secret.jpg", body(picture(0))).replace(HERE, host)
    found, failed = fetch_images([url], tmp_path, Manners(1, 1))
    assert found == {}
    assert "not a public address (this machine itself); private=true allows it" in failed[url]
    assert server.log == [], "it was not even asked"


def test_it_is_asked_when_permitted(server, tmp_path):
    url = server.gives("/a.jpg", body(picture(0)))
    assert fetch_images([url], tmp_path, Manners(1, 1, private=True))[1] == {}


@pytest.mark.parametrize(
    "to", ["169.254.169.254/latest/meta-data", "[::1]/x", "10.0.0.1/x", "[::ffff:127.0.0.2]/"]
)
def test_a_redirect_into_the_own_network(to, server, public, tmp_path):
    url = server.gives("/a.jpg", status(302, Location=f"http://{to}"))
    found, failed = fetch_images([url], tmp_path, Manners(1, 1))
    assert found == {}
    assert "is not a public address" in failed[url]
    with pytest.raises(RefusedError, match="is not a public address"):
        fetch(url, tmp_path / "set.zip", Expected(3))
    assert [path for path, _ in server.log] == ["/a.jpg", "/a.jpg"]


def test_a_download_from_a_public_address(server, public, tmp_path):
    fetch(server.gives("/a.zip", answer_ranges(b"abc")), tmp_path / "a.zip", Expected(3))
    assert (tmp_path / "a.zip").read_bytes() == b"abc"


def test_a_name_that_changes_its_address_after_it_was_looked_at(server, public, names):
    known, asked = names
    known["rebinding.test"] = [HERE, "127.0.0.2"]
    url = server.gives("/a", body(b"abc")).replace(HERE, "rebinding.test")
    with open_url(url) as response:
        assert response.read() == b"abc", "connected to the address that was looked at"
    assert asked == ["rebinding.test"]


def test_a_name_of_the_own_network(server, names):
    names[0]["intranet.test"] = ["192.168.7.7"]
    with pytest.raises(RefusedError, match=r"intranet.test is 192.168.7.7, not a public address \(private\)"):
        open_url("http://intranet.test/a")


def test_behind_a_proxy_the_name_is_looked_at(server, monkeypatch, names):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.answers["http://far.test/a"] = body(b"abc")
    names[0]["far.test"] = ["8.8.8.8"]
    names[0]["near.test"] = ["10.0.0.1"]
    with open_url("http://far.test/a") as response:
        assert response.read() == b"abc"
    for url in ("http://near.test/a", "http://169.254.169.254/a", "http://localhost/a"):
        with pytest.raises(RefusedError, match="not a public address"):
            open_url(url)
    assert len(server.log) == 1


@pytest.mark.parametrize(
    ("url", "within"),
    [
        ("http://127.0.0.1:9000/a", True),
        ("http://[::1]/a", True),
        ("http://10.0.0.7/a", True),
        ("https://8.8.8.8/a", False),
        ("http://[::1/a", False),
    ],
)
def test_a_server_of_the_own_network(url, within):
    assert is_within(url) == within
