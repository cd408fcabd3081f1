"""How a table is cleaned."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Settings:
    """How a table is cleaned; see `lookalike.clean`."""

    threshold: int = 10
    mirrored: bool = False
    identities: bool = True
    accept: float = 0.5
    seed: int = 0
    batch_size: int = 64
    workers: int | None = 0
    device: "str | torch.device | None" = None
    progress: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 64:
            raise ValueError(f"clean threshold {self.threshold}: must be from 0 to 64")
        if not 0 <= self.accept <= 1:
            raise ValueError(f"clean accept {self.accept}: must be from 0 to 1")
