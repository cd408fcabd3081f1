"""Pooling: a feature map [B, C, h, w] to one vector an image."""

from typing import Any

import torch
from torch import Tensor, nn

from lookalike.errors import LookalikeError
from lookalike.model.backbones import Backbone


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


def pool(backbone: Backbone, pooling: nn.Module, inputs: Tensor) -> Tensor:
    """Normalised images [B, 3, H, W] to a vector an image, [B, `pooled_length`]."""
    read = reads(pooling)
    if read == "pooled":
        return backbone.pool_images(inputs)
    return backbone.class_token(inputs) if read == "class_token" else pooling(backbone.maps(inputs))


def pooled_length(backbone: Backbone, pooling: nn.Module) -> int:
    """Length of the vector that a pooling makes of what a backbone gives."""
    return backbone.pooled_dim if reads(pooling) == "pooled" else backbone.map_dim


def reads(pooling: nn.Module) -> str:
    """What a pooling reads: maps, pooled or class_token."""
    return str(getattr(pooling, "reads", "maps"))


def rebuild(spec: dict[str, Any]) -> nn.Module:
    """The pooling that a model folder names."""
    kinds = {
        "native": Native,
        "average": Average,
        "max": Max,
        "cls": ClassToken,
        "gem": lambda: GeM(eps=spec["eps"]),
    }
    if spec.get("kind") not in kinds:
        raise LookalikeError(f"pooling kind {spec.get('kind')!r}: this version supports {', '.join(kinds)}")
    return kinds[spec["kind"]]()
