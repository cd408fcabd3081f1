"""The job `align-text`: a text tower whose vectors can be compared with those of a model's images."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field


class Config(BaseModel):
    """The keys of `lookalike align-text`; their defaults are in conf/align-text.yaml."""

    model: Path = Field(description="model folder or run folder; its image vectors stay as they are")
    dataset: str | list[str] = Field(
        description="dataset folder, table file, or name of a dataset in data_dir; [a,b] joins several"
    )
    text: str = Field(description="column of the table with the texts")
    out: Path = Field(description="model folder to write, with the text tower; must not exist yet")
    text_encoder: dict[str, Any] = Field(
        description="what reads the texts; for your own: 'text_encoder={_target_: my_module.Encoder}', an "
        "object that maps a list of texts to vectors"
    )
    epochs: int = Field(
        ge=0, description="number of passes over the texts; 0 takes an encoder as it is, such as that of CLIP"
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(description="texts per step, each with one of its images")
    lr: Annotated[float, Field(gt=0)] = Field(description="learning rate")
    temperature: Annotated[float, Field(gt=0)] = Field(
        description="divides the similarities; smaller values look at the nearest only"
    )
    seed: int = Field(ge=0, description="random seed")
    workers: int | None = Field(ge=0, description="number of data-loading processes; null takes none")
    threads: int | None = Field(
        ge=1, description="number of CPU threads for the model; null keeps the default of PyTorch"
    )
    progress: bool = Field(description="show progress bars")
    data_dir: Path = Field(description="folder in which datasets are looked up by name")


def main(config: Config) -> Path:
    """Train the text tower, print its recall on validation images, and return the model folder."""
    from lookalike.config import build
    from lookalike.data.datasets import read_datasets
    from lookalike.files import refuse_existing
    from lookalike.machine import configure_memory
    from lookalike.training.text_alignment import TextSettings, align_text

    refuse_existing(config.out)
    configure_memory(config.threads)
    recalls = align_text(
        config.model,
        read_datasets(config.dataset, config.data_dir),
        config.text,
        out=config.out,
        encoder=build(config.text_encoder, "text_encoder"),
        settings=TextSettings(config.epochs, config.batch_size, config.lr, config.temperature, config.seed),
        workers=config.workers or 0,
        progress=config.progress,
    )
    for recall in recalls:
        print(recall)
    return config.out
