"""Text towers: words find unseen images, in the space of the model, from a folder without code."""

import json
import logging
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

import lookalike
from lookalike.cli.demo import SAMPLE
from lookalike.cli.main import main
from lookalike.data.table import Table, write_table
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError, DataError, LookalikeError
from lookalike.evaluation.text_recall import embed_texts, text_recall
from lookalike.model import backbones, heads, openclip, openclip_text, pooling
from lookalike.model.embedder import build
from lookalike.model.text import TextTower, load_text
from lookalike.model.text_encoders import NGram, OwnEncoder
from lookalike.search.text_query import search_texts
from lookalike.training.text_alignment import TextSettings, align_text

CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def letters(texts):
    """An encoder of the user's own: how often each letter occurs."""
    return np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)


@pytest.fixture(scope="module")
def emoji(tmp_path_factory):
    """The bundled emoji with their names, the vectors of a pretrained network, and its text tower."""
    root = tmp_path_factory.mktemp("text")
    folders = sorted(SAMPLE.iterdir())
    rows = [
        {"path": str(file), "label": number, "name": folder.name.replace("-", " "), "split": split}
        for number, folder in enumerate(folders)
        for split in ["test" if number % 4 == 0 else "val" if number % 20 == 1 else "train"]
        for file in sorted(folder.glob("*.png"))[:2]
    ]
    write_table(Table(pl.DataFrame(rows), root), root / "data", {})
    torch.manual_seed(0)
    lite0 = backbones.efficientnet_lite0()
    build(lite0, pooling.Native(), heads.Identity, lite0.pooled_dim, Resize(48)).eval().save(root / "model")
    words = ["model=model", "dataset=data", "text=name", "out=tower", "epochs=30", "progress=false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["align-text", *words]) == 0
        assert (
            main(["index", "model=tower", "dataset=data", "split=test", "out=index", "progress=false"]) == 0
        )
    return root


@pytest.fixture
def here(emoji, monkeypatch):
    monkeypatch.chdir(emoji)
    return emoji


def test_unseen_images_are_found_by_their_names_above_chance(here, tmp_path, capsys):
    words = [
        "embeddings=index_vectors",
        "text=name",
        f"out={tmp_path / 'eval'}",
        "ks=[1,10]",
        "progress=false",
    ]
    lookalike.embed(
        lookalike.load("tower"), lookalike.read_table("data").split("test"), folder="tower", progress=False
    ).save(here / "index_vectors")
    assert main(["evaluate", *words]) == 0
    metrics = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    shown = capsys.readouterr().out
    for kind, chance in (("text_to_image", 0.13), ("image_to_text", 0.134)):
        recall = metrics[f"{kind}_recall@10"]
        assert chance < recall["low"] < recall["value"] < recall["high"], kind
        assert f"{kind}_recall@10: chance is 13 %" in shown
    assert metrics["recall@1"]["value"] > 0  # the other metrics are there, too


def test_recall_is_that_of_a_plain_loop(here):
    tower, images = load_text("tower"), lookalike.Embeddings.load("index_vectors")
    recalls = {each.name: each for each in text_recall(tower, images, "name", ks=[3], intervals=False)}
    names = sorted(set(images.table.frame["name"]))
    texts, vectors = tower.embed(names), images.vectors.astype(np.float64)
    similarity = texts.astype(np.float64) @ vectors.T
    owns = np.array(images.table.frame["name"])
    to_image = [
        owns[np.argsort(-row)[:3]].tolist().count(name) > 0
        for name, row in zip(names, similarity, strict=True)
    ]
    to_text = [
        own in np.array(names)[np.argsort(-row)[:3]] for own, row in zip(owns, similarity.T, strict=True)
    ]
    assert recalls["text_to_image_recall@3"].value == pytest.approx(np.mean(to_image))
    assert recalls["image_to_text_recall@3"].value == pytest.approx(np.mean(to_text))
    assert recalls["image_to_text_recall@3"].chance == pytest.approx(3 / len(names))


def test_the_tower_is_in_the_folder_and_changes_neither_model_nor_space(here):
    before, after = lookalike.load("model"), lookalike.load("tower")
    assert before.space == after.space == load_text("tower").space
    assert {file.name for file in (here / "tower").iterdir()} >= {
        "text.json",
        "text.safetensors",
        "config.json",
    }
    stored = json.loads((here / "tower" / "text.json").read_text())
    assert "_target_" not in json.dumps(stored) and stored["training"]["val_text_to_image_recall@10"] > 0
    np.testing.assert_array_equal(
        load_text("tower").embed(["red heart"]), load_text("tower").embed(["Red  HEART"])
    )


def test_a_search_by_words_gives_json_and_a_table(here, capsys, caplog):
    photo = str(sorted(SAMPLE.iterdir())[0].glob("*.png").__next__())
    index = lookalike.Index.load("index")
    assert main(["search", "index=index", "text=admission tickets", "k=3", "format=json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["image"], entry["text"], entry["likely"], len(entry["hits"])) == (
        None,
        "admission tickets",
        None,
        3,
    )
    assert main(["search", "index=index", "text=[ant,bell]", "k=2", "threshold=-1", "format=json"]) == 0
    assert [each["likely"] for each in json.loads(capsys.readouterr().out)] == [True, True]
    caplog.set_level(logging.INFO)
    for fusion, alone in ((0, index.search(photo)), (1, search_texts(index, "ant")[0])):
        words = ["text=ant", f"image={photo}", f"fusion={fusion}", "format=json"]
        assert main(["search", "index=index", *words]) == 0
        (entry,) = json.loads(capsys.readouterr().out)
        assert entry["image"] == photo and entry["text"] == "ant"
        assert [hit["path"] for hit in entry["hits"]] == [hit.path for hit in alone]
        assert (
            f"fusion: {fusion} × similarity to the text + {1 - fusion} × similarity to the photo"
            in caplog.text
        )
    assert main(["search", "index=index", "text=ant", "k=2"]) == 0
    assert "ant" in capsys.readouterr().out


def test_fused_scores_are_the_weighted_sum_in_order(here):
    index, tower = lookalike.Index.load("index"), load_text("tower")
    photo = index.table.file(4)
    text, image = tower.embed(["ant"])[0], lookalike.load("tower").embed([photo])[0]
    expected = np.argsort(-(index.vectors @ (0.3 * text + 0.7 * image)), kind="stable")[:6]
    (hits,) = search_texts(index, "ant", [photo], fusion=0.3, k=6)
    assert [hit.row for hit in hits] == expected.tolist()
    assert len(search_texts(index, ["ant", "bell"], [photo])) == 2
    with pytest.raises(ConfigError, match="2 texts and 3 photos"):
        search_texts(index, ["ant", "bell"], [photo] * 3)
    with pytest.raises(ConfigError, match=r"fusion=1\.5"):
        search_texts(index, "ant", [photo], fusion=1.5)


def test_texts_of_a_table_are_embedded_and_truncated_in_the_same_space(here, caplog, tmp_path):
    table = lookalike.read_table("data").split("test")
    frame = table.frame.with_columns(name=pl.when(pl.int_range(pl.len()) == 0).then(None).otherwise("name"))
    part = embed_texts(load_text("tower"), Table(frame, table.folder), "name")
    assert len(part) == len(table) - 1
    assert f"text=name: 1 of {len(table)} rows have no text" in caplog.text
    words = ["model=tower", "dataset=data", "split=test", "text=name", "dim=40", "progress=false"]
    assert main(["embed", *words, f"out={tmp_path / 'emb'}"]) == 0
    texts = lookalike.Embeddings.load(tmp_path / "emb")
    index = lookalike.Index.load("index").truncate(40)
    assert texts.space == index.space
    assert index.search(texts)[0].query is not None
    bell = load_text("tower").embed(["bell"])[0][:40]
    nearest = (index.vectors @ (bell / np.linalg.norm(bell))).max()
    assert search_texts(index, "bell")[0][0].similarity == pytest.approx(nearest, abs=1e-5)


def test_an_encoder_of_ones_own_is_not_saved_and_must_be_given_again(here, tmp_path):
    table, settings = lookalike.read_table("data"), TextSettings(epochs=2)
    align_text(
        "model", table, "name", out=tmp_path / "own", encoder=letters, settings=settings, progress=False
    )
    with pytest.raises(
        LookalikeError, match=r"trained around test_text\.letters, and a model folder holds no code"
    ):
        load_text(tmp_path / "own")
    tower = load_text(tmp_path / "own", letters)
    assert tower.embed(["bell"]).shape == (1, tower.dim)
    with pytest.raises(LookalikeError, match="leave out text_encoder"):
        load_text("tower", letters)
    with pytest.raises(ConfigError, match="must map a list"):
        OwnEncoder(lambda texts: np.zeros(3))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("space", "was trained for the model 0123456789abcdef, and the model beside it is"),
        ("missing", "lacks projection.bias"),
        ("nan", "contains NaN or infinite weights"),
        ("kind", "text encoder kind 'mine': this version supports ngram, openclip"),
        ("format", "is newer than this version reads"),
        ("json", "does not describe a text tower"),
        ("none", "has no text tower; `lookalike align-text` trains one"),
    ],
)
def test_a_damaged_or_foreign_tower_is_refused(here, tmp_path, damage, words):
    folder = tmp_path / "copy"
    shutil.copytree("tower", folder)
    file, weights = folder / "text.json", folder / "text.safetensors"
    description, state = json.loads(file.read_text()), load_file(weights)
    match damage:
        case "space":
            description["space"] = "0123456789abcdef"
        case "missing":
            del state["projection.bias"]
        case "nan":
            state["projection.bias"][0] = float("nan")
        case "kind":
            description["encoder"]["kind"] = "mine"
        case "format":
            description["format"] = 9
    save_file(state, weights)
    file.write_text("{" if damage == "json" else json.dumps(description))
    if damage == "none":
        file.unlink()
    with pytest.raises(LookalikeError, match=words):
        load_text(folder)


def test_wrong_columns_texts_and_models_are_refused_in_one_line(here, tmp_path, capsys):
    common = ["dataset=data", f"out={tmp_path / 'new'}", "progress=false"]
    for words, error in (
        (["align-text", "model=model", "text=nam", *common], "text=nam: the table has no such column"),
        (["embed", "model=model", "text=name", *common], "has no text tower"),
        (["evaluate", "model=model", "text=name", *common], "has no text tower"),
        (["search", "index=index"], "give image=PHOTO, or text=WORDS"),
        (["search", "index=index", "text=..."], "has no letters or digits"),
        (["search", "index=index", "text=ant", "picture=a.png"], "picture: shows photos"),
    ):
        assert main(words) != 0
        assert error in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    table = lookalike.read_table("data")
    one = Table(table.frame.with_columns(name=pl.lit("same")), table.folder)
    with pytest.raises(DataError, match="1 different texts; 2 are needed"):
        align_text("model", one, "name", out=tmp_path / "new", progress=False)
    with pytest.raises(ConfigError, match="set epochs above 0"):
        align_text(
            "model", table, "name", out=tmp_path / "new", settings=TextSettings(epochs=0), progress=False
        )
    foreign = TextTower(NGram(dim=4), lookalike.load("model").dim, "0123456789abcdef")
    with pytest.raises(LookalikeError, match="trained for the model 0123456789abcdef"):
        text_recall(foreign, lookalike.Embeddings.load("index_vectors"), "name")


def test_clip_gives_both_towers_and_is_used_as_it_is(here, tmp_path):
    library = openclip.import_openclip()
    torch.manual_seed(0)
    whole = library.CLIP(**CLIP).eval()
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": {}}))
    save_file(
        {k: v.contiguous() for k, v in whole.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    name = f"local-dir:{folder}"
    images = build(openclip.openclip(name), pooling.Native(), heads.Identity, 16, Resize(32)).eval()
    images.save(tmp_path / "model")
    encoder = openclip_text.openclip_text(name)
    table = lookalike.read_table("data")
    few = table.take(np.arange(len(table)) < 12)
    align_text(
        tmp_path / "model", few, "name", out=tmp_path / "clip", encoder=encoder,
        settings=TextSettings(epochs=0), progress=False,
    )  # fmt: skip
    texts = ["grey tabby", "a red heart"]
    with torch.inference_mode():
        expected = whole.encode_text(encoder.tokenize(texts), normalize=True).numpy()
    np.testing.assert_allclose(load_text(tmp_path / "clip").embed(texts), expected, atol=1e-6)
    assert str(tmp_path) not in (tmp_path / "clip" / "text.json").read_text()
    state = load_file(folder / "open_clip_model.safetensors")
    del state["ln_final.bias"]
    save_file(state, folder / "open_clip_model.safetensors")
    with pytest.raises(LookalikeError, match=r"does not fit the text tower.*lacks ln_final.bias"):
        openclip_text.openclip_text(name)
    save_file(
        {k: v for k, v in state.items() if k.startswith("visual.")}, folder / "open_clip_model.safetensors"
    )
    with pytest.raises(LookalikeError, match="holds an image tower alone"):
        openclip_text.openclip_text(name)
