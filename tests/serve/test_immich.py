"""Immich's contract: requests as its server sends them, recorded, and what its database accepts."""

import http.server
import io
import json
import threading

import numpy as np
import pytest
from PIL import Image
from serve_world import noise, run_app

from lookalike.detect import Detection
from lookalike.detect.cropping import Crops
from lookalike.errors import ConfigError
from lookalike.serve.immich import check_model

BOUNDARY = "----formdata-undici-020480714129"
"""Immich's server runs on Node, whose multipart forms look like this."""
FACES = {
    "facial-recognition": {
        "detection": {"modelName": "buffalo_l", "options": {"minScore": 0.7}},
        "recognition": {"modelName": "buffalo_l"},
    }
}
CLIP = {"clip": {"visual": {"modelName": "ViT-B-32__openai"}}}
TEXT = {"clip": {"textual": {"modelName": "ViT-B-32__openai", "options": {"language": "en"}}}}


def record(entries, image=None, text=None):
    """The body of a request of Immich."""
    parts = [b'name="entries"\r\n\r\n' + json.dumps(entries, separators=(",", ":")).encode()]
    if image is not None:
        parts.append(
            b'name="image"; filename="blob"\r\nContent-Type: application/octet-stream\r\n\r\n' + image
        )
    if text is not None:
        parts.append(b'name="text"\r\n\r\n' + text.encode())
    start = f"--{BOUNDARY}\r\nContent-Disposition: form-data; ".encode()
    return b"".join(start + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n\r\n".encode()


def predict(client, body):
    return client.post(
        "/predict",
        content=body,
        headers={
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Accept": "*/*",
            "Accept-Language": "*",
            "Sec-Fetch-Mode": "cors",
            "User-Agent": "node",
        },
    )


def two_pets(image):
    """A detector of two animals, and of a doubtful third; none in small photos."""
    if image.shape[1] < 60:
        return []
    boxes = {(0.4, 5, 20, 25): 0.99, (30, 5, 70.2, 45): 0.8, (60, 40, 79, 59): 0.5}
    return [Detection(box, score) for box, score in boxes.items()]


def test_faces_are_our_subjects_in_the_format_of_immich(index):
    data, cropping = noise((80, 60)), Crops(two_pets, size=24)
    with run_app(index, cropping=cropping, immich=True) as client:
        assert client.get("/ping").text == "pong"
        answer = predict(client, record(FACES, data))
        assert answer.status_code == 200
        values = answer.json()
        assert (values["imageWidth"], values["imageHeight"]) == (80, 60)
        faces = values["facial-recognition"]
        assert [face["boundingBox"] for face in faces] == [
            {"x1": 30, "y1": 5, "x2": 70, "y2": 45},
            {"x1": 0, "y1": 5, "x2": 20, "y2": 25},
        ]
        assert [face["score"] for face in faces] == [0.8, 0.99]  # the third is below Immich's minimum
        assert isinstance(faces[0]["embedding"], str)
        vectors = np.array([json.loads(face["embedding"]) for face in faces])
        assert vectors.shape == (2, 512)
        pictures = [
            cropping.crop(Image.open(io.BytesIO(data)), each) for each in two_pets(np.zeros((60, 80)))
        ]
        expected = client.service.model.embed([pictures[1], pictures[0]])
        assert vectors @ vectors.T == pytest.approx(expected @ expected.T, abs=1e-5)
        nobody = predict(client, record(FACES, noise((50, 40)))).json()
        assert nobody == {"facial-recognition": [], "imageWidth": 50, "imageHeight": 40}
        assert predict(client, record(FACES, b"no photo")).status_code == 422


def test_whole_photos_are_one_face(index):
    with run_app(index, immich=True) as client:
        (face,) = predict(client, record(FACES, noise((80, 60)))).json()["facial-recognition"]
        assert face["boundingBox"] == {"x1": 0, "y1": 0, "x2": 80, "y2": 60}


def test_other_tasks_are_passed_on_or_refused(index):
    received = []

    class Upstream(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, body))
            status = 500 if b"fail" in body else 302 if b"elsewhere" in body else 200
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(b'{"clip": "[0.1,0.2]", "imageHeight": 60, "imageWidth": 80}')

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, data = f"http://127.0.0.1:{server.server_port}", noise((80, 60))
    with run_app(index, immich=True, upstream=address) as client:
        assert predict(client, record(CLIP, data)).json()["clip"] == "[0.1,0.2]"
        assert received[-1][0] == "/predict" and data in received[-1][1]
        assert json.dumps(CLIP).encode() in received[-1][1]
        assert predict(client, record(TEXT, text="a cat")).json()["clip"] == "[0.1,0.2]"
        assert b"a cat" in received[-1][1]
        both = predict(client, record({**FACES, **CLIP}, data)).json()
        assert both["clip"] == "[0.1,0.2]" and len(both["facial-recognition"]) == 1
        assert b"facial-recognition" not in received[-1][1]
        for text in ("fail", "elsewhere"):
            failed = predict(client, record(TEXT, text=text))
            assert (failed.status_code, failed.json()["error"]["code"]) == (502, "upstream")
        server.shutdown()
        server.server_close()
        assert predict(client, record(CLIP, data)).status_code == 502
    with run_app(index, immich=True) as client:
        refused = predict(client, record(CLIP, data))
        assert refused.status_code == 404 and "immich.upstream" in refused.json()["error"]["message"]


def test_wrong_requests_and_settings_are_refused(client, index):
    assert client.get("/ping").status_code == 404  # only with api=immich
    with run_app(index, immich=True) as immich:
        for entries in ({}, [], "x", {"facial-recognition": 1}):
            assert predict(immich, record(entries, noise())).status_code == 400
        assert predict(immich, record(FACES)).status_code == 400
        assert predict(immich, record(FACES, text="a cat")).status_code == 400
    with pytest.raises(ConfigError, match="dimension 512, and this model has 513"):
        check_model(513, None)
    with pytest.raises(ConfigError, match=r"immich\.upstream=ftp"):
        check_model(512, "ftp://x")
