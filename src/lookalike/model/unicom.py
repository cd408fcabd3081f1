"""Unicom's vision transformers (An et al. 2023, arXiv 2304.05884), with the weights of its authors."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lookalike.errors import ConfigError
from lookalike.model.backbone import Backbone, Spec
from lookalike.model.download import download_weights
from lookalike.model.weights import load_weights, nearest, read_weights

RELEASES = "https://github.com/deepglint/unicom/releases/download"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BATCH_NORM_EPS = 2e-5
DROP_PATH = 0.1


@dataclass(frozen=True)
class Variant:
    """One of the published networks.

    Attributes:
        size: side of the images; others do not fit, since its projection has a weight for every patch.
        patch: side of a patch.
        width, depth, heads: of the transformer.
        dim: length of the vector that its projection gives.
        file: its weights, below `RELEASES`.
        sha256: of that file.
    """

    size: int
    patch: int
    width: int
    depth: int
    heads: int
    dim: int
    file: str
    sha256: str


VARIANTS = {
    "ViT-B/32": Variant(
        *(224, 32, 768, 12, 12, 512, "b32/FP16-ViT-B-32.pt"),
        "f9d5696a9b58dbbbefee2d31615ca59084f2895a0fdd2ca4c235e0f9b2793f7a",
    ),
    "ViT-B/16": Variant(
        *(224, 16, 768, 12, 12, 768, "b16/FP16-ViT-B-16.pt"),
        "c04f324f7c3b4435667236ec6c0eca1cd62f9d64fbfc2d06f8e8e60e6497edef",
    ),
    "ViT-L/14": Variant(
        *(224, 14, 1024, 24, 16, 768, "l14/FP16-ViT-L-14.pt"),
        "ff3ab62ff782876460099e6e0ee17b73a7c01109de2fffd595f16f4129404bbd",
    ),
    "ViT-L/14@336px": Variant(
        *(336, 14, 1024, 24, 16, 768, "l14_336px/FP16-ViT-L-14-336px.pt"),
        "3916ab5aed3b522fc90345be8b4457fe5dad60801ad2af5a6871c0c096e8d7ea",
    ),
}


class Unicom(Backbone):
    """A vision transformer without class token; its own pooling projects all patch tokens together.

    Args:
        spec: the name of one of `VARIANTS`.
    """

    mean, std, interpolation = MEAN, STD, "bicubic"

    def __init__(self, spec: Spec):
        from timm.models.vision_transformer import VisionTransformer

        super().__init__()
        self.spec = spec
        variant = VARIANTS[spec["name"]]
        self.net = VisionTransformer(
            img_size=variant.size,
            patch_size=variant.patch,
            num_classes=0,
            global_pool="",
            embed_dim=variant.width,
            depth=variant.depth,
            num_heads=variant.heads,
            qkv_bias=False,
            class_token=False,
            fc_norm=False,
            drop_path_rate=DROP_PATH,
            norm_layer=nn.LayerNorm,
            act_layer=nn.ReLU6,
        )
        patches = self.net.patch_embed.num_patches
        self.feature = nn.Sequential(
            nn.Linear(variant.width * patches, variant.width, bias=False),
            nn.BatchNorm1d(variant.width, eps=BATCH_NORM_EPS),
            nn.Linear(variant.width, variant.dim, bias=False),
            nn.BatchNorm1d(variant.dim, eps=BATCH_NORM_EPS),
        )
        self.map_dim, self.pooled_dim = variant.width, variant.dim

    def maps(self, images: Tensor) -> Tensor:
        """See `Backbone.maps`."""
        tokens = self.net.forward_features(images)
        height, width = self.net.patch_embed.grid_size
        return tokens.transpose(1, 2).unflatten(2, (height, width))

    def pool_images(self, images: Tensor) -> Tensor:
        """The vector that the published model compares images by."""
        return self.feature(self.net.forward_features(images).flatten(1))

    def unused_parameters(self, reads: str) -> list[str]:
        """See `Backbone.unused_parameters`."""
        names = [name for name, _ in self.named_parameters()]
        return [] if reads == "pooled" else [name for name in names if name.startswith("feature.")]


def unicom(
    name: str = "ViT-B/32", pretrained: bool = True, weights: str | None = None, image_size: int | None = None
) -> Backbone:
    """A vision transformer of Unicom.

    Args:
        name: ViT-B/32, ViT-B/16, ViT-L/14 or ViT-L/14@336px.
        pretrained: take the published weights (needs the network the first time; their SHA-256 is checked).
        weights: a local copy of the published file, or another state dict of the same names.
        image_size: that of the weights; others are refused.

    Raises:
        ConfigError: `name` is unknown, or the network cannot read images of `image_size`.
        LookalikeError: the weights cannot be had, or do not fit.
    """
    if name not in VARIANTS:
        raise ConfigError(
            f"backbone.name={name}: Unicom has no such model; nearest: "
            f"{nearest(name, VARIANTS, ', '.join(VARIANTS))}"
        )
    variant = VARIANTS[name]
    if image_size not in (None, variant.size):
        fitting = [
            f"{other} reads {each.size}" for other, each in VARIANTS.items() if each.size == image_size
        ]
        raise ConfigError(
            f"backbone.name={name}: cannot read images of {image_size}×{image_size} pixels; set "
            f"image_size={variant.size}" + "".join(f", or take another model: {each}" for each in fitting[:1])
        )
    backbone = Unicom({"kind": "unicom", "name": name})
    if weights is not None or pretrained:
        file = Path(weights) if weights is not None else _find_published(variant)
        load_weights(_named_as_published(backbone), read_weights(file), file, f"Unicom {name}")
    backbone.pretrained = pretrained or weights is not None
    return backbone


def _find_published(variant: Variant) -> Path:
    return download_weights(f"{RELEASES}/{variant.file}", variant.sha256)


def _named_as_published(backbone: Unicom) -> nn.Module:
    """The same weights under the names that they have in the published files."""
    view = nn.Module()
    for name, module in [*backbone.net.named_children(), ("feature", backbone.feature)]:
        if next(module.parameters(), torch.empty(0)).numel():
            view.add_module(name, module)
    view.register_parameter("pos_embed", backbone.net.pos_embed)
    return view
