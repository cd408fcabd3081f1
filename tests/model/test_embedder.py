"""The model folder, pretrained weights, and `embed` on what users have at hand."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from safetensors.torch import load_file, save_file

import lookalike
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError, ImageError, LookalikeError
from lookalike.model.backbones import efficientnet_lite0, read_weights, small_cnn, timm
from lookalike.model.embedder import EmbeddingModel, build
from lookalike.model.heads import Linear
from lookalike.model.pooling import Average, Native


@pytest.fixture
def model() -> EmbeddingModel:
    return build(small_cnn([4, 8]), Native(), Linear, 6, Resize(28)).eval()


@pytest.fixture
def photo(tmp_path):
    Image.effect_noise((40, 30), 80).convert("RGB").save(tmp_path / "Katze ü.png")
    return tmp_path / "Katze ü.png"


def test_embed_takes_paths_pictures_and_arrays(model, photo):
    picture = Image.open(photo)
    vectors = model.embed([photo, str(photo), picture, np.asarray(picture)])
    assert vectors.shape == (4, 6)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, vectors[0], atol=1e-6)


def test_a_picture_that_pillow_opened_is_the_one_in_the_file(model, tmp_path):
    noise = Image.effect_noise((40, 30), 80)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    noise.convert("RGB").save(tmp_path / "turned.png", exif=exif)
    clear = noise.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(tmp_path / "clear.png")
    deep = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for name in ("turned.png", "clear.png", "deep.png"):
        opened = Image.open(tmp_path / name)
        copied = opened.copy()
        before = copied.info.copy()
        vectors = model.embed([tmp_path / name, opened, copied])
        assert np.allclose(vectors, vectors[0], atol=1e-6), name
        assert copied.info == before, "the caller's picture stays as it was"


@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 9, 3), np.uint8), np.zeros((3, 9, 9), np.uint8), np.zeros((9, 9)), torch.zeros(3, 9, 9)],
)
def test_what_is_no_image_is_refused(model, image):
    with pytest.raises(TypeError, match="an image"):
        model.embed([image])


def test_embed_of_nothing_is_empty_and_a_lone_image_is_refused(model, photo):
    assert model.embed([]).shape == (0, 6)
    with pytest.raises(TypeError, match="list"):
        model.embed(photo)
    with pytest.raises(TypeError, match="list"):
        model.embed(np.asarray(Image.open(photo)))  # its rows are no images


def test_embed_in_batches_equals_embed_at_once_and_keeps_the_mode(model, photo):
    model.train()
    images = [Image.effect_noise((28, 28), spread) for spread in (20, 40, 60, 80, 100)]
    assert np.allclose(model.embed(images, batch_size=2), model.embed(images, batch_size=64), atol=1e-6)
    assert model.training


def test_embed_names_the_file_it_cannot_read(model, tmp_path):
    (tmp_path / "note.jpg").write_text("no image")
    with pytest.raises(ImageError, match=r"note\.jpg"):
        model.embed([tmp_path / "note.jpg"])


def test_space_changes_with_weights_and_with_preprocessing(model):
    before = model.space
    assert model.space == before
    with torch.no_grad():
        model.head.layer.bias[0] += 1
    assert model.space != before
    other = build(small_cnn([4, 8]), Native(), Linear, 6, Resize(32))
    other.load_state_dict(model.state_dict())
    assert other.space != model.space


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_weights_can_be_read_by_whom_the_umask_says(model, tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        model.save(tmp_path / "model")
    finally:
        os.umask(before)
    files = list((tmp_path / "model").iterdir())
    assert len(files) == 3 and {file.stat().st_mode & 0o777 for file in files} == {mode}


def test_missing_extra_and_misshapen_weights_are_listed(model, tmp_path):
    model.save(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["head.layer.stranger"] = state.pop("head.layer.bias")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(LookalikeError) as error:
        lookalike.load(tmp_path)
    assert "head.layer.bias" in str(error.value)
    assert "head.layer.stranger" in str(error.value)


def test_a_folder_that_is_no_model_says_so(tmp_path):
    with pytest.raises(LookalikeError, match="not a model folder"):
        lookalike.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(LookalikeError, match="lacks"):
        lookalike.load(tmp_path)


def test_a_run_folder_will_do(model, tmp_path):
    model.save(tmp_path / "model")
    assert lookalike.load(tmp_path).space == model.space


def test_a_model_folder_holds_no_code_and_runs_none(model, tmp_path):
    model.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    config = json.loads((tmp_path / "config.json").read_text())
    assert "_target_" not in json.dumps(config)
    config["backbone"] = {"kind": "os.system", "_target_": "os.system", "command": "true"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(LookalikeError, match="backbone kind"):
        lookalike.load(tmp_path)


def test_a_failed_save_keeps_the_old_model(model, tmp_path, monkeypatch):
    model.save(tmp_path)
    before = model.space
    with torch.no_grad():
        model.head.layer.bias[0] += 1

    def full(state, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lookalike.model.embedder.save_file", full)
    with pytest.raises(OSError, match="No space"):
        model.save(tmp_path)
    assert lookalike.load(tmp_path).space == before
    assert not list(tmp_path.glob(".*"))


def test_lite0_carries_imagenet_weights_in_the_right_places():
    torch.manual_seed(0)
    backbone = efficientnet_lite0().eval()
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    random = efficientnet_lite0(pretrained=False).net.state_dict()
    for name, value in backbone.net.state_dict().items():
        counter = name.endswith("num_batches_tracked")
        assert counter or not torch.equal(value, random[name]), f"{name} was not loaded"
        if name.endswith("running_var"):
            assert value.min() >= 0, f"{name} holds something else"


def test_timm_weights_from_a_file_are_loaded_strictly(tmp_path):
    import timm as library

    torch.manual_seed(1)
    source = library.create_model("test_resnet", num_classes=7)
    torch.save(source.state_dict(), tmp_path / "with_classifier.pth")
    without = {name: value for name, value in source.state_dict().items() if not name.startswith("fc.")}
    save_file(without, tmp_path / "without.safetensors")
    for file in ("with_classifier.pth", "without.safetensors"):
        backbone = timm("test_resnet", weights=str(tmp_path / file))
        torch.testing.assert_close(backbone.net.state_dict()["conv1.0.weight"], source.conv1[0].weight)
    without.pop("conv1.0.weight")
    save_file(without, tmp_path / "missing.safetensors")
    with pytest.raises(LookalikeError, match=r"conv1\.0\.weight"):
        timm("test_resnet", weights=str(tmp_path / "missing.safetensors"))


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(LookalikeError, match="not a state dict"):
        read_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "owned").exists()


def test_unknown_timm_names_get_the_nearest():
    with pytest.raises(ConfigError, match="resnet50"):
        timm("resnet5O")


def test_without_network_the_hub_error_says_what_to_do():
    with pytest.raises(LookalikeError, match=r"backbone\.weights=FILE"):
        timm("test_resnet", pretrained=True)


def test_gem_and_average_pool_tokens_of_a_transformer():
    backbone = timm("test_vit", pretrained=False, image_size=64).eval()
    maps = backbone.maps(torch.rand(2, 3, 64, 64))
    assert maps.shape[:2] == (2, backbone.map_dim)
    assert Average()(maps).shape == (2, backbone.map_dim)
