"""Keys of `evaluate` for PCA, query expansion and re-ranking."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field


class PcaKeys(BaseModel):
    """PCA and whitening."""

    learn_on: Path | None = Field(
        description="embeddings folder or file to learn on; null takes split train of the dataset"
    )
    dim: int | None = Field(ge=1, description="how many directions to keep; null keeps all")
    whiten: Annotated[float, Field(ge=0, le=1)] = Field(
        description="how far to even out the directions: 0 not at all, 1 fully"
    )

    @property
    def is_requested(self) -> bool:
        """Whether any of it is asked for."""
        return self.learn_on is not None or self.dim is not None or self.whiten > 0


class ExpandKeys(BaseModel):
    """Alpha query expansion and database augmentation."""

    queries: int = Field(ge=0, description="nearest rows that a query is moved towards; 0 for none")
    gallery: int = Field(ge=0, description="nearest rows that a gallery row is moved towards; 0 for none")
    alpha: float = Field(ge=0, description="a row weighs its similarity to this power")


class RerankKeys(BaseModel):
    """k-reciprocal re-ranking."""

    k1: int = Field(ge=0, description="neighbours looked at, 20 in the paper; 0 for no re-ranking")
    k2: int = Field(ge=1, description="neighbours that a neighbourhood is averaged over")
    weight: Annotated[float, Field(ge=0, le=1)] = Field(description="of the original distance")
