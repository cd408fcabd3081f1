"""The job `export`: a trained model becomes one portable file, compared with the original."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field


class Config(BaseModel):
    """The keys of `lookalike export`; their defaults are in conf/export.yaml."""

    model: Path = Field(description="model folder")
    dataset: str | list[str] | None = Field(
        description="dataset to compare the two on; its training images calibrate int8. null compares on "
        "bundled images"
    )
    split: Literal["train", "val", "test"] | None = Field(
        description="split to compare on; null takes test, else val, else all images"
    )
    out: Path = Field(description="export folder to write; must not exist yet")
    format: Literal["onnx", "torchscript"] = Field(description="file format")
    precision: Literal["fp32", "fp16", "int8"] = Field(
        description="number format; int8 is an embedding space of its own, never mixed with the original"
    )
    dim: int | None = Field(
        ge=1,
        description="number of leading dimensions to keep, for models trained with matryoshka=; null keeps "
        "all",
    )
    licence: str | None = Field(
        description="licence for the model card, such as apache-2.0; null takes that of the pretrained "
        "weights, where known"
    )
    fold: list[Literal["preprocess", "pca", "resize"]] = Field(
        description="what the graph includes: preprocess (scaling of pixels), pca (see pca=), resize (images "
        "of any size)"
    )
    pca: Path | None = Field(description="evaluation folder, or another folder with pca.json, for fold=pca")
    max_gap: Annotated[float, Field(gt=0, le=2)] | None = Field(
        description="largest accepted 1 - cosine between the two embeddings of an image; null takes 1e-5 for "
        "fp32, 1e-3 for fp16, 0.5 for int8"
    )
    max_recall_loss: float = Field(ge=0, le=1, description="largest accepted loss of recall@1")
    calibration_images: int = Field(ge=16, description="number of training images that int8 is calibrated on")
    max_images: int = Field(ge=2, description="maximum number of images to compare on")
    far: float = Field(gt=0, lt=1, description="false accept rate of the operating point")
    seed: int = Field(ge=0, description="random seed for drawing images")
    workers: int | None = Field(ge=0, description="number of data-loading processes; null takes none")
    threads: int | None = Field(
        ge=1, description="number of CPU threads for the model; null keeps the default of PyTorch"
    )
    progress: bool = Field(description="show progress bars")
    data_dir: Path = Field(description="folder in which datasets are looked up by name")


def main(config: Config) -> str:
    """Export, and return what is printed: the figures."""
    from lookalike.data.datasets import read_datasets
    from lookalike.export.export import export
    from lookalike.files import refuse_existing
    from lookalike.machine import configure_memory

    refuse_existing(config.out)
    configure_memory(config.threads)
    table = None if config.dataset is None else read_datasets(config.dataset, config.data_dir)
    result = export(
        config.model,
        table,
        out=config.out,
        format=config.format,
        precision=config.precision,
        dim=config.dim,
        licence=config.licence,
        fold=config.fold,
        pca=config.pca,
        split=config.split,
        max_gap=config.max_gap,
        max_recall_loss=config.max_recall_loss,
        calibration_images=config.calibration_images,
        max_images=config.max_images,
        far=config.far,
        seed=config.seed,
        workers=config.workers or 0,
        progress=config.progress,
        metadata={"job": "export", **config.model_dump(mode="json")},
    )
    return str(result)
