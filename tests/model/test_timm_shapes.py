"""Timm models of many families: each works at a size and with a pooling, or is refused in one line."""

import re
from functools import cache

import pytest
import timm as library
import torch

from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import EmbeddingModel, build
from lookalike.model.timm_shapes import fit

FAMILIES = {
    "test_byobnet": "NCHW",
    "test_nfnet": "NCHW",
    "test_coatnet": "NCHW",
    "test_mambaout": "NHWC",
    "mobilenetv3_small_050": "NCHW",
    "mobilenetv4_conv_small_050": "NCHW",
    "repghostnet_050": "NCHW",
    "starnet_s050": "NCHW",
    "efficientformerv2_s0": "NCHW",
    "gmlp_ti16_224": "NLC",
    "test_vit": "NLC",
    "test_vit_relpos": "NLC",
    "deit_tiny_distilled_patch16_224": "NLC",
    "pit_ti_224": "NLC",
    "crossvit_tiny_240": "",
    "coat_tiny": "",
    "efficientvim_m1": "",
}
WITH_CLASS_TOKEN = {"test_vit", "deit_tiny_distilled_patch16_224", "pit_ti_224"}
POOLINGS = {
    "native": pooling.Native,
    "average": pooling.Average,
    "gem": pooling.GeM,
    "max": pooling.Max,
    "cls": pooling.ClassToken,
}
NEEDS_MAP = {"average", "gem", "max"}
SIZE = 64


@cache
def backbone_of(name):
    return backbones.timm(name, pretrained=False, image_size=SIZE)


def model_of(name, kind):
    backbone = backbone_of(name)
    for parameter in backbone.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None
    return build(backbone, POOLINGS[kind](), heads.Linear, 8, Resize(SIZE))


def works(name, kind):
    if kind == "cls":
        return name in WITH_CLASS_TOKEN
    return kind not in NEEDS_MAP or (FAMILIES[name] != "" and name != "pit_ti_224")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_layout_is_found_out(name):
    assert backbone_of(name).shape.layout == FAMILIES[name]


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_weight_that_is_trained_gets_a_gradient_or_the_pooling_is_refused(name, kind):
    if not works(name, kind):
        with pytest.raises(ConfigError, match=f"^pooling.*{name}.*; choose pooling=native") as refused:
            model_of(name, kind)
        assert "\n" not in str(refused.value)
        return
    model = model_of(name, kind).train()
    model.features(torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)).square().sum().backward()
    silent = [key for key, each in model.named_parameters() if each.requires_grad and each.grad is None]
    assert not silent


@pytest.mark.parametrize("size", [50, 97])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_size_works_or_the_message_names_sizes_that_do(name, size):
    try:
        fit(library, name, size)
    except ConfigError as error:
        assert "\n" not in str(error)
        assert f"backbone.name={name}: cannot read images of {size}×{size} pixels" in str(error)
        named = re.findall(r"image_size=(\d+)", str(error))
        assert named
        for each in named:
            fit(library, name, int(each))


@pytest.mark.parametrize("size", [97, 128])
@pytest.mark.parametrize("name", ["mvitv2_tiny", "test_vit", "coat_tiny"])
def test_a_size_that_is_accepted_works_in_a_real_forward_pass(name, size):
    try:
        overrides, shape = fit(library, name, size)
    except ConfigError as error:
        assert f"cannot read images of {size}×{size} pixels" in str(error)
        return
    net = library.create_model(name, pretrained=False, num_classes=0, **overrides).eval()
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, size, size)).shape == (1, shape.pooled_dim)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "test_mambaout", "coat_tiny"])
def test_the_dimensions_are_those_of_the_vectors_and_the_model_survives_saving(name, tmp_path):
    model = model_of(name, "native").eval()
    images = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    with torch.inference_mode():
        assert model.pool_features(images).shape == (2, model.backbone.pooled_dim)
        model.save(tmp_path)
        torch.testing.assert_close(EmbeddingModel.load(tmp_path)(images), model(images))


def test_poolings_are_what_their_names_say():
    backbone = backbone_of("test_vit").eval()
    images = torch.rand(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        tokens = backbone.net.forward_features(images)
        patches = tokens[:, 1:]
        for kind, expected in {
            "cls": tokens[:, 0],
            "average": patches.mean(dim=1),
            "max": patches.amax(dim=1),
            "gem": patches.clamp(min=1e-6).pow(3).mean(dim=1).pow(1 / 3),
        }.items():
            torch.testing.assert_close(pooling.pool(backbone, POOLINGS[kind](), images), expected)


def test_weights_that_a_pooling_does_not_use_are_reported_and_stay(caplog):
    caplog.set_level("INFO")
    model = model_of("mobilenetv3_small_050", "average")
    assert "2 weights of backbone mobilenetv3_small_050 do not affect the embedding" in caplog.text
    assert not model.backbone.net.conv_head.weight.requires_grad
    assert model_of("mobilenetv3_small_050", "native").backbone.net.conv_head.weight.requires_grad
