"""A service with a small real index, in a thread of the test, and a Chromium that visits its page."""

import itertools
import shutil
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import polars as pl
import pytest
import torch
from PIL import Image

import lookalike
from lookalike.cli.main import main
from lookalike.data.table import Table, write_table
from lookalike.data.transforms import Resize, stack_images
from lookalike.detect.cropping import Crops
from lookalike.detect.detection import Detection
from lookalike.evaluation.validation_vectors import write_validation_vectors
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build
from lookalike.serve.settings import Access, Limits, Settings
from lookalike.serve.start import load_index, make_server, make_service

EMOJI = Path(lookalike.__file__).parent / "sample" / "emoji"
ANIMALS = {"cat": "Mia", "dog": "Bruno", "bear-face": "Teddy", "koala": "Kobe", "penguin": "Pingu"}
"""Emoji that are enrolled in three drawings each, and their names."""
UNKNOWN = {"turtle": "new-1"}
VALIDATION = 80
NUMBERS = itertools.count()
SIDE, DIM = 32, 32


def drawings(emoji):
    return sorted((EMOJI / emoji).glob("*.png"))


def whitened_model(images):
    """A random convolution whose features are decorrelated on some images: tiny, and tells drawings apart."""
    torch.manual_seed(0)
    model = build(backbones.small_cnn([32, 128]), pooling.Native(), heads.Linear, DIM, Resize(SIDE)).eval()
    with torch.no_grad():
        features = model.pool_features(stack_images([model.transform()(image) for image in images])).double()
        mean = features.mean(0)
        _, lengths, axes = torch.linalg.svd(features - mean, full_matrices=False)
        weight = axes[:DIM] / lengths[:DIM, None]
        model.head.layer.weight.copy_(weight)
        model.head.layer.bias.copy_(-weight @ mean)
    return model


@pytest.fixture(scope="session")
def shelter(tmp_path_factory):
    """A folder with a model, its validation vectors, an index that changes, and one that does not."""
    root = tmp_path_factory.mktemp("shelter")
    others = [folder.name for folder in sorted(EMOJI.iterdir()) if folder.name not in {**ANIMALS, **UNKNOWN}]
    files = [(file, emoji) for emoji in others[::3][:VALIDATION] for file in drawings(emoji)[:2]]
    images = [Image.open(file).convert("RGB") for file, _ in files]
    model = whitened_model(images)
    model.save(root / "model")
    labels = [emoji for _, emoji in files]
    write_validation_vectors(model.embed(images), labels, model.space, root / "model")
    rows = [(str(file), name, "test") for emoji, name in ANIMALS.items() for file in drawings(emoji)[:3]]
    rows += [(str(file), name, "test") for emoji, name in UNKNOWN.items() for file in drawings(emoji)[:1]]
    table = Table(pl.DataFrame(rows, schema=["path", "label", "split"], orient="row"), root)
    write_table(table, root / "data", {})
    for name, engine in (("index", "sqlite"), ("fixed", None)):
        words = [f"model={root}/model", f"dataset={root}/data", f"out={root}/{name}", "progress=false"]
        assert main(["index", *words, *([f"engine={engine}"] if engine else [])]) == 0
    return root


class Halves:
    """A detector for photos of two: each half of a wide one."""

    def __call__(self, image):
        """One detection for each half of a wide photo, else one of all."""
        height, width = image.shape[:2]
        parts = 2 if width > 1.5 * height else 1
        return [
            Detection((width / parts * part + 4, 4, width / parts * (part + 1) - 4, height - 4))
            for part in range(parts)
        ]


class Running:
    """A running service: its address, its folder, and a switch."""

    def __init__(self, service, settings):
        self.settings, self.service = settings, service
        self.start()

    def start(self):
        self.server = make_server(self.service, self.settings)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def stop(self):
        self.server.should_exit = True
        self.thread.join(20)


@contextmanager
def running(index, copied, **settings):
    """The service of a copy of an index."""
    shutil.copytree(index, copied)
    settings = Settings(copied, port=0, **settings)
    service = Running(make_service(load_index(copied, None, "cpu"), settings), settings)
    yield service
    service.stop()


@pytest.fixture(scope="module")
def serve(shelter):
    """`serve()` runs a service until the module ends; `serve(index=…, token=…)` another one."""
    with ExitStack() as stack:

        def start(index="index", token=None, read_token=False, limits=None, halves=False, folder=None):
            more = {"access": Access(token, read_token), "limits": limits or Limits()}
            if halves:
                more |= {"cropping": Crops(Halves(), SIDE), "detect": "halves"}
            copied = shelter / f"served-{next(NUMBERS)}"  # beside the model
            return stack.enter_context(running(folder or shelter / index, copied, **more))

        yield start


@pytest.fixture
def visit(browser):
    """Open the page of a service; whatever goes wrong in it, or leaves it, fails the test."""
    contexts, trouble = [], []

    def go(service, path="", ready=True, expected=(), **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)

        def heard(message):
            text = message.text + message.location.get("url", "")
            if message.type in ("error", "warning") and not any(word in text for word in expected):
                trouble.append(text)

        page.on("console", heard)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "request", lambda request: is_outside(request.url, service.url) and trouble.append(request.url)
        )
        page.goto(service.url + path)
        if ready:
            page.wait_for_selector("body[data-ready]")
        return page

    yield go
    for context in contexts:
        context.close()
    assert not trouble


def is_outside(address, own):
    return not address.startswith((own, "blob:", "data:"))


@pytest.fixture
def photo(tmp_path):
    """`photo("cat", 0)` is a file of a drawing, at the size of a small photo."""

    def make(emoji, number=0, name=None, width=240, **options):
        image = Image.open(drawings(emoji)[number]).convert("RGB").resize((240, 240))
        if width > 240:
            wide = Image.new("RGB", (width, 240), "white")
            wide.paste(image, (0, 0))
            wide.paste(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (width - 240, 0))
            image = wide
        file = tmp_path / (name or f"{emoji}-{number}.jpg")
        image.save(file, quality=95, **options)
        return file

    return make
