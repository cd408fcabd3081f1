"""Models on a hub, a local server with the interface of the Hugging Face Hub; facts about a model."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
import torch
from huggingface_hub import constants

import lookalike
from lookalike.cli.main import main
from lookalike.data.transforms import Resize
from lookalike.errors import LookalikeError
from lookalike.export.hub import pull, push
from lookalike.export.info import info
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build

TOKEN = "hf_secretsecretsecret"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Holds one repository in memory; `fault` makes it misbehave."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.fault = ""
        self.tokens: set[str | None] = set()


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, body=b"", status=200, headers=None):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def address(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def read_body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        self.server.tokens.add(self.headers.get("Authorization"))
        path, body = urlparse(self.path).path, self.read_body()
        if self.server.fault == "refuses" and "/commit/" in path:
            return self.answer({"error": "no"}, 403)
        if path == "/api/repos/create":
            return self.answer({"url": f"{self.address()}/a/b"})
        if "/preupload/" in path:
            names = [entry["path"] for entry in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return self.answer({"files": modes})
        if "/commit/" not in path:  # such as the check of the card's metadata
            return self.answer({"errors": [], "warnings": []})
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.server.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        return self.answer(
            {"success": True, "commitUrl": f"{self.address()}/a/b/commit/{COMMIT}", "commitOid": COMMIT}
        )

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.tokens.add(self.headers.get("Authorization"))
        path = unquote(urlparse(self.path).path)
        if path.startswith("/api/models/"):
            if self.server.fault == "missing":
                return self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return self.answer(
                {"id": "a/b", "sha": COMMIT, "siblings": [self.sibling(name) for name in self.names()]}
            )
        name = path.split(f"/resolve/{COMMIT}/")[1]
        content = self.server.files[name]
        if self.server.fault == "wrong content" and name == "model.safetensors":
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if self.server.fault == "breaks off" and self.command == "GET" and name == "model.safetensors":
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return None
        return self.answer(content, 200, headers)

    def names(self):
        extra = ["../../evil.txt", "/tmp/evil.txt", "code.py"] if self.server.fault == "traversal" else []
        return [*self.server.files, *extra]

    def sibling(self, name):
        content = self.server.files.get(name, b"evil")
        entry = {"rfilename": name, "size": len(content)}
        if name == "model.safetensors":
            entry["lfs"] = {
                "sha256": hashlib.sha256(content).hexdigest(),
                "size": len(content),
                "pointerSize": 100,
            }
        return entry


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run") / "model"
    model = build(backbones.SmallCNN((4, 8)), pooling.Native(), heads.Linear, 16, Resize(28)).eval()
    model.save(folder)
    (folder / "notes.txt").write_text("private")
    return folder


def test_what_is_pushed_can_be_pulled(hub, model_folder, tmp_path, capsys, caplog):
    assert main(["push", f"model={model_folder.parent}", "repo=a/b"]) == 0
    assert COMMIT in capsys.readouterr().out
    assert set(hub.files) == {"config.json", "model.safetensors", "README.md"}
    assert main(["pull", "repo=a/b", f"out={tmp_path / 'again'}"]) == 0
    again, first = lookalike.load(tmp_path / "again"), lookalike.load(model_folder)
    assert again.space == first.space
    assert {file.name for file in (tmp_path / "again").iterdir()} == set(hub.files)
    assert hub.tokens == {f"Bearer {TOKEN}"}
    output = capsys.readouterr()
    assert TOKEN not in output.out + output.err + caplog.text


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("wrong content", "SHA-256"),
        ("breaks off", "broke off|bytes were received"),
        ("missing", "there is no such repository"),
        ("no model", "contains neither"),
    ],
)
def test_a_download_that_fails_leaves_nothing(hub, model_folder, tmp_path, fault, message):
    push(model_folder, "a/b")
    hub.fault = fault
    if fault == "no model":
        del hub.files["model.safetensors"]
    with pytest.raises(LookalikeError, match=message) as caught:
        pull("a/b", tmp_path / "out")
    assert TOKEN not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_files_outside_of_a_model_are_not_fetched(hub, model_folder, tmp_path, caplog):
    push(model_folder, "a/b")
    hub.fault = "traversal"
    with caplog.at_level("INFO", "lookalike"):
        pull("a/b", tmp_path / "out")
    assert "../../evil.txt" in caplog.text
    assert {file.name for file in tmp_path.rglob("*") if file.is_file()} == set(hub.files)


def test_a_refusal_and_a_hub_that_is_down_are_one_line(hub, model_folder, monkeypatch):
    hub.fault = "refuses"
    with pytest.raises(LookalikeError, match="status 403"):
        push(model_folder, "a/b")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(LookalikeError, match="cannot be reached"):
        pull("a/b", model_folder.parent / "out")
    with pytest.raises(LookalikeError, match="cannot be reached"):
        push(model_folder, "a/b")
    with pytest.raises(LookalikeError, match="repo=a b"):
        push(model_folder, "a b")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(LookalikeError, match="HF_HUB_OFFLINE is set"):
        push(model_folder, "a/b")


def test_a_damaged_folder_is_not_pushed(hub, model_folder, tmp_path):
    (tmp_path / "config.json").write_bytes((model_folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(LookalikeError, match=r"model\.safetensors"):
        push(tmp_path, "a/b")
    assert not hub.files
    assert not hub.tokens


def test_info_counts_weights_and_operations(model_folder, capsys):
    facts = info(model_folder)
    model = lookalike.load(model_folder)
    assert facts.parameters == sum(weight.numel() for weight in model.parameters())
    first, second, head = 28 * 28 * 4 * 27, 14 * 14 * 8 * 36, 8 * 49 * 16
    assert facts.flops == 2 * (first + second + head)
    assert facts.space == model.space
    assert set(facts.speed) == {1, 16}
    assert np.isfinite(list(facts.speed.values())).all()
    assert main(["info", str(model_folder), "format=json"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    assert (printed["parameters"], printed["dim"]) == (facts.parameters, 16)
    assert main(["info", str(model_folder), str(model_folder.parent), "format=markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("|") for line in lines] == [11] * 4
    assert "small_cnn" in lines[2]
    assert main(["info", str(model_folder.parent / "nothing")]) == 1
