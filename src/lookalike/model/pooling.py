"""Pooling: a feature map [B, C, h, w] to one vector an image."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.errors import ConfigError, LookalikeError
from lookalike.model.backbone import Backbone


class GeM(nn.Module):
    """Generalised mean with a learned exponent (Radenović et al. 2018, arXiv 1711.02512, equation 3).

    Exponent 1 is the average, a large one the maximum. Computed in float32.

    Args:
        exponent: where learning starts.
        eps: floor of the activations, so that powers of zero have a gradient.
    """

    def __init__(self, exponent: float = 3.0, eps: float = 1e-6):
        super().__init__()
        self.exponent, self.eps = nn.Parameter(torch.tensor(float(exponent))), eps
        self.spec = {"kind": "gem", "eps": eps}

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, C, h, w] to [B, C]; negative activations count as `eps`."""
        power = maps.float().clamp(min=self.eps).pow(self.exponent)
        return power.mean((2, 3)).pow(1 / self.exponent)


class Max(nn.Module):
    """The maximum over all places of the map."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = {"kind": "max"}

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, C, h, w] to [B, C]."""
        return maps.amax((2, 3))


class Average(nn.Module):
    """The mean over all places of the map."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = {"kind": "average"}

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, C, h, w] to [B, C]."""
        return maps.mean((2, 3))


class AverageMax(nn.Module):
    """Mean plus maximum over all places of the map, as in the code of Proxy Anchor (Kim et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = {"kind": "average_max"}

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, C, h, w] to [B, C]."""
        return maps.mean((2, 3)) + maps.amax((2, 3))


class Attention(nn.Module):
    """A learned query that attends to all places of the map (Lee et al. 2019, arXiv 1810.00825, equation 11).

    Args:
        features: channels of the map.
        heads: attention heads; a divisor of `features`.

    Raises:
        ConfigError: `heads` does not divide `features`; divisors are named.
    """

    def __init__(self, features: int, heads: int = 8):
        super().__init__()
        if features % heads:
            fitting = [str(each) for each in range(1, 33) if features % each == 0]
            raise ConfigError(
                f"pooling.heads={heads}: does not divide the {features} channels of the feature map; "
                f"choose one of {', '.join(fitting)}"
            )
        self.spec = {"kind": "attention", "features": features, "heads": heads}
        self.query = nn.Parameter(torch.randn(1, 1, features) * features**-0.5)
        self.norm = nn.LayerNorm(features)
        self.attention = nn.MultiheadAttention(features, heads, batch_first=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, C, h, w] to [B, C]."""
        tokens = self.norm(maps.flatten(2).transpose(1, 2))
        query = self.query.expand(tokens.shape[0], -1, -1)  # len() would fix the batch size in exports
        return self.attention(query, tokens, tokens, need_weights=False)[0].squeeze(1)


class Native(nn.Module):
    """The backbone's own pooling: a class token, an attention pool, an average, as it was trained."""

    reads = "pooled"

    def __init__(self) -> None:
        super().__init__()
        self.spec = {"kind": "native"}


class ClassToken(nn.Module):
    """The class token of a transformer as its last layer leaves it; other backbones have none."""

    reads = "class_token"

    def __init__(self) -> None:
        super().__init__()
        self.spec = {"kind": "cls"}


class ClassGeM(nn.Module):
    """The class token beside the GeM of the patches (copy detection in Caron et al. 2021, arXiv 2104.14294).

    Args:
        exponent, eps: of `GeM`.
    """

    reads = "class_and_maps"

    def __init__(self, exponent: float = 3.0, eps: float = 1e-6):
        super().__init__()
        self.gem = GeM(exponent, eps)
        self.spec = {"kind": "cls_gem", "eps": eps}

    def forward(self, class_token: Tensor, maps: Tensor) -> Tensor:
        """Class token [B, C] and maps [B, C, h, w] to [B, 2 C]."""
        return torch.cat([class_token, self.gem(maps).to(class_token.dtype)], dim=1)


def pool(backbone: Backbone, pooling: nn.Module, inputs: Tensor) -> Tensor:
    """Normalised images [B, 3, H, W] to a vector an image, [B, `pooled_length`]."""
    read = reads(pooling)
    if read == "pooled":
        return backbone.pool_images(inputs)
    if read == "class_and_maps":
        return pooling(*backbone.class_and_maps(inputs))
    return backbone.class_token(inputs) if read == "class_token" else pooling(backbone.maps(inputs))


def pooled_length(backbone: Backbone, pooling: nn.Module) -> int:
    """Length of the vector that a pooling makes of what a backbone gives."""
    if reads(pooling) == "class_and_maps":
        return 2 * backbone.map_dim
    return backbone.pooled_dim if reads(pooling) == "pooled" else backbone.map_dim


def complete(backbone: Backbone, pooling: Any) -> nn.Module:
    """The pooling of a model; one that is no module yet is called with the `features` of the backbone."""
    return pooling if isinstance(pooling, nn.Module) else pooling(features=backbone.map_dim)


def reads(pooling: nn.Module) -> str:
    """What a pooling reads: maps, pooled, class_token or class_and_maps."""
    return str(getattr(pooling, "reads", "maps"))


def rebuild(spec: dict[str, Any]) -> nn.Module:
    """The pooling that a model folder names."""
    kinds: dict[str, Callable[[], nn.Module]] = {
        "native": Native,
        "average": Average,
        "max": Max,
        "average_max": AverageMax,
        "attention": lambda: Attention(spec["features"], spec["heads"]),
        "cls": ClassToken,
        "cls_gem": lambda: ClassGeM(eps=spec["eps"]),
        "gem": lambda: GeM(eps=spec["eps"]),
    }
    if spec.get("kind") not in kinds:
        raise LookalikeError(f"pooling kind {spec.get('kind')!r}: this version supports {', '.join(kinds)}")
    return kinds[spec["kind"]]()
