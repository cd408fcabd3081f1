"""OpenCLIP, Unicom and torchvision: each computes what its authors' code does, trains, saves and loads."""

import open_clip
import pytest
import torch
import torch.nn.functional as F

import lookalike
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError, LookalikeError
from lookalike.model import heads, openclip, pooling, torchvision_models, unicom
from lookalike.model.embedder import build
from lookalike.model.torchvision_models import torchvision

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
TOWERS = {
    "vit": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
    "coca": {
        "image_size": 64,
        "layers": 2,
        "width": 64,
        "patch_size": 16,
        "attentional_pool": True,
        "attn_pooler_heads": 4,
    },
    "timm_cnn": {
        "timm_model_name": "test_convnext",
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 64,
    },
    "timm_vit": {
        "timm_model_name": "test_vit",
        "timm_pool": "token",
        "timm_proj": "linear",
        "image_size": 160,
    },
    "siglip": {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
}
TORCHVISION = {
    "squeezenet1_1": 96,
    "regnet_y_400mf": 64,
    "shufflenet_v2_x0_5": 64,
    "mobilenet_v3_small": 64,
    "googlenet": 64,
    "vit_b_32": 64,
}


def images(size, count=2):
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)


def clip_of(kind, size=None):
    tower = {"dim": 96 if kind == "siglip" else 32, "vision": TOWERS[kind], "quick_gelu": kind == "vit"}
    spec = {"kind": "openclip", "name": kind, "tower": tower, "mean": CLIP_MEAN, "std": (0.3,) * 3}
    spec |= {"interpolation": "bicubic", "image_size": size or TOWERS[kind]["image_size"]}
    return openclip.OpenClip(spec)


def train_save_load(backbone, size, folder, kinds=("native",)):
    """Two steps with each pooling; the last model is saved and loaded, and embeds alike."""
    for kind in kinds:
        pool = {"native": pooling.Native, "average": pooling.Average, "cls_gem": pooling.ClassGeM}[kind]
        model = build(backbone, pool(), heads.Linear, 8, Resize(size)).train()
        optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], 1e-3)
        for _ in range(2):
            vectors = model(images(size))
            (vectors * torch.randn_like(vectors)).sum().backward()
            silent = [
                name for name, each in model.named_parameters() if each.requires_grad and each.grad is None
            ]
            assert not silent
            optimizer.step()
            optimizer.zero_grad()
        for each in backbone.parameters():
            each.requires_grad_(True)
    model.eval().save(folder)
    loaded, batch = lookalike.load(folder), images(size, 3)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(batch), model(batch), rtol=0, atol=1e-6)
    assert loaded.space == model.space


@pytest.mark.parametrize("kind", TOWERS)
def test_openclip_towers_train_and_embed_at_two_sizes(kind, tmp_path):
    torch.manual_seed(0)
    for size in (64, 96):
        kinds = ["average", "native"] + ["cls_gem"] * (kind in ("vit", "coca", "timm_vit"))
        train_save_load(clip_of(kind, size), size, tmp_path / str(size), kinds)
    if kind in ("resnet", "timm_cnn", "siglip"):
        with pytest.raises(ConfigError, match=f"pooling=cls_gem: backbone {kind} has no class token; choose"):
            clip_of(kind).check_reads("class_and_maps")


def test_openclip_gives_what_the_package_computes(tmp_path):
    config = {
        "embed_dim": 32,
        "vision_cfg": TOWERS["vit"],
        "text_cfg": {"layers": 1, "width": 64, "heads": 2},
    }
    (tmp_path / "open_clip_config.json").write_text(
        '{"model_cfg": {"embed_dim": 32, "quick_gelu": true, "vision_cfg": {"image_size": 64, "layers": 2, '
        '"width": 64, "patch_size": 16}, "text_cfg": {"layers": 1, "width": 64, "heads": 2}}, '
        '"preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear"}}'
    )
    whole = open_clip.CLIP(**config, quick_gelu=True).eval()
    torch.save(whole.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    backbone = openclip.openclip(f"local-dir:{tmp_path}").eval()
    batch = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(backbone.pool_images(batch), whole.encode_image(batch))
        tokens = whole.visual.ln_post(whole.visual.transformer(whole.visual._embeds(batch)))
        torch.testing.assert_close(backbone.class_token(batch), tokens[:, 0])
        torch.testing.assert_close(backbone.maps(batch).flatten(2).transpose(1, 2), tokens[:, 1:])
    assert (backbone.mean, backbone.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (backbone.interpolation, backbone.spec["name"]) == ("bilinear", tmp_path.name)
    larger = openclip.openclip(f"local-dir:{tmp_path}", image_size=128).net
    open_clip.model.resize_pos_embed(
        state := dict(whole.state_dict()),
        open_clip.CLIP(32, {**TOWERS["vit"], "image_size": 128}, config["text_cfg"]),
    )
    expected = state["visual.positional_embedding"]
    torch.testing.assert_close(larger.positional_embedding.data, expected, atol=1e-5, rtol=1e-5)


def test_published_openclip_weights_keep_their_activation_mean_and_std():
    library = openclip.import_openclip()
    for name, tag, quick in (
        ("ViT-B-32", "openai", True),
        ("ViT-B-32", "laion2b_s34b_b79k", False),
        ("ViT-B-32-quickgelu", "openai", True),
        ("roberta-ViT-B-32", "laion2b_s12b_b32k", True),
    ):
        tower, preprocess, _ = openclip._describe(library, name, tag, True)
        assert tower["quick_gelu"] is quick
        assert tuple(preprocess["mean"]) == CLIP_MEAN
    siglip = openclip._describe(library, "ViT-B-16-SigLIP", "webli", True)[1]
    assert tuple(siglip["mean"]) == (0.5, 0.5, 0.5)


def test_without_the_package_openclip_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(LookalikeError, match=r"pip install 'lookalike\[openclip\]'"):
        openclip.openclip()


@pytest.fixture
def tiny_unicom(monkeypatch):
    monkeypatch.setitem(unicom.VARIANTS, "tiny", unicom.Variant(64, 16, 32, 2, 4, 24, "tiny.pt", ""))
    torch.manual_seed(0)
    return unicom.unicom("tiny", pretrained=False)


def test_unicom_is_the_network_of_its_authors(tiny_unicom):
    """As in their code: no class token, ReLU6, all patches projected together, two batch norms."""
    backbone = tiny_unicom.double()
    for _ in range(3):
        backbone.train().pool_images(torch.rand(8, 3, 64, 64, dtype=torch.float64))  # moves the batch norms
    backbone.eval()
    state = unicom._named_as_published(backbone).state_dict()
    batch = torch.rand(2, 3, 64, 64, dtype=torch.float64)

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def norm(x, name):
        return F.layer_norm(x, (32,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

    def batch_norm(x, name):
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return (x - mean) / (variance + 2e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    kernel, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    x = F.conv2d(batch, kernel, bias, stride=16).flatten(2).transpose(1, 2) + state["pos_embed"]
    for block in ("blocks.0", "blocks.1"):
        query, key, value = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv").chunk(3, dim=2)
        heads_out = [
            (q @ k.transpose(1, 2) / 8**0.5).softmax(2) @ v
            for q, k, v in zip(query.split(8, 2), key.split(8, 2), value.split(8, 2), strict=True)
        ]
        x = x + linear(torch.cat(heads_out, 2), f"{block}.attn.proj")
        x = x + linear(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1").clamp(0, 6), f"{block}.mlp.fc2")
    x = norm(x, "norm")
    vectors = batch_norm(linear(x.flatten(1), "feature.0"), "feature.1")
    vectors = batch_norm(linear(vectors, "feature.2"), "feature.3")
    with torch.inference_mode():
        torch.testing.assert_close(backbone.pool_images(batch), vectors)
        torch.testing.assert_close(backbone.maps(batch).flatten(2).transpose(1, 2), x)
    assert backbone.mean == CLIP_MEAN and backbone.interpolation == "bicubic"


def test_unicom_trains_and_is_saved(tiny_unicom, tmp_path):
    train_save_load(tiny_unicom, 64, tmp_path, ["average", "native"])
    assert unicom.VARIANTS["ViT-L/14@336px"].size == 336


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_gives_what_the_whole_model_sees_and_trains(name, tmp_path):
    size = TORCHVISION[name]
    torch.manual_seed(0)
    whole = torchvision_models._build_whole(name, size).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    backbone = torchvision(name, weights=str(tmp_path / "whole.pth"), image_size=size).eval()
    seen, batch = [], torch.rand(2, 3, size, size)
    last = [each for each in whole.modules() if isinstance(each, torch.nn.Linear)][-1:]
    if last:
        last[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        with torch.inference_mode():
            whole(batch)
            torch.testing.assert_close(backbone.pool_images(batch), seen[0].flatten(1))
    assert backbone.maps(batch).shape[:2] == (2, backbone.map_dim)
    kinds = ["average", "native"] + ["cls_gem"] * (name == "vit_b_32")
    train_save_load(backbone, size, tmp_path / "model", kinds)


def test_torchvision_knows_mean_size_and_interpolation_of_its_weights():
    backbone = torchvision("squeezenet1_1", pretrained=False)
    assert backbone.mean == (0.485, 0.456, 0.406) and backbone.spec["image_size"] == 224


def test_a_class_token_is_refused_where_there_is_none():
    with pytest.raises(ConfigError, match="pooling=cls: backbone squeezenet1_1 has no class token; choose"):
        build(
            torchvision("squeezenet1_1", pretrained=False), pooling.ClassToken(), heads.Linear, 8, Resize(64)
        )
