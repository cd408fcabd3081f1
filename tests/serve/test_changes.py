"""The endpoints that change an index: enrol, correct, undo, forget, and who may."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from serve_world import TOKEN, noise, run_app

from lookalike.search.registry import Registry
from lookalike.serve.settings import Access
from lookalike.serve.uploads import Uploads

NAMES = [
    *("mia", "Zoë / 2", "../../etc/passwd", "<img src=x onerror=alert(1)>", "a%2Fb", "новая", "x" * 200),
    *("merge", "photos", "50% off?", "C:\\nul", "'; DROP TABLE entries;--", "new-1", "‮evil", "😀", "a#b&c=d"),
]


def post(client, path, *photos, **fields):
    return client.post(path, files=[("image", ("photo.png", each)) for each in photos], data=fields)


def address(name):
    from urllib.parse import quote

    return f"/identities/{quote(name, safe='')}"


def test_an_enrolled_photo_is_identified_and_its_picture_stored_upright(client, index, photo):
    sideways = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112], exif[0x8825] = 6, {1: "N", 2: (52.0, 31.0, 12.0)}
    Image.open(io.BytesIO(noise((64, 48)))).save(sideways, "JPEG", exif=exif)
    created = post(client, "/identities/mia", sideways.getvalue())
    assert created.status_code == 201
    (entry,) = created.json()["photos"]
    (answer,) = post(client, "/identify", sideways.getvalue()).json()
    assert (answer["answer"], answer["identity"], answer["hits"][0]["id"]) == ("known", "mia", entry)
    stored = Image.open(index / "pictures" / f"{entry}.jpg")
    assert stored.size == (48, 64) and not stored.getexif()
    thumbnail = client.get(answer["hits"][0]["picture"], params={"size": 32})
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(thumbnail.content)).size[1] <= 64
    assert client.get("/identities/mia").json()["photos"][0]["added"].startswith("20")
    with Registry(index) as registry:  # another process sees it
        assert registry.identities()["mia"] == 1


def test_a_kept_upload_is_enrolled_without_sending_it_again(client, photo):
    (answer,) = post(client, "/identify", photo(), keep="true").json()
    created = client.post("/identities", data={"upload": answer["upload"], "name": "mia"})
    assert created.status_code == 201 and created.json()["name"] == "mia"
    assert client.get("/identities/mia").json()["photos"][0]["id"] == created.json()["photos"][0]
    again = client.post("/identities", data={"upload": answer["upload"]}).json()
    assert again["name"] == "new-1"  # unknown, with a name of its own
    gone = client.post("/identities", data={"upload": "x"})
    assert gone.status_code == 410 and gone.json()["error"]["code"] == "expired"


def test_uploads_are_kept_for_a_while_and_not_too_many():
    seconds = [0.0]
    uploads = Uploads(age=10, most=3, most_bytes=100, clock=lambda: seconds[0])
    first = uploads.keep(np.zeros(2), b"x" * 10)
    seconds[0] = 9.0
    assert uploads.get(first).picture == b"x" * 10
    names = [uploads.keep(np.zeros(2), b"x" * 10) for _ in range(3)]
    assert len({first, *names}) == 4 and len(uploads) == 3
    uploads.keep(np.zeros(2), b"x" * 85)
    assert len(uploads) == 2
    seconds[0] = 30.0
    for name in (first, *names):
        with pytest.raises(Exception, match="send the photo again"):
            uploads.get(name)
    assert len(uploads) == 0 and uploads._bytes == 0


def test_decisions_are_carried_out_listed_and_undone(client):
    ids = [
        post(client, "/identities/tom", noise(seed=seed), noise(seed=seed + 1)).json()["photos"]
        for seed in (0, 2)
    ]
    merged = client.post("/identities/tom/merge", json={"into": "Tom Cat", "author": "ann"})
    assert merged.status_code == 200 and client.get("/identities/tom").status_code == 404
    assert client.post("/undo", json=merged.json()).status_code == 200
    assert client.post("/undo", json=merged.json()).status_code == 409
    assert len(client.get("/identities/tom").json()["photos"]) == 4
    split = client.post("/identities/tom/split", json={"photos": ids[1], "into": "jerry"})
    assert split.status_code == 200
    assert [each["id"] for each in client.get("/identities/jerry").json()["photos"]] == ids[1]
    assert client.post("/identities/tom/split", json={"photos": ids[1], "into": "x"}).status_code == 404
    assert client.post("/identities/tom/split", json={"photos": ids[0], "into": "jerry"}).status_code == 409
    assert client.post("/identities/tom/different", json={"photos": ids[1]}).status_code == 200
    decisions = client.get("/decisions").json()
    assert [each["kind"] for each in decisions] == ["different", "split", "undo", "merge"]
    assert [each["can_undo"] for each in decisions] == [True, True, False, False]
    assert decisions[-1]["author"] == "ann"
    for body in ({}, {"into": 1}, {"into": ""}, {"into": "tom"}, {"into": "a\nb"}, [], "x"):
        assert client.post("/identities/tom/merge", json=body).status_code == 400
    assert client.post("/identities/nobody/merge", json={"into": "tom"}).status_code == 404
    assert client.post("/undo", content=b"[" * 100_000).status_code == 400


def test_names_are_text_in_addresses_and_never_files(client, index):
    before = {path.name for path in index.parent.iterdir()}
    for seed, name in enumerate(NAMES):
        created = post(client, address(name), noise(seed=seed))
        assert (created.status_code, created.json()["name"]) == (201, name), name
        shown = client.get(address(name))
        assert shown.headers["content-type"] == "application/json" and shown.json()["name"] == name
        assert client.post(f"{address(name)}/merge", json={"into": f"{name[:190]} 2"}).status_code == 200
        assert client.post("/undo", json={"decision": 2 * seed + 1}).status_code == 200
    listed = client.get("/identities", params={"limit": 1000}).json()
    assert {*NAMES} < {each["name"] for each in listed["identities"]}
    assert {path.name for path in index.parent.iterdir()} == before
    assert all(len(path.stem) == 16 for path in (index / "pictures").iterdir())
    for bad in (".", "..", "", " ", "a\0b", "a\nb", "x" * 201):
        assert post(client, "/identities", noise(), name=bad).status_code == 400, bad
    assert post(client, "/identities/%FF", noise()).status_code == 400


def test_nothing_of_a_forgotten_identity_remains(client, index, photo):
    secret = "Mia of 5 Rose Lane"
    vector = np.float32(post(client, "/embed", noise()).json()["vectors"][0]).tobytes()
    (entry,) = post(client, address(secret), noise()).json()["photos"]
    (other,) = post(client, address(secret), photo()).json()["photos"]
    client.post(f"{address(secret)}/different", json={"photos": [other]})
    assert client.get(f"/pictures/{entry}").status_code == 200
    assert client.delete(f"{address(secret)}/photos/{other}").json() == {"photos": 1}
    assert not (index / "pictures" / f"{other}.jpg").exists()
    assert client.delete(address(secret)).json() == {"photos": 1}
    assert client.get(f"/pictures/{entry}").status_code == 404
    assert client.delete(address(secret)).status_code == 404
    assert not list((index / "pictures").iterdir())
    for file in index.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        for trace in (secret.encode(), entry.encode(), other.encode(), vector, vector[:12]):
            assert trace not in content, file
    assert secret not in client.get("/metrics").text + json.dumps(client.get("/decisions").json())


def test_the_command_line_forgets_pictures_too(client, index):
    from lookalike.cli.main import main

    (entry,) = post(client, "/identities/mia", noise()).json()["photos"]
    file = index / "pictures" / f"{entry}.jpg"
    assert file.exists()
    client.__exit__()  # ends the service, which reads the database
    assert main(["forget", f"index={index}", "identity=mia"]) == 0
    assert not file.exists()


WRITES = [
    ("POST", "/identities"),
    ("POST", "/identities/mia"),
    ("POST", "/identities/mia/merge"),
    ("POST", "/identities/mia/split"),
    ("POST", "/identities/mia/different"),
    ("POST", "/undo"),
    ("DELETE", "/identities/mia"),
    ("DELETE", "/identities/mia/photos/x"),
]


def statuses(client, **options):
    return {client.request(method, path, **options).status_code for method, path in WRITES}


def test_only_this_computer_may_write_without_a_token(index):
    for address in ("192.168.1.7", "2001:db8::1", "testclient"):
        with run_app(index, client=(address, 1)) as client:
            assert statuses(client) == {403}
            assert client.get("/info").json()["may_write"] is False
            (answer,) = client.post("/identify", files={"image": noise()}, data={"keep": "true"}).json()
            assert answer["upload"] is None
    for address in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        with run_app(index, client=(address, 1)) as client:
            assert 403 not in statuses(client) and client.get("/info").json()["may_write"] is True
            for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):  # a proxy on this computer
                assert statuses(client, headers={header: "127.0.0.1"}) == {403}


def test_a_token_is_needed_if_there_is_one(index):
    access = Access(token=TOKEN)
    with run_app(index, access=access) as client:
        for header in ("", "Bearer", "Bearer no", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"):
            headers = {"Authorization": header.encode()}
            assert statuses(client, headers=headers) == {401}, header
        assert client.get("/info").json()["may_write"] is False
        assert client.post("/identify", files={"image": noise()}).status_code == 200
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert 401 not in statuses(client, headers=right)
        assert client.get("/info", headers=right).json()["may_write"] is True
    with run_app(index, access=Access(TOKEN, read_token=True), client=("10.0.0.1", 1)) as client:
        for path in ("/info", "/identities", "/identities/x", "/decisions", "/metrics", "/pictures/x"):
            assert client.get(path).status_code == 401
        for path in ("/identify", "/search", "/verify", "/embed"):
            assert client.post(path, files={"image": noise()}).status_code == 401
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
        assert client.get("/info", headers=right).status_code == 200
    for wrong in ({"token": " "}, {"read_token": True}):
        with pytest.raises(ValueError, match="token"):
            Access(**wrong)


def test_rebound_names_and_forged_requests_are_refused(index):
    with run_app(index, access=Access(hosts=("cats.example.org", "*.lan"))) as client:
        own = "localhost:8000 127.0.0.1 [::1]:8000 192.168.1.5 cats.example.org CATS.example.org:8000 pc.lan"
        for host in own.split():
            assert client.get("/info", headers={"Host": host}).status_code == 200, host
        for host in ("evil.com", "cats.example.org.evil.com", "localhost.evil.com", "lan", "", "[::1", "a b"):
            refused = client.get("/info", headers={"Host": host})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "wrong_host"), host
        for headers in (
            {"Origin": "http://evil.com"},
            {"Origin": "null"},
            {"Origin": "http://localhost:81"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            assert statuses(client, headers=headers) == {403}
            assert client.post("/identify", headers=headers).json()["error"]["code"] == "wrong_origin"
        same = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
        assert 403 not in statuses(client, headers=same)
    headers = client.get("/health").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in headers
    with run_app(index, access=Access(frames=("https://huggingface.co",))) as client:
        policy = client.get("/health").headers["content-security-policy"]
        assert policy.endswith("frame-ancestors https://huggingface.co")


def test_an_index_that_does_not_change_says_so(reader):
    refused = reader.post("/identities/mia", files={"image": noise()})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_writable")
    assert "engine=sqlite" in refused.json()["error"]["message"]
    assert reader.get("/info").json()["writable"] is False
    assert reader.get("/decisions").json() == []


def test_a_full_disk_is_an_error_and_changes_nothing(client, index, monkeypatch):
    from lookalike.search import photo_files

    before = client.get("/info").json()["images"]

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(photo_files.os, "fsync", fail)
    failed = post(client, "/identities/mia", noise())
    assert (failed.status_code, failed.json()["error"]["code"]) == (507, "disk_full")
    monkeypatch.undo()
    assert client.get("/info").json()["images"] == before
    assert not list((index / "pictures").iterdir())
    assert post(client, "/identities/mia", noise()).status_code == 201
