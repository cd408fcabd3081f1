"""What nobody should send: uploads that are no photos, forms that are no forms, and random requests."""

import io
import struct
import zlib

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serve_world import TOKEN, noise, run_app, serve_in_thread

from lookalike.serve.settings import Access, Limits

KB = 1000


def png(width, height, data=b""):
    """A PNG of a few bytes that claims a size."""

    def chunk(kind, content):
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif(frames):
    stream = io.BytesIO()
    pictures = [Image.new("P", (8, 8), number % 200) for number in range(frames)]
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:])
    return stream.getvalue()


HOSTILE = {
    "empty": (b"", "unreadable_image"),
    "text": (b"I am no photo", "unreadable_image"),
    "html": (b"<html><script>alert(1)</script>", "unreadable_image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unreadable_image"),
    "zip": (b"PK\x03\x04" + bytes(100), "unreadable_image"),
    "executable": (b"MZ\x90\0" + bytes(100), "unreadable_image"),
    "truncated": (noise()[:200], "unreadable_image"),
    "bomb": (png(20_000, 20_000, zlib.compress(bytes(10 * KB))), None),
    "long side": (png(65_500, 1), "unreadable_image"),
    "too many pixels": (png(9000, 9000), "too_large"),
    "no pixels": (png(0, 5), "unreadable_image"),
    "damaged": (png(10, 10, b"xx"), "unreadable_image"),
    "tiff bomb": (b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 60, "unreadable_image"),
    "formats of other libraries": (b"%!PS-Adobe-3.0\n", "unreadable_image"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_photo_is_refused_in_one_sentence(name, reader):
    data, code = HOSTILE[name]
    for path in ("/identify", "/search", "/embed"):
        refused = reader.post(path, files={"image": ("../../\r\nevil.jpg", data, "image/jpeg")})
        error = refused.json()["error"]
        assert refused.status_code in (413, 422) and error["code"] == (code or error["code"])
        assert "\n" not in error["message"] and "Traceback" not in error["message"]
    assert reader.post("/search", files={"image": noise()}).status_code == 200


def test_an_animation_gives_its_first_frame_and_the_type_is_that_of_the_content(reader):
    for data in (gif(300), noise(kind="PNG"), noise(kind="BMP"), noise(kind="WEBP")):
        sent = reader.post("/search", files={"image": ("a.txt", data, "text/plain")})
        assert sent.status_code == 200


def test_limits_of_bytes_and_photos(shelter):
    limits = Limits(max_bytes=10 * KB, max_photos=2, max_pixels=5000)
    with run_app(shelter / "fixed", limits=limits) as client:
        assert client.get("/info").json()["max_bytes"] == 10 * KB
        large = client.post("/search", files={"image": noise((64, 64)) + bytes(10 * KB)})
        assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
        many = client.post("/search", files=[("image", noise()) for _ in range(3)])
        assert (many.status_code, many.json()["error"]["code"]) == (400, "bad_request")
        pixels = client.post("/search", files={"image": noise((80, 80))})
        assert (pixels.status_code, pixels.json()["error"]["code"]) == (413, "too_large")
        huge = client.post(
            "/search", content=bytes(200 * KB), headers={"Content-Type": "multipart/form-data"}
        )
        assert huge.status_code == 413
        lying = client.post("/search", content=iter([bytes(100 * KB)] * 3), headers=MULTIPART)
        assert lying.status_code == 413 and client.app.memory.total == 0
    with run_app(shelter / "fixed", limits=Limits(memory=KB)) as client:
        full = client.post("/search", files={"image": noise()})
        assert (full.status_code, full.headers["retry-after"]) in {(413, None), (503, "1")}


MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}
FORMS = [
    b"",
    b"--x",
    b"--x--",
    b"--x\r\n\r\n\r\n--x--",
    b'--x\r\nContent-Disposition: form-data; name="image"; filename="\xff\xfe"\r\n\r\n\r\n--x--\r\n',
    b"--x\r\nContent-Disposition: form-data\r\n\r\nvalue\r\n--x--\r\n",
    b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext, not a file\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="k"\r\n\r\n' + b"9" * 200_000 + b"\r\n--x--\r\n",
    b'--x\r\nContent-Disposition: form-data; name="k"\r\n\r\n1\r\n' * 200 + b"--x--\r\n",
    b"--x\r\n" + b"A: b\r\n" * 5000 + b"\r\n\r\n--x--\r\n",
    bytes(range(256)) * 10,
]


@pytest.mark.parametrize("number", range(len(FORMS)))
def test_what_is_no_form_is_refused(number, client):
    for path in ("/identify", "/verify", "/identities", "/identities/mia"):
        refused = client.post(path, content=FORMS[number], headers=MULTIPART)
        assert refused.status_code in (400, 422), (path, refused.text)
        assert refused.json()["error"]["message"]
    for headers in ({}, {"Content-Type": "image/jpeg"}, {"Content-Type": "multipart/form-data"}):
        refused = client.post("/identify", content=FORMS[number], headers=headers)
        assert refused.status_code in (400, 415)


def test_wrong_values_name_the_field(client):
    for key, value in {"k": "0", "encounter": "maybe", "keep": "2", "box": "1,2"}.items():
        for wrong in (value, "x" * 10_000, "-1", "1e9", "٣٣٣٣"):
            refused = client.post("/identify", files={"image": noise()}, data={key: wrong})
            if refused.status_code != 200:
                assert refused.status_code == 400 and key in refused.json()["error"]["message"]
                assert len(refused.text) < 300
    for path in ("/identities?limit=0", "/identities?offset=-1", "/decisions?limit=x", "/pictures/x?size=1"):
        refused = client.get(path)
        assert refused.status_code == 400 and refused.json()["error"]["code"] == "bad_request"
    for method, path, status in (("PUT", "/identify", 405), ("GET", "/identify", 405), ("GET", "/../x", 404)):
        assert client.request(method, path).status_code == status
    for path in ("/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py", "/pictures/..%2f..%2fx"):
        assert client.get(path).status_code == 404


def test_an_error_inside_is_logged_and_told_without_details(client, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(client.service.gallery, "fresh", fail)
    failed = client.get("/info")
    assert failed.status_code == 500 and failed.json()["error"]["code"] == "internal"
    assert "secret" not in failed.text and "secret detail" in caplog.text


def test_random_requests_by_the_description_have_the_described_answers(index):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    options = settings(
        max_examples=8,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    with serve_in_thread(index, access=Access(token=TOKEN), immich=True) as port:
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) >= 20
        for operation in operations:

            @options
            @given(case=operation.as_strategy())
            def send(case):
                case.call_and_validate(headers=headers, checks=checks)

            send()
