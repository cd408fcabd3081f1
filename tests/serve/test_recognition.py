"""The endpoints that recognise: what they answer, and that they answer like the library."""

import contextlib
import io
import threading

import numpy as np
import pytest
from PIL import Image
from serve_world import noise, run_app

import lookalike
from lookalike.detect import Detection
from lookalike.detect.cropping import Boxes, Crops
from lookalike.errors import LookalikeError
from lookalike.serve.batching import ModelThread
from lookalike.serve.settings import Limits
from lookalike.serve.start import load_index

NAMES = ("red triangle", "blue circle")


@pytest.fixture
def files(photo, tmp_path):
    """Photos that are not indexed, by name."""
    for name in NAMES:
        (tmp_path / f"{name}.png").write_bytes(photo(name))
    return [tmp_path / f"{name}.png" for name in NAMES]


def send(client, path, files, field="image", **fields):
    parts = [(field, (file.name, file.read_bytes())) for file in files]
    return client.post(path, files=parts, data=fields)


@pytest.mark.parametrize("field", ["image", "file"])
def test_identify_answers_like_the_library(field, reader, shelter, files):
    answers = send(reader, "/identify", files, field)
    assert answers.status_code == 200
    expected = lookalike.Index.load(shelter / "fixed").identify(files, fpir=0.05)
    for number, (given, answer) in enumerate(zip(answers.json(), expected, strict=True)):
        values = answer.to_dict()
        assert (given["image"], given["photo"], given["width"]) == (files[number].name, number, 48)
        for key in ("answer", "identity", "threshold", "unsure_between", "fpir", "fpir_interval"):
            assert given[key] == values[key], key
        assert given["score"] == pytest.approx(values["score"], abs=1e-5)
        assert [hit["label"] for hit in given["hits"]] == [hit["label"] for hit in values["hits"]]
        assert given["hits"][0]["path"] == "/".join(answer.hits[0].path.split("/")[-3:])
        assert given["words"] in ("very similar", "similar", "somewhat similar", "not similar")


def test_an_encounter_has_one_answer(reader, shelter, files):
    (given,) = send(reader, "/identify", files, encounter="true", k="2").json()
    expected = lookalike.Index.load(shelter / "fixed").identify(files, fpir=0.05, encounter=True).to_dict()
    assert given["image"] == [file.name for file in files] and len(given["hits"]) == 2
    assert given["score"] == pytest.approx(expected["score"], abs=1e-5)
    assert (given["answer"], given["threshold"]) == (expected["answer"], expected["threshold"])


def test_search_verify_and_embed_answer_like_the_library(reader, shelter, files):
    index, model = lookalike.Index.load(shelter / "fixed"), lookalike.load(shelter / "model")
    for by in ("image", "label"):
        given = send(reader, "/search", files, by=by, k="3").json()
        for entry, hits in zip(given, index.search(files, 3, by=by), strict=True):
            assert [hit["label"] for hit in entry["hits"]] == [hit.label for hit in hits]
            assert [hit["likely"] for hit in entry["hits"]] == [hit.likely for hit in hits]
            assert entry["likely"] == hits.likely
    vectors = send(reader, "/embed", files).json()
    assert (vectors["space"], vectors["dim"], vectors["problems"]) == (model.space, 8, [])
    assert vectors["vectors"] == pytest.approx(model.embed(files), abs=1e-5)
    both = {"image": files[0].read_bytes(), "image_b": files[1].read_bytes()}
    verdict = reader.post("/verify", files=both).json()
    expected = lookalike.verify(model, *files)
    assert (verdict["answer"], verdict["threshold"], verdict["far"]) == (expected.answer, 0.9, 0.01)
    assert verdict["similarity"] == pytest.approx(expected.similarity, abs=1e-5)
    own = reader.post("/verify", files=both, data={"threshold": "-1"}).json()
    assert (own["answer"], own["threshold"], own["far"]) == ("same", -1, None)
    one = reader.post("/verify", files={"image": files[0].read_bytes()})
    assert one.status_code == 400 and "image_b" in one.json()["error"]["message"]


def test_a_part_of_a_photo_is_searched_with(reader, shelter):
    data = noise((80, 60))
    (given,) = reader.post("/search", files={"image": data}, data={"box": "10,5,70,40"}).json()
    pixels = np.asarray(Image.open(io.BytesIO(data)))[5:40, 10:70]
    hits = lookalike.Index.load(shelter / "fixed").search(pixels)
    assert given["box"] == [10, 5, 70, 40]
    assert given["hits"][0]["score"] == pytest.approx(hits[0].similarity, abs=1e-4)
    for box in ("1,2,3", "a,b,c,d", "5,5,5,9", "nan,0,1,1", "1e999,0,1,1", "90,90,99,99"):
        assert reader.post("/search", files={"image": data}, data={"box": box}).status_code == 400, box
    two = [("image", data), ("image", data)]
    assert reader.post("/search", files=two, data={"box": "1,1,9,9"}).status_code == 400


def test_a_photo_that_cannot_be_read_has_an_error_of_its_own(reader, photo):
    parts = [("image", ("a.png", photo())), ("image", ("b.txt", b"hello")), ("image", ("c.png", photo()))]
    for path in ("/identify", "/search"):
        entries = reader.post(path, files=parts).json()
        assert [entry["photo"] for entry in entries] == [0, 1, 2]
        assert entries[1]["error"]["code"] == "unreadable_image"
        assert entries[1]["error"]["message"].startswith("b.txt: not a readable image")
    assert [each["photo"] for each in reader.post("/embed", files=parts).json()["problems"]] == [1]


def three_faces(image):
    """A detector that finds three faces in large photos only."""
    if image.shape[1] < 60:
        return []
    return [Detection((x, 5, x + size, 5 + size), 0.9) for x, size in ((0, 20), (22, 30), (55, 12))]


def test_each_face_of_a_photo_has_an_answer(index):
    cropping, data = Crops(three_faces, size=24), noise((80, 60))
    with run_app(index, cropping=cropping, detect="face") as client:
        answers = client.post("/identify", files={"image": data}, data={"keep": "true"}).json()
        assert [each["box"] for each in answers] == [[22, 5, 52, 35], [0, 5, 20, 25], [55, 5, 67, 17]]
        picture = cropping.crop(Image.open(io.BytesIO(data)), three_faces(np.zeros((60, 80, 3)))[1])
        expected = client.service.model.embed([picture])[0]
        (vector, *_) = client.post("/embed", files={"image": data}).json()["vectors"]
        assert vector == pytest.approx(expected, abs=1e-5)
        created = client.post("/identities/mia", data={"upload": answers[1]["upload"]}).json()
        (stored,) = (index / "pictures").iterdir()
        assert stored.stem == created["photos"][0] and Image.open(stored).size == (24, 24)
        small = client.post("/identify", files={"image": noise((50, 50))})
        assert (small.status_code, small.json()["error"]["code"]) == (422, "nothing_detected")
        drawn = client.post("/identify", files={"image": noise((50, 50))}, data={"box": "5,5,40,40"}).json()
        assert [each["box"] for each in drawn] == [[5, 5, 40, 40]]
        several = client.post("/identify", files={"image": data}, data={"encounter": "true"})
        assert several.status_code == 400
        assert client.get("/info").json()["detect"] == "face"
    for kept in (Crops(three_faces, size=24, missing="keep"), Boxes(size=24)):
        with run_app(index, cropping=kept) as client:
            (whole,) = client.post("/search", files={"image": noise((50, 50))}).json()
            assert whole["box"] is None


def test_an_empty_index_knows_nobody(client):
    for row in client.get("/identities").json()["identities"]:
        assert client.delete(f"/identities/{row['name']}").status_code == 200
    (answer,) = client.post("/identify", files={"image": noise()}).json()
    assert (answer["answer"], answer["identity"], answer["threshold"]) == ("new", None, None)
    (found,) = client.post("/search", files={"image": noise()}).json()
    assert (found["hits"], found["likely"]) == ([], False)
    assert client.get("/info").json()["identities"] == 0
    assert client.post("/identities/mia", files={"image": noise()}).status_code == 201
    (answer,) = client.post("/identify", files={"image": noise()}).json()
    assert (answer["answer"], answer["identity"]) == ("known", "mia")


def test_the_threshold_follows_the_gallery(client):
    before = client.get("/info").json()["fpir"]
    for seed in range(3):
        client.post("/identities", files={"image": noise(seed=seed)})
    after = client.get("/info").json()["fpir"]
    assert after["threshold"] > before["threshold"] and "13 identities" in after["text"]
    points = len(client.service.gallery._points)
    assert client.get("/info").json()["fpir"] == after
    assert len(client.service.gallery._points) == points  # chosen once for a gallery


def test_without_validation_vectors_there_is_no_identification(index, shelter):
    file = shelter / "model" / "validation_vectors.safetensors"
    content = file.read_bytes()
    file.unlink()
    try:
        with run_app(index) as client:
            refused = client.post("/identify", files={"image": noise()})
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "no_threshold")
            assert client.get("/info").json()["fpir"] is None
            assert "validation" in client.get("/info").json()["no_threshold"]
            assert client.post("/search", files={"image": noise()}).status_code == 200
    finally:
        file.write_bytes(content)


def test_an_index_of_another_space_is_refused(index, shelter, tmp_path):
    import torch

    from lookalike.data.transforms import Resize
    from lookalike.model import backbones, heads, pooling
    from lookalike.model.embedder import build

    torch.manual_seed(1)
    build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, 8, Resize(16)).save(tmp_path / "other")
    with pytest.raises(LookalikeError, match="cannot be compared"):
        load_index(index, tmp_path / "other")
    with pytest.raises(LookalikeError, match="not an index folder"):
        load_index(tmp_path / "nothing")


def test_too_many_requests_at_a_time_are_refused(index):
    with run_app(index, limits=Limits(queue=1)) as client:
        client.service.computing = 1
        refused = client.post("/search", files={"image": noise()})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert client.get("/ready").status_code == 503 and client.get("/health").status_code == 200
        client.service.computing = 0
        assert client.post("/search", files={"image": noise()}).status_code == 200
        assert client.get("/ready").json() == {"status": "ready"}
        assert 'lookalike_rejected_total{reason="busy"} 1.0' in client.get("/metrics").text


def test_metrics_count_and_name_nobody(index):
    with run_app(index) as client:
        client.post("/identities/secret", files={"image": noise()})
        client.post("/identify", files={"image": noise()})
        text = client.get("/metrics").text
    assert "secret" not in text
    for line in (
        'lookalike_requests_total{endpoint="POST /identities/{name}",status="201"} 1.0',
        'lookalike_answers_total{answer="known"} 1.0',
        "lookalike_enrolled_photos_total 1.0",
        "lookalike_identities 11.0",
        'lookalike_photos_total{result="read"} 2.0',
    ):
        assert line in text, line


def test_requests_share_passes_of_the_model():
    sizes, first = [], threading.Event()

    def run(inputs):
        first.wait(5)
        if None in inputs:
            raise RuntimeError("broken")
        return np.array(inputs, float)[:, None]

    thread = ModelThread(run, 4, sizes.append)
    futures = [thread.submit([number, number + 0.5]) for number in range(6)]
    first.set()
    assert [future.result(5).ravel().tolist() for future in futures] == [[n, n + 0.5] for n in range(6)]
    assert max(sizes) == 4 and sum(sizes) == 12  # of six requests for two each
    with pytest.raises(RuntimeError, match="broken"):
        thread.submit([None]).result(5)
    assert thread.submit(list(range(9))).result(5).shape == (9, 1)  # more than a batch
    with contextlib.closing(thread):
        last = thread.submit([1])
    assert last.result(0).shape == (1, 1)
