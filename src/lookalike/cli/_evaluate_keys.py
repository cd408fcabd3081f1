"""The keys of `lookalike evaluate`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from lookalike.cli._vector_keys import Source

Rate = Annotated[float, Field(ge=0, lt=1)]


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


class Config(Source):
    """The keys of `lookalike evaluate`; their defaults are in conf/evaluate.yaml."""

    split: str | list[str] | None = Field(
        description="split to evaluate; null uses test of a dataset, and all rows of an embeddings folder"
    )
    out: Path = Field(description="evaluation folder to write; must not exist yet")
    ks: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="values of k for recall@k and precision@k"
    )
    far: Rate | list[Rate] = Field(description="false accept rate for the threshold; [a,b] for several")
    coarse_far: bool = Field(description="allow far below 1 / number of impostor pairs")
    fpir: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="false positive identification rate for identification_threshold and operating_tpir: "
        "those of identify in an index of the images"
    )
    validation: Path | None = Field(
        description="embeddings folder, or file of vectors with labels, of identities to choose that "
        "threshold on; null uses those in the model folder"
    )
    intervals: bool = Field(description="compute 95 % confidence intervals by bootstrap over identities")
    seed: int = Field(ge=0, description="random seed of the intervals")
    by: list[str] = Field(description="columns of the table to break the metrics down by: [label,camera]")
    protocol: dict[str, Any] = Field(description="which rows are queries and which are their gallery")
    metric: dict[str, dict[str, Any]] = Field(
        description="metrics in addition to verification: metric=[recall_at_k,mrr,clustering]"
    )
    embeddings: Path | list[Path] | None = Field(  # pyrefly: ignore
        description="embeddings folder, or file of vectors (.npy, .parquet, .csv); alternatively set "
        "model= and dataset="
    )
    model: Path | list[Path] | None = Field(  # pyrefly: ignore
        description="model folder; embeds the images of dataset=. [a,b] evaluates several models"
    )
    run: Path | None = Field(
        description="run folder trained with keep_epochs=all; evaluates the model of every epoch"
    )
    labels: Path | None = Field(
        description="labels for a file of vectors without labels: .npy, or a table with a column label"
    )
    each: bool = Field(
        description="evaluate each of dataset=[a,b] or embeddings=[a,b] separately, and write a table"
    )
    text: str | None = Field(
        description="column of texts: adds recall from text to image and image to text, if the model has a "
        "text tower (see align-text)"
    )
    text_encoder: dict[str, Any] | None = Field(
        description="{_target_: …}: the encoder that the text tower was trained around; null for the others"
    )
    pca: PcaKeys = Field(description="PCA and whitening, fitted on other vectors: {learn_on, dim, whiten}")
    expand: ExpandKeys = Field(
        description="alpha query expansion and database-side augmentation: {queries, gallery, alpha}"
    )
    rerank: RerankKeys = Field(description="k-reciprocal re-ranking: {k1, k2, weight}")
