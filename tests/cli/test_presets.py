"""Recipes with the models of other systems: each trains, evaluates, indexes and searches."""

import json

import open_clip
import pytest

from lookalike.cli import main

PRESETS = {
    "mobilenetv3l_64": 64,
    "efficientnetv2b0_128": 128,
    "resnet50_128": 128,
    "convnext_tiny_128": 128,
    "efficientnet_b1_128": 128,
    "efficientnetv2_b1": 512,
    "openclip_vit_b32": 512,
    "openclip_vit_l14": 512,
}
TINY = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}


@pytest.fixture(scope="module")
def dataset(shapes_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("presets") / "data"
    assert (
        main.main(
            ["prepare", "source=folder", f"source.root={shapes_folder}", f"out={out}", "test=0.4", "val=0.2"]
        )
        == 0
    )
    return out


@pytest.fixture
def tiny_towers(monkeypatch):
    for name in ("ViT-B-32", "ViT-L-14"):
        config = {**open_clip.factory._MODEL_CONFIGS[name], "embed_dim": 32, "vision_cfg": TINY}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)


@pytest.mark.parametrize("name", PRESETS)
def test_the_model_of_each_system_goes_from_training_to_search(name, dataset, tiny_towers, tmp_path, capsys):
    run = tmp_path / "run"
    small = ["epochs=1", "backbone.pretrained=false", "image_size=32", "progress=false", "device=cpu"]
    batches = ["sampler.classes_per_batch=2", "sampler.samples_per_class=2"]
    steps = [
        ["train", f"experiment={name}", f"dataset={dataset}", f"out={run}", *small, *batches],
        ["evaluate", f"model={run}/model", f"dataset={dataset}", f"out={tmp_path}/eval"],
        ["index", f"model={run}/model", f"dataset={dataset}", f"out={tmp_path}/index"],
        ["search", f"index={tmp_path}/index", f"image={next(dataset.parent.parent.rglob('*.png'))}", "k=2"],
    ]
    for words in steps:
        assert main.main(words) == 0, capsys.readouterr().err
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["dim"] == PRESETS[name]
    assert config["preprocess"]["size"] == 32
