"""The classification models of torchvision, without their classifiers."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from lookalike.errors import ConfigError
from lookalike.model.backbone import POOLINGS, Backbone, Spec, title
from lookalike.model.download import download_weights
from lookalike.model.trial import try_out
from lookalike.model.weights import State, load_weights, nearest, read_weights

POOLING_FUNCTIONS = ("adaptive_avg_pool2d", "mean")
"""Functions that make a vector of the last feature map, where that is no module."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN = {"transform_input": True, "aux_logits": False, "init_weights": False}
"""Arguments of Inception and GoogLeNet: they rescale images as their published weights want them."""
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Weights of their second classifiers, which are left out."""


class TorchVision(Backbone):
    """A model of torchvision that gives its last feature map, or what its classifier would see.

    Args:
        spec: name; image_size; mean, std and interpolation of its weights.

    Raises:
        ConfigError: it cannot read images of this size.
    """

    def __init__(self, spec: Spec):
        super().__init__()
        self.is_transformer = spec["name"].startswith("vit_")
        make = partial(_build, spec["name"], spec["image_size"])
        advice = f"set image_size={spec['trained_size']}"
        try:
            self.trial = try_out(make, self._read_maps, _read_pooled, spec["image_size"], advice)
        except ConfigError as error:
            raise ConfigError(f"backbone.name={spec['name']}: {error}") from error
        self.spec, self.net = spec, make()
        self.mean, self.std = tuple(spec["mean"]), tuple(spec["std"])
        self.interpolation = spec["interpolation"]
        self.map_dim, self.pooled_dim = self.trial.map_dim, self.trial.pooled_dim

    def maps(self, images: Tensor) -> Tensor:
        """See `Backbone.maps`."""
        return self._read_maps(self.net, images)

    def pool_images(self, images: Tensor) -> Tensor:
        """The vector that the classifier would see."""
        return _read_pooled(self.net, images)

    def class_token(self, images: Tensor) -> Tensor:
        """See `Backbone.class_token`."""
        return self.class_and_maps(images)[0]

    def class_and_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backbone.class_and_maps`."""
        tokens = self.net(images)["maps"]
        return tokens[:, 0], _patch_map(tokens)

    def check_reads(self, reads: str) -> None:
        """See `Backbone.check_reads`."""
        if reads in POOLINGS and not self.is_transformer:
            raise ConfigError(
                f"pooling={POOLINGS[reads]}: backbone {title(self)} has no class token; "
                "choose pooling=native, average, max or gem"
            )

    def unused_parameters(self, reads: str) -> list[str]:
        """See `Backbone.unused_parameters`."""
        return [f"net.{name}" for name in self.trial.unused_parameters(self.net, reads)]

    def _read_maps(self, net: nn.Module, images: Tensor) -> Tensor:
        maps = net(images)["maps"]
        return _patch_map(maps) if self.is_transformer else maps


def torchvision(
    name: str = "resnet50",
    tag: str = "DEFAULT",
    pretrained: bool = True,
    weights: str | None = None,
    image_size: int | None = None,
) -> Backbone:
    """A classification model of torchvision.

    Args:
        name: as in `torchvision.models.list_models(module=torchvision.models)`.
        tag: which published weights, such as IMAGENET1K_V2; DEFAULT are the best. Sets mean and std too.
        pretrained: take these weights (needs the network the first time; their SHA-256 is checked).
        weights: a local file of weights, with or without a classifier, in their place.
        image_size: side of the images; None for that of the weights. Only vit_… and maxvit_t depend on it.

    Raises:
        ConfigError: `name` or `tag` is unknown, or the model cannot read images of `image_size`.
        LookalikeError: the weights cannot be had, or do not fit.
    """
    from torchvision import models

    if name not in (names := models.list_models(module=models)):
        choices = nearest(name, names, "see torchvision.models.list_models()")
        raise ConfigError(f"backbone.name={name}: torchvision has no such model; nearest: {choices}")
    tags = models.get_model_weights(name)
    if tag not in tags.__members__:
        raise ConfigError(
            f"backbone.tag={tag}: torchvision has no such weights of {name}; choose "
            f"{', '.join(tags.__members__)}"
        )
    published = tags[tag]
    transform = published.transforms()
    spec = {
        "kind": "torchvision",
        "name": name,
        "mean": list(transform.mean),
        "std": list(transform.std),
        "interpolation": "bicubic" if transform.interpolation.value == "bicubic" else "bilinear",
        "trained_size": transform.crop_size[0],
        "image_size": image_size or transform.crop_size[0],
    }
    backbone = TorchVision(spec)
    if weights is not None or pretrained:
        file = Path(weights) if weights is not None else _find_published(published)
        state = _fit_state(read_weights(file), backbone, name)
        load_weights(backbone.net, state, file, f"torchvision's {name}")
    backbone.pretrained = pretrained or weights is not None
    return backbone


def _find_published(weights: Any) -> Path:
    """The file of published weights, whose name ends with the start of its SHA-256."""
    return download_weights(weights.url, weights.url.rpartition("-")[2].partition(".")[0])


def _build(name: str, size: int) -> fx.GraphModule:
    """A model with random weights that gives {"maps": …, "pooled": …}."""
    from torchvision.models.feature_extraction import create_feature_extractor

    net = _build_whole(name, size).eval()
    _drop_classifier(net)
    return create_feature_extractor(net, _outputs(net))


def _build_whole(name: str, size: int | None = None) -> nn.Module:
    """A model with random weights and its classifier, for images of `size`, or else of its usual size."""
    from torchvision import models

    options: Spec = PLAIN if name in ("googlenet", "inception_v3") else {}
    if size is not None and name.startswith("vit_"):
        options = {"image_size": size}
    if size is not None and name.startswith("maxvit"):
        options = {"input_size": (size, size)}
    return models.get_model(name, weights=None, **options)


def _drop_classifier(net: nn.Module) -> None:
    """Let a model give what its last linear layer gets; SqueezeNet's last layer is a convolution."""
    linear = [name for name, module in net.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    is_convolution = isinstance(net.get_submodule(linear), nn.Conv2d)
    owner, _, last = linear.rpartition(".")
    setattr(net.get_submodule(owner), last, nn.Identity())
    if is_convolution:
        net.get_submodule(owner)[2] = nn.Identity()  # type: ignore[operator]


def _outputs(net: nn.Module) -> dict[str, str]:
    """The nodes of a model's graph that hold its last feature map and its vector."""
    from torchvision.models.feature_extraction import get_graph_node_names

    names = get_graph_node_names(net)[1]
    if "encoder.ln" in names:
        return {"encoder.ln": "maps", names[-1]: "pooled"}
    modules = dict(net.named_modules())
    pooled = max(
        index
        for index, name in enumerate(names)
        if isinstance(modules.get(name), nn.AdaptiveAvgPool2d) or name.startswith(POOLING_FUNCTIONS)
    )
    return {names[pooled - 1]: "maps", names[-1]: "pooled"}


def _read_pooled(net: nn.Module, images: Tensor) -> Tensor:
    return net(images)["pooled"].flatten(1)


def _patch_map(tokens: Tensor) -> Tensor:
    """Tokens [B, 1 + patches, C] as a map [B, C, 1, patches]."""
    return tokens[:, 1:].transpose(1, 2).unsqueeze(2)


def _fit_state(state: State, backbone: TorchVision, name: str) -> State:
    """The state dict without classifiers; position embeddings are resampled to the size of the images."""
    expected = backbone.net.state_dict()
    classifier = _classifier_names(name)
    kept = {
        key: value
        for key, value in state.items()
        if not key.startswith(AUXILIARY) and (key in expected or key not in classifier)
    }
    positions = "encoder.pos_embedding"
    if backbone.is_transformer and positions in kept and kept[positions].shape != expected[positions].shape:
        from timm.layers import resample_abs_pos_embed

        grid = [round((expected[positions].shape[1] - 1) ** 0.5)] * 2
        kept[positions] = resample_abs_pos_embed(kept[positions], grid, num_prefix_tokens=1)
    return kept


def _classifier_names(name: str) -> set[str]:
    """The weights that a whole model has and its backbone has not."""
    with torch.random.fork_rng(devices=[]):  # not on the meta device: RegNet computes its widths with tensors
        return set(_build_whole(name).state_dict())
