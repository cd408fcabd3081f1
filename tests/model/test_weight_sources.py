"""Where weights come from: files, a hub, a download; each of them good, wrong, damaged or out of reach."""

import hashlib
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import open_clip
import pytest
import timm as library
import torch
from huggingface_hub import constants
from safetensors.torch import save, save_file

from lookalike.errors import ConfigError, LookalikeError
from lookalike.model import download, openclip, torchvision_models, unicom
from lookalike.model.backbones import read_weights, timm

UNICOM = unicom.Variant(64, 16, 32, 2, 4, 8, "tiny/tiny.pt", "")
CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}
KINDS = ("timm", "openclip", "unicom", "torchvision")


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch):
    monkeypatch.setitem(unicom.VARIANTS, "tiny", UNICOM)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", CLIP)
    tag = {"hf_hub": "owner/tiny/", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"published": tag})


def load(kind, weights=None, **more):
    """A tiny backbone of a kind."""
    more = {"pretrained": weights is not None, "weights": weights and str(weights), **more}
    if kind == "timm":
        return timm("test_resnet", image_size=64, **more)
    if kind == "openclip":
        return openclip.openclip("tiny", "published", **more)
    if kind == "unicom":
        return unicom.unicom("tiny", **more)
    return torchvision_models.torchvision("mobilenet_v3_small", image_size=32, **more)


def published_weights(kind, seed=1):
    """A state dict as its authors publish it: with classifier, text tower, or in half precision."""
    torch.manual_seed(seed)
    if kind == "timm":
        return library.create_model("test_resnet").state_dict()
    if kind == "openclip":
        return open_clip.create_model("tiny", force_quick_gelu=True).state_dict()
    if kind == "unicom":
        view = unicom._named_as_published(load("unicom"))
        return {
            name: each.half() if each.is_floating_point() else each
            for name, each in view.state_dict().items()
        }
    return torchvision_models._build_whole("mobilenet_v3_small").state_dict()


def a_weight(state):
    """The name of a weight in the middle."""
    names = [name for name, value in state.items() if value.ndim > 1 and "text" not in name]
    names = [
        name
        for name in names
        if not name.startswith(("transformer", "token", "positional", "classifier.3", "fc"))
    ]
    return names[len(names) // 2]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_from_a_file_are_the_ones_used(kind, tmp_path):
    state = published_weights(kind)
    name = a_weight(state)
    torch.save(state, tmp_path / "plain.pth")
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3},
        tmp_path / "a.pt",
    )
    save_file({key: value.clone() for key, value in state.items()}, tmp_path / "a.safetensors")
    images = torch.rand(2, 3, load(kind).spec.get("image_size", 64), 64)
    images = images[..., : images.shape[2]]
    vectors = []
    for file in ("plain.pth", "a.pt", "a.safetensors"):
        backbone = load(kind, tmp_path / file).eval()
        assert backbone.pretrained
        own = dict(backbone.state_dict())
        match = [key for key in own if key.endswith(name.removeprefix("visual."))]
        torch.testing.assert_close(own[match[0]], state[name].float())
        vectors.append(backbone.pool_images(images))
    assert torch.equal(vectors[0], vectors[1]) and torch.equal(vectors[0], vectors[2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fault", ["missing", "extra", "shape", "nan", "other", "empty", "list", "pickle", "damaged"]
)
def test_bad_weights_files_are_refused_in_one_line_that_names_the_file_and_the_weight(kind, fault, tmp_path):
    state = dict(published_weights(kind))
    name = a_weight(state)
    file, bare = tmp_path / "bad.pth", name.removeprefix("visual.")
    said = {
        "missing": f"lacks {bare}",
        "extra": "unknown: ",
        "shape": f"{bare} has shape",
        "nan": "contains NaN",
    }
    if fault == "missing":
        state.pop(name)
    elif fault == "extra":
        state["visual.stranger" if kind == "openclip" else "stranger"] = torch.ones(2)
    elif fault == "shape":
        state[name] = torch.zeros(3, *state[name].shape)
    elif fault == "nan":
        state[name] = torch.full_like(state[name], torch.nan)
    elif fault == "other":
        state = published_weights("timm" if kind != "timm" else "torchvision")
    elif fault == "empty":
        state = {}
    elif fault == "list":
        state = [1, 2]
    elif fault == "pickle":
        state = {"weight": _Evil(tmp_path / "owned")}
    torch.save(state, file)
    if fault == "damaged":
        file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(LookalikeError) as refused:
        load(kind, file)
    message = str(refused.value)
    assert message.startswith(str(file)) and "\n" not in message and len(message) < 600
    other = {"other": "another model", "pickle": "pickled Python objects", "empty": "no weights"}
    assert {**said, **other}.get(fault, "state dict") in message
    assert not (tmp_path / "owned").exists()


class _Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_a_damaged_file_a_missing_one_and_a_picture_are_named(tmp_path):
    (tmp_path / "half.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    (tmp_path / "picture.pth").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    for file, said in (
        ("half.safetensors", "not a state dict"),
        ("none.pth", "no such weights file"),
        ("picture.pth", r"not a state dict of plain tensors \(no file that PyTorch writes\)"),
    ):
        with pytest.raises(LookalikeError, match=f"{file}: {said}"):
            read_weights(tmp_path / file)


class FakeServer:
    """A model hub, or a plain file server, on this machine.

    Attributes:
        files: content by path.
        mode: None; a status; "html", "short" (the connection breaks) or "silent".
        requests: methods and paths so far.
    """

    def __init__(self):
        self.files, self.mode, self.requests = {}, None, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                outer.answer(self)

            do_GET = do_HEAD

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler):
        self.requests.append((handler.command, handler.path))
        content = self.files.get(handler.path)
        status = self.mode if isinstance(self.mode, int) else 404 if content is None else 200
        if handler.path == "/" and not isinstance(self.mode, int):
            status = 200
        html = self.mode == "html"
        body = b"<html>Sign in</html>" if html else content if status == 200 and content else b""
        handler.send_response(200 if html else status)
        if not html:
            handler.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            handler.send_header("X-Repo-Commit", "0" * 40)
            if status == 404:
                handler.send_header("X-Error-Code", "EntryNotFound")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body[: len(body) // 2] if self.mode == "short" else body)
            if self.mode == "short":
                handler.close_connection = True


@pytest.fixture
def server():
    server = FakeServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "".join(template[1:]))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return server


def repository(kind):
    """Where the hub has the weights of a tiny model."""
    if kind == "timm":
        name = library.get_pretrained_cfg("test_resnet").hf_hub_id.split("@")[0]
        return f"/{name}/resolve/main/model.safetensors"
    return "/owner/tiny/resolve/main/open_clip_model.safetensors"


@pytest.mark.parametrize("kind", ["timm", "openclip"])
def test_published_weights_come_from_the_hub_once(kind, hub):
    state = published_weights(kind)
    hub.files[repository(kind)] = save({key: value.clone() for key, value in state.items()})
    backbone = load(kind, pretrained=True)
    assert backbone.pretrained
    own, name = backbone.state_dict(), a_weight(state)
    torch.testing.assert_close(own[f"net.{name.removeprefix('visual.')}"], state[name])
    count = sum(method == "GET" for method, _ in hub.requests)
    load(kind, pretrained=True)
    assert sum(method == "GET" for method, _ in hub.requests) == count
    hub.server.server_close()
    if kind == "openclip":
        assert backbone.mean == (0.1, 0.2, 0.3) and backbone.std == (0.4, 0.5, 0.6)
        assert "QuickGELU" in str(backbone.net)


@pytest.mark.parametrize("kind", ["timm", "openclip"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (404, "answers 404"),
        (401, "answers 401"),
        (503, "no connection"),
        ("html", "does not answer as a model hub does"),
        ("short", "cannot be loaded|cannot be fetched"),
        ("other", "another model"),
        ("nan", "contains NaN"),
        ("noise", "cannot be loaded|state dict"),
    ],
)
def test_a_hub_that_is_down_or_sends_something_else_is_reported_soon(kind, content, said, hub):
    state = {key: value.clone() for key, value in published_weights(kind).items()}
    if content == "nan":
        state[a_weight(state)][:] = torch.nan
    if content == "other":
        state = {"stem.weight": torch.ones(3)}
    hub.files[repository(kind)] = b"noise" * 500 if content == "noise" else save(state)
    hub.mode = content if content in (404, 401, 503, "html", "short") else None
    start = time.monotonic()
    with pytest.raises(LookalikeError, match=said) as refused:
        load(kind, pretrained=True)
    assert time.monotonic() - start < 20
    assert "\n" not in str(refused.value) and "\x1b" not in str(refused.value)
    assert not constants.HF_HUB_OFFLINE


@pytest.fixture
def releases(server, monkeypatch, tmp_path):
    """A server of Unicom's and torchvision's files, and an empty cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.save(published_weights("unicom"), tmp_path / "tiny.pt")
    server.files["/tiny/tiny.pt"] = content = (tmp_path / "tiny.pt").read_bytes()
    monkeypatch.setattr(unicom, "RELEASES", server.address)
    right = replace(UNICOM, sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(unicom.VARIANTS, "tiny", right)
    server.cached = tmp_path / "torch" / "hub" / "checkpoints" / "tiny.pt"
    return server


def test_unicom_is_downloaded_once_and_again_if_the_copy_is_damaged(releases):
    state = published_weights("unicom")
    assert not load("unicom").pretrained and not releases.requests
    for requests in (1, 1, 2):
        if requests == 2:
            releases.cached.write_bytes(b"damaged")
        backbone = load("unicom", pretrained=True)
        torch.testing.assert_close(backbone.net.norm.weight, state["norm.weight"].float())
        assert len(releases.requests) == requests


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (404, "answers 404"),
        (500, "answers 500"),
        ("html", "is not the published file"),
        ("short", "the connection broke after|cannot be downloaded"),
        ("down", "cannot be downloaded"),
        ("silent", "cannot be downloaded"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_what_works(mode, said, releases, monkeypatch):
    monkeypatch.setattr(download, "SECONDS", 0.5)
    releases.mode = mode
    if mode == "down":
        monkeypatch.setattr(unicom, "RELEASES", "http://127.0.0.1:9")
    if mode == "silent":
        monkeypatch.setattr(releases, "answer", lambda handler: time.sleep(1.5))
    with pytest.raises(LookalikeError, match=said) as refused:
        load("unicom", pretrained=True)
    assert "backbone.weights=FILE" in str(refused.value) and "\n" not in str(refused.value)
    assert not list(Path(releases.cached).parent.iterdir())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: openclip.openclip("ViT-B-33"), "nearest: ViT-B-32"),
        (
            lambda: openclip.openclip("ViT-L-14"),
            "backbone.tag=laion2b_s34b_b79k: .* nearest: laion2b_s32b_b82k",
        ),
        (lambda: openclip.openclip("ViT-S-16", "x"), "publishes no weights"),
        (lambda: unicom.unicom("ViT-B32"), "nearest: ViT-B/32"),
        (lambda: unicom.unicom("ViT-B/32", image_size=96), "set image_size=224"),
        (lambda: unicom.unicom("ViT-L/14", image_size=336), "image_size=224, .*ViT-L/14@336px reads 336"),
        (lambda: torchvision_models.torchvision("resnet51"), "nearest: resnet50|nearest: resnet101"),
        (lambda: torchvision_models.torchvision("resnet50", "V3"), "choose IMAGENET1K_V1, IMAGENET1K_V2"),
        (
            lambda: torchvision_models.torchvision("vit_b_16", image_size=97, pretrained=False),
            "set image_size=224",
        ),
        (lambda: timm("resnet5O"), "nearest: .*resnet50"),
        (lambda: openclip.openclip("local-dir:/nowhere"), "/nowhere.*does not describe an OpenCLIP model"),
    ],
)
def test_wrong_names_tags_and_sizes_are_refused_with_what_would_work(make, said):
    with pytest.raises((ConfigError, LookalikeError), match=said) as refused:
        make()
    assert "\n" not in str(refused.value)
