"""What the tests of the service share: a client of an application, and photos of nothing."""

import contextlib
import io
import socket
import threading
import time

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from lookalike.serve.app import make_app
from lookalike.serve.settings import Settings
from lookalike.serve.start import load_index, make_server, make_service

TOKEN = "a secret"


@contextlib.contextmanager
def run_app(folder, client=("127.0.0.1", 5000), base_url="http://localhost", headers=None, **options):
    """A client of the service of an index folder; `options` are those of `Settings`."""
    settings = Settings(folder, **{"fpir": 0.05, **options})
    service = make_service(load_index(folder, None, None), settings)
    app = make_app(service, settings)
    with TestClient(app, base_url, client=client, headers=headers) as http:
        http.service = service
        yield http


@contextlib.contextmanager
def serve_in_thread(folder, **options):
    """The port of a real server of an index folder."""
    settings = Settings(folder, **{"port": 0, "fpir": 0.05, **options})
    service = make_service(load_index(folder), settings)
    server = make_server(service, settings)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < end, "the service does not start"
        time.sleep(0.02)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


def noise(size=(64, 48), seed=0, kind="JPEG"):
    """The bytes of a photo of nothing."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()
