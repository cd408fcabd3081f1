"""Heads: a pooled vector [B, features] to an embedding [B, dim]."""

from typing import Any

from torch import Tensor, nn

from lookalike.errors import LookalikeError


class Linear(nn.Module):
    """One linear layer.

    Args:
        features: length of the pooled vector.
        dim: length of the embedding.
    """

    def __init__(self, features: int, dim: int):
        super().__init__()
        self.spec: dict[str, Any] = {"kind": "linear"}
        self.dim = dim
        self.layer = nn.Linear(features, dim)

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, features] to [B, dim]."""
        return self.layer(pooled)


class BatchNorm(nn.Module):
    """Dropout, a linear layer (Xavier initialised), batch normalisation.

    Args:
        features: length of the pooled vector.
        dim: length of the embedding.
        dropout: share of the pooled features set to zero in training.
    """

    def __init__(self, features: int, dim: int, dropout: float = 0.2):
        super().__init__()
        self.spec: dict[str, Any] = {"kind": "batch_norm", "dropout": dropout}
        self.dim = dim
        linear = nn.Linear(features, dim)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        self.layers = nn.Sequential(nn.Dropout(dropout), linear, nn.BatchNorm1d(dim))

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, features] to [B, dim]."""
        return self.layers(pooled)


class Identity(nn.Module):
    """No head: the pooled vector is the embedding, whatever `dim` asks for.

    Args:
        features: length of the pooled vector.
        dim: not used; the embedding is as long as the pooled vector.
    """

    def __init__(self, features: int, dim: int | None = None):
        super().__init__()
        self.spec: dict[str, Any] = {"kind": "none"}
        self.dim = features

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, features], unchanged."""
        return pooled


def rebuild(spec: dict[str, Any], features: int, dim: int) -> nn.Module:
    """The head that a model folder names."""
    kinds = {
        "linear": lambda: Linear(features, dim),
        "batch_norm": lambda: BatchNorm(features, dim, spec["dropout"]),
        "none": lambda: Identity(features, dim),
    }
    if spec.get("kind") not in kinds:
        raise LookalikeError(f"head kind {spec.get('kind')!r}: this version supports {', '.join(kinds)}")
    return kinds[spec["kind"]]()
