"""Keys of `evaluate` for PCA, query expansion and re-ranking."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field


class PcaKeys(BaseModel):
    """PCA and whitening."""

    learn_on: Path | None = Field(
        description="embeddings folder or file to fit PCA on; null uses the train split of the dataset"
    )
    dim: int | None = Field(ge=1, description="number of principal components to keep; null keeps all")
    whiten: Annotated[float, Field(ge=0, le=1)] = Field(
        description="degree of whitening: 0 is none, 1 is full"
    )

    @property
    def is_requested(self) -> bool:
        """Whether any of it is asked for."""
        return self.learn_on is not None or self.dim is not None or self.whiten > 0


class ExpandKeys(BaseModel):
    """Alpha query expansion and database augmentation."""

    queries: int = Field(ge=0, description="number of neighbours for query expansion; 0 disables it")
    gallery: int = Field(
        ge=0, description="number of neighbours for database-side augmentation of the gallery; 0 disables it"
    )
    alpha: float = Field(ge=0, description="exponent of the similarity that weights each neighbour")


class RerankKeys(BaseModel):
    """k-reciprocal re-ranking."""

    k1: int = Field(
        ge=0, description="size k1 of the k-reciprocal neighbourhood, 20 in the paper; 0 disables re-ranking"
    )
    k2: int = Field(ge=1, description="number k2 of neighbours for local query expansion")
    weight: Annotated[float, Field(ge=0, le=1)] = Field(description="weight of the original distance")
