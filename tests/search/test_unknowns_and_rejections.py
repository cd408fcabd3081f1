"""Unknowns get a stable name that later photos join; rejected suggestions never return; the gate warns."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

import lookalike
from lookalike.cli.main import main
from lookalike.data.transforms import Resize
from lookalike.errors import DataError
from lookalike.evaluation.validation_vectors import write_validation_vectors
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build
from lookalike.search.enrol import enrol_photos, identify_and_enrol
from lookalike.search.registry import Registry
from lookalike.search.rejections import content_id

DIM = 8
COLOURS = {"tom": (200, 40, 40), "kitty": (40, 200, 40), "felix": (40, 40, 200)}


def unit_vectors(size, seed=0, dim=DIM):
    vectors = np.random.default_rng(seed).normal(size=(size, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def picture(path, colour, seed=0, size=64):
    """Squares and noise around a colour, sharp enough to be enrolled."""
    rng = np.random.default_rng(seed)
    squares = np.kron(rng.choice([-20, 20], (4, 4)), np.ones((size // 4, size // 4)))[..., None]
    noise = rng.normal(0, 10, (size, size, 3))
    Image.fromarray(np.clip(np.array(colour) + squares + noise, 0, 255).astype(np.uint8)).save(path)
    return path


class Colours(torch.nn.Module):
    """Embeds a picture by its mean colour."""

    def forward(self, images):
        mean = images.mean((2, 3))
        return torch.nn.functional.pad(mean - mean.mean(1, keepdim=True), (0, DIM - 3))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An index of three colours; validation identities that are never alike, and a threshold below 1."""
    torch.manual_seed(0)
    model = build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, DIM, Resize(16)).eval()
    monkeypatch.setattr(type(model), "features", lambda self, images: Colours()(images.float()))
    model.save(tmp_path / "model")
    validation = np.repeat(unit_vectors(40, 5), 2, axis=0)
    write_validation_vectors(validation, np.arange(80) // 2, model.space, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    files = [picture(tmp_path / f"{name}.png", colour) for name, colour in COLOURS.items()]
    vectors = model_vectors(tmp_path, files)
    index = lookalike.Index.build(vectors, list(COLOURS))
    index = lookalike.Index(index.vectors, index.table, model.space, tmp_path / "model")
    index.save(tmp_path / "index", engine="sqlite")
    return tmp_path


def model_vectors(folder, files):
    from lookalike.search.query import embed_photos

    return embed_photos(lookalike.load(folder / "model"), files, [None] * len(files), 8)[0]


def identify(files, **options):
    return identify_and_enrol("index", files, gate="off", fpir=0.05, **options)


def test_new_photos_get_a_name_that_later_photos_join(here):
    first = [picture(here / f"violet{n}.png", (180, 20, 180), n) for n in range(2)]
    other = picture(here / "yellow.png", (190, 190, 20), 7)
    answers = identify([*first, other])
    assert [answer.answer for answer in answers] == ["new"] * 3
    assert [answer.identity for answer in answers] == ["new-1", "new-1", "new-2"]
    later = picture(here / "violet9.png", (180, 20, 180), 9)
    (answer,) = identify([later])
    assert (answer.answer, answer.identity) == ("known", "new-1")
    with Registry("index") as registry:
        assert registry.identities()["new-1"] == 3
        registry.decide("merge", "new-1", "violet", "ann")
    (answer,) = identify([picture(here / "violet10.png", (180, 20, 180), 10)])
    assert (answer.answer, answer.identity) == ("known", "violet")
    with Registry("index") as registry:
        assert registry.identities()["violet"] == 3, "only unknowns grow on their own"


def test_an_encounter_is_one_unknown_and_an_empty_index_takes_the_first(here):
    with Registry("index") as registry:
        for name in COLOURS:
            registry.forget(name)
    photos = [picture(here / "a.png", (180, 20, 180), 1), picture(here / "b.png", (20, 180, 180), 2)]
    (answer,) = identify(photos, encounter=True)
    assert (answer.answer, answer.identity, len(answer.images)) == ("new", "new-1", 2)
    with Registry("index") as registry:
        assert registry.identities() == {"new-1": 2}


def test_the_job_enrols_unknowns(here, capsys):
    picture(here / "violet.png", (180, 20, 180))
    (here / "bad.png").write_text("no photo")
    words = ["identify", "index=index", "fpir=0.05", "format=json"]
    assert main([*words, "image=[violet.png,bad.png]", "enrol_unknown=true"]) == 0
    out, err = capsys.readouterr()
    assert [(each["answer"], each["identity"]) for each in json.loads(out)] == [("new", "new-1")]
    assert "enrolled as new-1" in err and "1 of 2 images cannot be read" in err
    assert main([*words, "image=violet.png"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["identity"] == "new-1"


def test_a_rejected_suggestion_does_not_return_until_it_is_undone(here):
    photo = picture(here / "photo.png", (200, 40, 42), 3)
    index = lookalike.Index.load("index")
    assert index.identify(photo, fpir=0.05).identity == "tom"
    with Registry("index") as registry:
        number = registry.decide("different", str(photo), "tom", "ann")
        assert registry.rejected_pairs() == {(content_id(photo), "tom")}
    index = lookalike.Index.load("index")
    copy = here / "renamed.png"
    copy.write_bytes(photo.read_bytes())
    for file in (photo, copy):
        answer = index.identify(file, fpir=0.05)
        assert answer.identity is None and "tom" not in [hit.label for hit in answer.hits]
        for by in ("image", "label"):
            hits = index.search(file, 2, by=by)
            assert [hit.label for hit in hits] == [h.label for h in index.search(file, 3, by=by)][:2]
            assert len(hits) == 2 and "tom" not in [hit.label for hit in hits]
    similar = picture(here / "similar.png", (200, 40, 42), 4)
    assert index.identify(similar, fpir=0.05).identity == "tom", "another photo is not concerned"
    answers = index.identify([photo, similar], fpir=0.05, encounter=True)
    assert answers.identity is None
    clustering = lookalike.cluster(here / "model", [photo, similar], index=index, threshold=0.9)
    assert clustering.names[0] != "tom" and clustering.names[1] == "tom"
    with Registry("index") as registry:
        registry.decide("merge", "tom", "thomas")
        assert registry.rejected_pairs() == {(content_id(photo), "thomas")}
        registry.undo(number)
    assert lookalike.Index.load("index").identify(photo, fpir=0.05).identity == "thomas"


def test_an_enrolled_photo_is_recognised_by_its_vector(here):
    vectors = model_vectors(here, [here / "tom.png"])
    with Registry("index") as registry:
        (tom,) = registry.engine.filter({"label": ["tom"]})
        for name in COLOURS:
            registry.decide("different", tom, name)
    index = lookalike.Index.load("index")
    assert index.identify(vectors[0], fpir=0.05).answer == "new"
    assert index.search(vectors[0], 3) == [] and len(index.search(-vectors[0], 3)) == 3


def test_what_is_forgotten_leaves_no_rejection(here):
    photo = picture(here / "photo.png", (200, 40, 42), 3)
    with Registry("index") as registry:
        registry.decide("different", str(photo), "tom")
    assert enrol_photos("index", [photo], "kitty", gate="off").photos == 1
    with Registry("index") as registry:
        registry.forget("kitty")
        assert registry.decisions() == []


def test_the_gate_warns_with_figures_or_refuses(here, caplog):
    picture(here / "tiny.png", (180, 20, 180), size=20)
    sharp = picture(here / "violet.png", (180, 20, 180), 1)
    Image.open(sharp).filter(ImageFilter.GaussianBlur(4)).save(here / "blurred.png")
    picture(here / "reddish.png", (200, 42, 40), 4)
    names = ("tiny.png", "blurred.png", "reddish.png", "violet.png")
    files = [here / name for name in names]
    refused = enrol_photos("index", files, "violet", gate="refuse")
    assert (refused.photos, [file.split("/")[-1] for file in refused.refused]) == (1, list(names[:3]))
    assert [remark.kind for remark in refused.remarks] == ["small", "blurred", "other_identity"]
    assert "20 × 20 pixels" in caplog.text and "sharpness 0." in caplog.text
    assert "resembles tom (similarity 0.9" in caplog.text or "resembles tom (similarity 1." in caplog.text
    assert "gate=warn enrols it" in caplog.text
    caplog.clear()
    again = enrol_photos("index", files[3:], "violet")
    assert [remark.kind for remark in again.remarks] == ["near_copy"] and again.photos == 1
    assert "is a copy of violet.png, which is enrolled as violet (enrolled; gate=refuse" in caplog.text
    with pytest.raises(DataError, match="gate=warn enrols them nonetheless"):
        enrol_photos("index", files[:1], "violet", gate="refuse")
    assert enrol_photos("index", files, "violet", gate="off").remarks == []


def test_the_job_enrol_takes_the_gate(here, capsys):
    picture(here / "tiny.png", (180, 20, 180), size=20)
    assert main(["enrol", "index=index", "image=tiny.png", "gate=refuse"]) == 1
    assert "no image is enrolled" in capsys.readouterr().err
    assert main(["enrol", "index=index", "image=tiny.png", "identity=x"]) == 0
    assert "is small" in capsys.readouterr().err
