"""Timm models of 41 families: each works at a size and with a pooling, or is refused in one line."""

import re
from functools import cache, partial

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
"""Families whose features have unusual shapes, tried with every pooling."""
MORE_FAMILIES = (
    *(
        "test_resnet",
        "test_efficientnet",
        "test_convnext",
        "mobilevit_xxs",
        "edgenext_xx_small",
        "ghostnet_050",
    ),
    *("levit_128s", "xcit_nano_12_p16_224", "regnetx_002", "dla46x_c", "fastvit_t8", "efficientvit_m0"),
    *(
        "efficientvit_b0",
        "eva02_tiny_patch14_224",
        "inception_next_atto",
        "pvt_v2_b0",
        "shvit_s1",
        "rexnet_100",
    ),
    *("swiftformer_xs", "hgnetv2_b0", "ese_vovnet19b_dw", "convit_tiny", "gcvit_xxtiny", "legacy_seresnet18"),
)
WITH_CLASS_TOKEN = {"test_vit", "deit_tiny_distilled_patch16_224", "pit_ti_224"}
POOLINGS = {
    "native": pooling.Native,
    "average": pooling.Average,
    "gem": pooling.GeM,
    "max": pooling.Max,
    "average_max": pooling.AverageMax,
    "attention": partial(pooling.Attention, heads=4),
    "cls": pooling.ClassToken,
    "cls_gem": pooling.ClassGeM,
}
NEEDS_MAP = {"average", "gem", "max", "average_max", "attention", "cls_gem"}
SIZE = 64


@cache
def backbone_of(name):
    return backbones.timm(name, pretrained=False, image_size=SIZE)


def model_of(name, kind):
    backbone = backbone_of(name)
    for parameter in backbone.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None
    pool = POOLINGS[kind]
    return build(backbone, pool if kind == "attention" else pool(), heads.Linear, 8, Resize(SIZE))


def works(name, kind):
    if kind.startswith("cls") and name not in WITH_CLASS_TOKEN:
        return False
    return kind not in NEEDS_MAP or (FAMILIES[name] != "" and name != "pit_ti_224")


def step(model, optimizer=None):
    """Gradients of one batch, and a step."""
    images = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    vectors = model(images)
    (vectors * torch.randn_like(vectors)).sum().backward()
    silent = [key for key, each in model.named_parameters() if each.requires_grad and each.grad is None]
    assert not silent, "weights without a gradient"
    if optimizer is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # those of efficientvim are huge at first
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", [*FAMILIES, *MORE_FAMILIES])
def test_a_family_trains_is_saved_and_loaded_and_embeds_at_another_size_or_names_one_that_works(
    name, tmp_path
):
    torch.manual_seed(0)
    model = model_of(name, "native").train()
    assert model.backbone.shape.layout == FAMILIES.get(name, model.backbone.shape.layout)
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], 1e-3)
    step(model, optimizer)
    step(model, optimizer)
    model.eval().save(tmp_path)
    loaded = EmbeddingModel.load(tmp_path)
    images = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), model(images))
        assert model.pool_features(images).shape == (2, model.backbone.pooled_dim)
    for size in (50, 97) if name in FAMILIES else (97,):
        embed_or_advise(name, size, loaded if size == 97 else None)


def embed_or_advise(name, size, loaded):
    """A size works, in a real pass with the weights of `loaded` where they fit, or others are named."""
    try:
        overrides, shape = fit(library, name, size)
    except ConfigError as error:
        assert "\n" not in str(error)
        assert f"backbone.name={name}: cannot read images of {size}×{size} pixels" in str(error)
        named = re.findall(r"image_size=(\d+)", str(error))
        assert named
        for each in named:
            fit(library, name, int(each))
        return
    if loaded is not None:
        net = library.create_model(name, pretrained=False, num_classes=0, **overrides).eval()
        state = loaded.backbone.net.state_dict()
        same = {key: value for key, value in state.items() if value.shape == net.state_dict()[key].shape}
        net.load_state_dict(same, strict=False)
        with torch.inference_mode():
            vectors = net(torch.rand(2, 3, size, size))
        assert vectors.shape == (2, shape.pooled_dim) and vectors.isfinite().all()


@pytest.mark.parametrize("name", FAMILIES)
def test_with_every_pooling_all_trained_weights_get_gradients_or_the_pooling_is_refused(name):
    for kind in POOLINGS:
        if works(name, kind):
            step(model_of(name, kind).train())
            continue
        with pytest.raises(ConfigError, match=f"^pooling.*{name}.*; choose pooling=native") as refused:
            model_of(name, kind)
        assert "\n" not in str(refused.value)


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
            "gem": (gem := patches.clamp(min=1e-6).pow(3).mean(dim=1).pow(1 / 3)),
            "average_max": patches.mean(dim=1) + patches.amax(dim=1),
            "cls_gem": torch.cat([tokens[:, 0], gem], dim=1),
        }.items():
            torch.testing.assert_close(pooling.pool(backbone, POOLINGS[kind](), images), expected)


def test_attention_pooling_is_a_softmax_over_all_places_and_survives_saving(tmp_path):
    model = model_of("test_vit", "attention").eval()
    pool, maps = model.pool, torch.randn(2, model.backbone.map_dim, 3, 5)
    tokens = pool.norm(maps.flatten(2).transpose(1, 2)).double()
    size = tokens.shape[2] // 4
    wq, wk, wv = pool.attention.in_proj_weight.double().chunk(3)
    heads_out = []
    for head in range(4):
        rows = slice(head * size, (head + 1) * size)
        query, keys, values = pool.query[0].double() @ wq[rows].T, tokens @ wk[rows].T, tokens @ wv[rows].T
        weights = (keys @ query[0] / size**0.5).softmax(dim=1)
        heads_out.append((weights[..., None] * values).sum(dim=1))
    expected = torch.cat(heads_out, dim=1) @ pool.attention.out_proj.weight.double().T
    torch.testing.assert_close(pool(maps).double(), expected, atol=1e-5, rtol=1e-5)
    exported = torch.export.export(pool, (maps,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    five = torch.randn(5, model.backbone.map_dim, 3, 5)
    torch.testing.assert_close(exported.module()(five), pool(five))
    model.save(tmp_path)
    images = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(EmbeddingModel.load(tmp_path)(images), model(images))


def test_attention_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(
        ConfigError, match=r"pooling\.heads=5: .* 12 channels .*choose one of 1, 2, 3, 4, 6, 12"
    ):
        pooling.Attention(12, heads=5)


def test_weights_that_a_pooling_does_not_use_are_reported_and_stay(caplog):
    caplog.set_level("INFO")
    model = model_of("mobilenetv3_small_050", "average")
    assert "2 weights of backbone mobilenetv3_small_050 do not affect the embedding" in caplog.text
    assert not model.backbone.net.conv_head.weight.requires_grad
    assert model_of("mobilenetv3_small_050", "native").backbone.net.conv_head.weight.requires_grad
