"""Every backbone, pooling and head of conf/: forward, gradient, save, load; preprocessing travels along."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

import lookalike
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError
from lookalike.model import unicom
from lookalike.model.backbones import Backbone
from lookalike.model.embedder import EmbeddingModel, build

CONF = Path(lookalike.__file__).parent / "conf"
TIMM = [
    "test_efficientnet",
    "test_resnet",
    "test_convnext",
    "test_vit",
    "test_vit3",
    "swin_s3_tiny_224",
]
SIZE = 64
TINY = {
    "openclip": {"name": "ViT-S-32-alt", "pretrained": False, "image_size": SIZE},
    "torchvision": {"name": "regnet_y_400mf", "pretrained": False, "image_size": SIZE},
    "unicom": {"name": "tiny", "pretrained": False, "image_size": SIZE},
}
WITH_CLASS_TOKEN = {"test_vit", "ViT-S-32-alt"}  # test_vit3 has registers alone


@pytest.fixture(autouse=True)
def tiny_unicom(monkeypatch):
    variant = unicom.Variant(SIZE, 16, 32, 2, 4, 24, "tiny.pt", "")
    monkeypatch.setitem(unicom.VARIANTS, "tiny", variant)


def choices(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def make(group: str, choice: str, **more: object) -> object:
    node = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{choice}.yaml"), resolve=False)
    return instantiate({**node, **more}, _convert_="all")


def backbones() -> list[tuple[str, dict[str, object]]]:
    kinds = [(name, TINY.get(name, {})) for name in choices("backbone") if name != "timm"]
    return kinds + [("timm", {"name": name, "pretrained": False, "image_size": SIZE}) for name in TIMM]


@pytest.fixture(params=backbones(), ids=lambda each: each[1].get("name", each[0]))
def backbone(request: pytest.FixtureRequest, tiny_unicom: None) -> Backbone:
    choice, more = request.param
    return make("backbone", choice, **more)


def model_of(backbone: Backbone, pooling: str = "native", head: str = "linear") -> EmbeddingModel:
    return build(backbone, make("pooling", pooling), make("head", head), 16, Resize(SIZE))


def images(count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8)


@pytest.mark.parametrize("pooling", choices("pooling"))
def test_unit_vectors_with_every_pooling(backbone, pooling):
    if pooling.startswith("cls") and backbone.spec.get("name") not in WITH_CLASS_TOKEN:
        with pytest.raises(ConfigError, match=rf"pooling={pooling}: backbone .* has no class token; choose "):
            model_of(backbone, pooling)
        return
    model = model_of(backbone, pooling).eval()
    vectors = model(images())
    assert vectors.shape == (3, 16)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert (vectors[0] - vectors[1]).abs().max() > 1e-6


def test_every_head_parameter_and_the_backbone_learn(backbone):
    model = model_of(backbone, "average", "batch_norm").train()
    features = model.features(images(4))
    (features * torch.randn_like(features)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.head.layers[1:].parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.backbone.parameters())


def test_saved_and_loaded_it_is_the_same_model(backbone, tmp_path):
    model = model_of(backbone, "native", "batch_norm").eval()
    model.save(tmp_path)
    loaded = lookalike.load(tmp_path)
    batch = images()
    with torch.inference_mode():
        torch.testing.assert_close(loaded(batch), model(batch), rtol=0, atol=1e-6)
    assert loaded.space == model.space
    assert loaded.transform() == model.transform()
    assert not loaded.training


@pytest.mark.parametrize("head", choices("head"))
def test_every_head_survives_the_folder(head, tmp_path):
    model = model_of(make("backbone", "small_cnn"), "gem", head).eval()
    model.save(tmp_path)
    loaded = lookalike.load(tmp_path)
    assert loaded.dim == (64 if head == "none" else 16)
    with torch.inference_mode():
        batch = images()
        torch.testing.assert_close(loaded(batch), model(batch), rtol=0, atol=1e-6)


def test_normalisation_is_part_of_the_model():
    backbone = make("backbone", "efficientnet_lite0", pretrained=False)
    model = model_of(backbone).eval()
    batch = images()
    with torch.inference_mode():
        by_hand = model.head(backbone.pool_images((batch.float() / 255 - 0.5) / 0.5))
        torch.testing.assert_close(model.features(batch), by_hand, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.features(batch), model.features(batch.float() / 255))


def test_small_cnn_is_the_mnist_facenet():
    backbone = make("backbone", "small_cnn")
    convolutions = [m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size) for c in convolutions] == [(32, (3, 3)), (64, (3, 3))]
    assert backbone.pooled_dim == 3136
    assert np.array_equal(backbone.pool_images(torch.zeros(1, 3, 28, 28)).shape, (1, 3136))
