"""A real server on a port: slow senders, large bodies, many connections, signals, and kill -9."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from serve_world import noise, serve_in_thread

from lookalike.errors import ConfigError
from lookalike.search.registry import Registry
from lookalike.serve.client import Client, ServiceError
from lookalike.serve.settings import Access, Limits, Settings
from lookalike.serve.start import load_index, serve_index

HEAD = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
LIMITS = Limits(max_bytes=200_000, max_photos=2, connections=40, timeout=1.0)


@pytest.fixture(scope="module")
def port(shelter):
    """The port of a service with short times and low limits."""
    with serve_in_thread(shelter / "fixed", limits=LIMITS) as number:
        Client(f"http://127.0.0.1:{number}").search(noise())  # the first one takes longer
        yield number


def connect(port, data=b""):
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(data)
    return connection


def read_all(connection):
    """What the server sends until it closes the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            data += part
    return data


def test_slow_senders_are_closed_while_others_are_answered(port):
    client = Client(f"http://127.0.0.1:{port}")
    starts = (
        b"",
        b"GET /info HTT",
        b"GET /info HTTP/1.1\r\nHost: localhost\r\n",
        HEAD + b"Content-Length: 1000\r\n\r\n--x",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n--x\r\n\r\n",
    )
    slow = [connect(port, start) for start in starts for _ in range(3)]
    begin = time.monotonic()
    assert client.search(noise())[0]["hits"]
    answers = [read_all(connection) for connection in slow]
    assert time.monotonic() - begin < 10
    assert all(b"408" in answer and b"too_slow" in answer for answer in answers[9:]), answers
    assert answers[:9] == [b""] * 9


def test_a_sender_of_a_byte_at_a_time_is_closed(port):
    for head in (HEAD + b"Content-Length: 100000\r\n\r\n", b"GET /info HTTP/1.1\r\nX: "):
        connection, begin = connect(port, head), time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - begin < 10:
                connection.sendall(b"a")
                connection.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(1000):
                        break
        assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    "declared", [b"Content-Length: 100000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
def test_a_large_body_is_refused_before_it_is_read(port, declared):
    connection = connect(port, HEAD + declared)
    part = b"10000\r\n" + b"x" * 65536 + b"\r\n" if b"chunked" in declared else b"x" * 65536
    sent = 0
    connection.settimeout(5)
    with contextlib.suppress(OSError):
        while sent < 100_000_000:
            connection.sendall(part)
            sent += len(part)
    assert sent < LIMITS.max_body + 20_000_000  # what the buffers of the system hold
    with contextlib.suppress(OSError):
        assert b"413" in connection.recv(65536)
    with pytest.raises(ServiceError) as error:
        Client(f"http://127.0.0.1:{port}").search(b"x" * 300_000)
    assert error.value.code == "too_large"


def test_what_is_not_http_gets_an_error_of_the_usual_form(port):
    for data in (
        b"\x16\x03\x01\x02\x00\x01",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ):
        head, _, body = read_all(connect(port, data)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and b"Connection: close" in head
        assert json.loads(body)["error"]["code"] == "bad_request"


def test_many_idle_connections_do_not_keep_others_out(port):
    idle = [connect(port, b"GET /") for _ in range(120)]
    client = Client(f"http://127.0.0.1:{port}")
    for _ in range(3):
        assert client.search(noise())[0]["hits"]
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    assert float(re.search(r"^lookalike_connections (\S+)", text, re.MULTILINE)[1]) <= LIMITS.connections + 1
    assert float(re.search(r'rejected_total{reason="evicted"} (\S+)', text)[1]) >= 80
    for connection in idle:
        connection.close()


def test_the_client_calls_every_endpoint(index, tmp_path):
    (tmp_path / "a.jpg").write_bytes(noise())
    with run_server(index) as (process, port):
        client = Client(f"http://127.0.0.1:{port}")
        assert client.info()["may_write"]
        assert client.enrol([tmp_path / "a.jpg", noise(seed=1)], "Mia/2")["name"] == "Mia/2"
        (answer,) = client.identify(tmp_path / "a.jpg", k=1)
        assert (answer["image"], answer["identity"], len(answer["hits"])) == ("a.jpg", "Mia/2", 1)
        assert client.search(tmp_path / "a.jpg", 2, by="label", box=(0, 0, 32, 32))[0]["box"] == [
            0,
            0,
            32,
            32,
        ]
        assert client.verify(noise(), noise(), threshold=0.5)["answer"] == "same"
        assert client.embed([noise()])["dim"] == 8
        number = client.merge("Mia/2", "mia")
        assert client.decisions()[0]["id"] == number and client.undo(number) == number + 1
        photos = [each["id"] for each in client.photos("Mia/2")]
        client.split("Mia/2", photos[:1], "tom")
        assert {"Mia/2", "tom"} < {each["name"] for each in client.identities()}
        assert client.forget("tom") == 1 and client.enrol(noise(seed=3))["name"] == "new-1"
        with pytest.raises(ServiceError, match="nobody is enrolled as tom") as error:
            client.photos("tom")
        assert (error.value.code, error.value.status) == ("not_found", 404)
        with pytest.raises(ServiceError, match=r"nothing\.jpg"):
            client.identify(tmp_path / "nothing.jpg")
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0 and "stopped" in process.stderr.read()
    with pytest.raises(ServiceError, match="does the service run"):
        client.info()
    with pytest.raises(ValueError, match="http://"):
        Client("localhost:8000")


@contextlib.contextmanager
def run_server(folder, *words):
    """A service in a process of its own, and its port."""
    command = [sys.executable, "-m", "lookalike", "serve", f"index={folder}", "port=0", "device=cpu", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                yield process, int(found[1])
                break
        else:
            pytest.fail("the service did not start")
    finally:
        process.kill()
        process.wait()


def test_what_was_acknowledged_survives_kill_9(index):
    acknowledged, enough = {}, threading.Event()
    with run_server(index) as (process, port):
        client = Client(f"http://127.0.0.1:{port}", timeout=30)

        def enrol(worker):
            for number in range(1000):
                try:
                    answer = client.enrol(noise(seed=1000 * worker + number), f"cat {worker}-{number}")
                except ServiceError:
                    return
                acknowledged[answer["name"]] = answer["photos"][0]
                if len(acknowledged) >= 15:
                    enough.set()

        threads = [threading.Thread(target=enrol, args=(worker,)) for worker in range(3)]
        for thread in threads:
            thread.start()
        assert enough.wait(120)
        os.kill(process.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
    with Registry(index) as registry:
        entries = {entry.label: entry for entry in registry.engine.entries()}
        assert registry.engine.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for name, entry in acknowledged.items():
        assert entries[name].id == entry
        assert (index / "pictures" / f"{entry}.jpg").read_bytes()[-2:] == b"\xff\xd9"
    for entry in entries.values():  # nothing is enrolled by half either
        assert (index / str(entry.attributes["path"])).is_file()


def test_a_port_in_use_and_an_open_address_are_reported(shelter, port, caplog, monkeypatch):
    loaded = load_index(shelter / "fixed")
    with pytest.raises(ConfigError, match=rf"port={port}: cannot be listened on"):
        serve_index(loaded, Settings(shelter / "fixed", port=port))
    from lookalike.serve import start

    for access, warnings in ((Access(), 1), (Access(token="x"), 0)):
        caplog.clear()
        start.warn_of_exposure(Settings(shelter / "fixed", host="0.0.0.0", access=access))
        records = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(records) == warnings
    for host in ("127.0.0.1", "localhost", "::1"):
        caplog.clear()
        start.warn_of_exposure(Settings(shelter / "fixed", host=host))
        assert not caplog.records


def test_a_missing_package_names_the_extra(shelter, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ConfigError, match=r"pip install 'lookalike\[serve\]'"):
        serve_index(None, Settings(shelter / "fixed"))
