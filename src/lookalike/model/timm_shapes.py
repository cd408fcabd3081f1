"""What a timm model makes of images of one size: found out by trying it, without weights or arithmetic."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.errors import ConfigError

Overrides = dict[str, Any]
SIZE_STEPS = (8, 16, 32, 64)
"""Sizes in multiples of these are tried where the one asked for does not fit."""
UNIT = 32
"""Most networks reduce images by this factor."""
COMMON = (224, 256, 384)


@dataclass(frozen=True)
class Shape:
    """What comes out of a model.

    Attributes:
        layout: of the features, NCHW, NHWC or NLC (tokens); "" where they are no single map.
        form: the shapes of the features, for messages.
        map_dim: channels of the feature map; of the last one where there are several.
        pooled_dim: length of the vector that the model's own pooling gives.
        prefix: number of tokens before those of the patches.
        patches: whether there are tokens or places after them.
        class_token: whether the first of them is a class token.
        used: names of the parameters that the features depend on, and of those that the pooled vector does.
    """

    layout: str
    form: str
    map_dim: int
    pooled_dim: int
    prefix: int
    patches: bool
    class_token: bool
    used: dict[str, frozenset[str]]


def fit(library: Any, name: str, size: int) -> tuple[Overrides, Shape]:
    """The arguments with which a model of timm reads images of a size, and what it makes of them.

    Raises:
        ConfigError: it reads none of this size; sizes that work are named.
    """
    errors = []
    for overrides in _options(library, name, size):
        try:
            return overrides, _probe_model(library, name, size, overrides)
        except Exception as error:  # whatever a model raises on images that do not fit it
            errors.append(error)
    works = _sizes_that_fit(library, name, size)
    advice = " or ".join(f"image_size={each}" for each in works)
    raise ConfigError(
        f"backbone.name={name}: cannot read images of {size}×{size} pixels ({_reason(errors)}); "
        + (f"it can read {advice}" if works else "choose another size or backbone")
    )


def _options(library: Any, name: str, size: int) -> tuple[Overrides, ...]:
    published = library.get_pretrained_cfg(name)
    sized: Overrides = {"img_size": size}
    return (sized, {}) if published is not None and published.fixed_input_size else ({}, sized)


def _probe_model(library: Any, name: str, size: int, overrides: Overrides) -> Shape:
    """The shape of such a model's output, on the meta device where that is certain to agree with the CPU."""
    with torch.random.fork_rng(devices=[]):
        if _is_unusual(library, name, size):
            return probe(_built(library, name, overrides, "cpu"), size, "cpu")
        try:
            return probe(_built(library, name, overrides, "meta"), size, "meta")
        except Exception:  # some models read values as they are built or run; what is wrong shows on the CPU
            return probe(_built(library, name, overrides, "cpu"), size, "cpu")


def _is_unusual(library: Any, name: str, size: int) -> bool:
    """Whether indices computed from the image size may be out of range, which the meta device ignores."""
    published = library.get_pretrained_cfg(name)
    resized = published is not None and published.fixed_input_size and published.input_size[-1] != size
    return bool(size % UNIT or resized)


def _built(library: Any, name: str, overrides: Overrides, device: str) -> nn.Module:
    with torch.device(device):
        return library.create_model(name, pretrained=False, num_classes=0, **overrides).eval()


def probe(net: nn.Module, size: int, device: str) -> Shape:
    """What a timm model without a classifier makes of two images.

    Raises:
        ValueError: the result is no vector an image.
    """
    mode = net.training
    net.eval()
    with torch.device(device), torch.enable_grad(), quiet():
        images = torch.zeros(2, 3, size, size)
        features = net.forward_features(images)  # type: ignore[operator]
        pooled = own_pooling(net)(features)
    net.train(mode)
    if not isinstance(pooled, Tensor) or pooled.ndim != 2 or len(pooled) != 2:
        raise ValueError(f"gives {_form(pooled)} in place of one vector an image")
    if _empty(features):
        raise ValueError(f"its feature map is empty: {_form(features)}")
    layout, channels = _layout(net, features)
    prefix = _prefix(net) if layout == "NLC" else 0
    registers = getattr(net, "num_reg_tokens", 0) or 0
    return Shape(
        layout=layout,
        form=_form(features),
        map_dim=channels,
        pooled_dim=pooled.shape[1],
        prefix=prefix,
        patches=layout != "NLC" or features.shape[1] > prefix,
        class_token=prefix > registers and getattr(net, "cls_token", None) is not None,
        used={"maps": used_parameters(net, features), "pooled": used_parameters(net, pooled)},
    )


def own_pooling(net: nn.Module) -> Callable[[Any], Tensor]:
    """From features to the vector that timm's classifier would see."""
    return lambda features: net.forward_head(features, pre_logits=True)  # type: ignore[operator]


def as_map(features: Tensor, shape: Shape) -> Tensor:
    """Features as [B, C, h, w]; tokens of patches are one row, [B, C, 1, tokens]."""
    if shape.layout == "NLC":
        return features[:, shape.prefix :].transpose(1, 2).unsqueeze(2)
    return features.permute(0, 3, 1, 2) if shape.layout == "NHWC" else features


def _layout(net: nn.Module, features: Any) -> tuple[str, int]:
    """How features lie in memory, "" if they are no single map, and how many channels they have."""
    if not isinstance(features, Tensor):
        tensors = list(_tensors(features))
        return "", tensors[-1].shape[1] if tensors else 0
    width = getattr(net, "num_features", None)
    if features.ndim == 3:
        return "NLC", features.shape[2]
    if features.ndim != 4:
        return "", features.shape[1]
    last = getattr(net, "output_fmt", None) == "NHWC"
    last = last or (features.shape[3] == width and features.shape[1] != width)
    return ("NHWC", features.shape[3]) if last else ("NCHW", features.shape[1])


def _prefix(net: nn.Module) -> int:
    """Number of tokens before those of the patches."""
    known = getattr(net, "num_prefix_tokens", None)
    return int(known) if known is not None else int(getattr(net, "cls_token", None) is not None)


def _tensors(features: Any) -> Iterator[Tensor]:
    if isinstance(features, Tensor):
        yield features
    elif isinstance(features, dict):
        yield from _tensors(list(features.values()))
    elif isinstance(features, list | tuple):
        for each in features:
            yield from _tensors(each)


def _form(features: Any) -> str:
    shapes = [list(each.shape[1:]) for each in _tensors(features)]
    return " and ".join(map(str, shapes)) or type(features).__name__


def _empty(features: Any) -> bool:
    return any(not each.numel() for each in _tensors(features))


def used_parameters(net: nn.Module, output: Any) -> frozenset[str]:
    """Names of the parameters that the output depends on, read from the graph."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    nodes = [each.grad_fn for each in _tensors(output) if each.grad_fn is not None]
    seen, result = set(nodes), set()
    while nodes:
        node = nodes.pop()
        leaf = names.get(id(getattr(node, "variable", None)))
        if leaf is not None:
            result.add(leaf)
        for after, _ in node.next_functions:
            if after is not None and after not in seen:
                seen.add(after)
                nodes.append(after)
    return frozenset(result)


def _sizes_that_fit(library: Any, name: str, size: int) -> list[int]:
    """Up to two sizes that work, the nearest first."""
    published = library.get_pretrained_cfg(name)
    published_sizes = (
        () if published is None else (published.input_size[-1], (published.test_input_size or (0,))[-1])
    )
    candidates = {step * max(1, part) for step in SIZE_STEPS for part in (size // step, size // step + 1)}
    fits: list[int] = []
    nearest = sorted(candidates, key=lambda each: abs(each - size))[:6]
    for candidate in dict.fromkeys((*nearest, *published_sizes, *COMMON)):
        if candidate in (0, size) or len(fits) == 2:
            continue
        for overrides in _options(library, name, candidate):
            try:
                _probe_model(library, name, candidate, overrides)
            except Exception:
                continue
            fits.append(candidate)
            break
    return fits


def _reason(errors: list[Exception]) -> str:
    """The first line of what the first error says, or its kind; that a model has no such argument is none."""
    error = next((each for each in errors if "img_size" not in str(each)), errors[0])
    lines = (line.strip().rstrip(".") for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings about the trial run."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
