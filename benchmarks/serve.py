"""What the service costs: overhead per request, throughput under 16 clients, and cold start, with ONNX.

python benchmarks/serve.py [rounds=5] [requests=40]

The model is an EfficientNet-Lite0 at 224 px with a random head, exported in fp32; the index holds 500
bundled emoji. Photos are JPEG files of 640 × 480 pixels. The bare model does the same work in this
process: decode, resize, embed, search. Rounds of both take turns; figures are medians over rounds, with
their range. Clients run on the same machine and take some of its time. The goals: at most 5 ms overhead,
at least 90 % of the throughput, and a cold start of at most 5 s.
"""

import contextlib
import http.client
import io
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import lookalike
from _common import show
from lookalike.data.transforms import Resize
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build
from lookalike.search.query import run_model
from lookalike.serve.form import Upload
from lookalike.serve.photos import Preparer
from lookalike.serve.settings import Limits

SEED = 0
CLIENTS = 16
BATCH = 16
EMOJI = Path(lookalike.__file__).parent / "sample" / "emoji"
HEADERS = {"Content-Type": "multipart/form-data; boundary=x"}


def make_index(folder: Path) -> Path:
    """An exported model, and an index of emoji by it."""
    import polars as pl
    import torch

    from lookalike.data.table import Table

    torch.manual_seed(SEED)
    backbone = backbones.efficientnet_lite0()
    model = build(backbone, pooling.Native(), heads.Linear, 256, Resize(224)).eval()
    model.save(folder / "model")
    lookalike.export(folder / "model", out=folder / "onnx", max_images=16, progress=False)
    files = sorted(EMOJI.rglob("*.png"))[:500]
    rows = {"path": list(map(str, files)), "label": [file.parent.name for file in files]}
    table = Table(pl.DataFrame({**rows, "split": "test"}), folder)
    exported = lookalike.load(folder / "onnx")
    lookalike.Index.build(exported, table, out=folder / "index", engine="sqlite")
    return folder / "index"


def make_photos(count: int = 32) -> list[bytes]:
    """JPEG files with the structure of photos: smooth noise."""
    rng = np.random.default_rng(SEED)
    photos = []
    for _ in range(count):
        small = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        stream = io.BytesIO()
        small.resize((640, 480), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        photos.append(stream.getvalue())
    return photos


@contextlib.contextmanager
def run_service(index: Path) -> Iterator[tuple[int, float]]:
    """The port of a service in a process of its own, and the seconds until it was ready."""
    command = [sys.executable, "-m", "lookalike", "serve", f"index={index}", "port=0", f"batch_size={BATCH}"]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in process.stderr or () if "http://" in line)
        port = int(re.search(r":(\d+)/", line)[1])  # type: ignore[index]
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/ready")
        assert connection.getresponse().status == 200
        yield port, time.perf_counter() - begin
    finally:
        process.terminate()
        process.wait()


class Bare:
    """Decode, resize, embed and search, without a service."""

    def __init__(self, index: Path) -> None:
        self.index = lookalike.Index.load(index)
        self.model = self.index.loaded_model
        self.prepare = Preparer(self.model, None, Limits())

    def answer(self, photos: list[bytes]) -> None:
        """Search with a batch of photos."""
        inputs = [self.prepare(Upload("photo", photo)).subjects[0].input for photo in photos]
        self.index.search(run_model(self.model, inputs), 5)


class Caller:
    """A client that keeps its connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port)

    def answer(self, photos: list[bytes]) -> None:
        """Search with one photo per request."""
        for photo in photos:
            head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
            self.connection.request("POST", "/search", head + photo + b"\r\n--x--\r\n", HEADERS)
            response = self.connection.getresponse()
            response.read()
            assert response.status == 200


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def call_together(callers: list[Caller], photos: list[bytes]) -> None:
    """Requests of several clients at a time."""
    parts = [photos[number :: len(callers)] for number in range(len(callers))]
    threads = [
        threading.Thread(target=caller.answer, args=(part,))
        for caller, part in zip(callers, parts, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(rounds: int, requests: int) -> list[tuple[str, str, str]]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory() as temporary:
        index, photos = make_index(Path(temporary)), make_photos()
        starts = []
        for _ in range(min(rounds, 3)):
            with run_service(index) as (_, start):
                starts.append(start)
        bare, many = Bare(index), (photos * (1 + requests // len(photos)))[:requests]
        overheads, ratios, rates = [], [], []
        with run_service(index) as (port, start):
            starts.append(start)
            callers = [Caller(port) for _ in range(CLIENTS)]
            for number in range(rounds + 1):
                alone = statistics.median(seconds(lambda photo=photo: bare.answer([photo])) for photo in many)
                called = statistics.median(
                    seconds(lambda photo=photo: callers[0].answer([photo])) for photo in many
                )
                batches = [(many * 4)[at : at + BATCH] for at in range(0, 4 * requests, BATCH)]
                model = seconds(lambda batches=batches: [bare.answer(batch) for batch in batches])
                served = seconds(lambda: call_together(callers, many * 4))
                if number:  # the first round warms up
                    overheads.append(1000 * (called - alone))
                    ratios.append(model / served)
                    rates.append(4 * requests / served)
    return [
        ("overhead per request", _format(overheads, "ms"), "≤ 5 ms"),
        (f"throughput of {CLIENTS} clients, share of the bare model", _format(ratios, ""), "≥ 0.90"),
        (f"requests per second of {CLIENTS} clients", _format(rates, ""), ""),
        ("cold start", _format(starts, "s"), "≤ 5 s"),
    ]


def _format(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}] {unit}".strip()


if __name__ == "__main__":
    options = dict(word.split("=") for word in sys.argv[1:])
    rows = measure(int(options.get("rounds", 5)), int(options.get("requests", 40)))
    show(f"Service, ONNX Runtime, seed {SEED}, medians and ranges", ("figure", "value", "goal"), rows)
