"""The job `clean`: a dataset becomes a list of its probable errors, a patch, and a page to review them."""

import logging
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from lookalike.cli._dataset_keys import DATA_DIR, DATASET, Names

log = logging.getLogger(__name__)


class Config(BaseModel):
    """The keys of `lookalike clean`; their defaults are in conf/clean.yaml."""

    dataset: Names = DATASET
    model: Path | list[Path] | None = Field(
        description="model folder that judges identities and labels; null uses EfficientNet-Lite0 with "
        "ImageNet weights. [a,b] are models of a k-fold split: each judges the images of its fold"
    )
    embeddings: Path | None = Field(description="embeddings folder of the dataset, in place of model=")
    out: Path = Field(description="folder to write; must not exist yet")
    threshold: int = Field(
        ge=0, le=64, description="number of bits of the 64-bit hash in which copies of a photo may differ"
    )
    mirrored: bool = Field(description="also find copies that were mirrored")
    identities: bool = Field(
        description="look for duplicate identities and wrong labels; false skips the model and is faster"
    )
    accept: Annotated[float, Field(ge=0, le=1)] = Field(
        description="findings with at least this score are changes of patch.jsonl"
    )
    seed: int = Field(ge=0, description="random seed of the folds and of the errors made for calibration")
    batch_size: Annotated[int, Field(ge=1)] = Field(description="images per forward pass")
    workers: int | None = Field(
        ge=0, description="number of processes that read images; null uses one per core"
    )
    device: str | None = Field(description="device for the model; null selects the best")
    data_dir: Path = DATA_DIR
    progress: bool = Field(description="show progress bars")


def main(config: Config) -> Path:
    """Clean, log what was found, and return the folder."""
    from lookalike.clean.cleaning import clean_table, summarise
    from lookalike.clean.settings import Settings
    from lookalike.data.datasets import join_tables, read_tables
    from lookalike.embeddings import Embeddings
    from lookalike.errors import ConfigError
    from lookalike.files import refuse_existing

    refuse_existing(config.out)
    if config.embeddings is not None and config.model is not None:
        raise ConfigError("embeddings= and model= are alternatives; give one of them")
    values = config.model_dump(include=set(Settings.__dataclass_fields__))
    table = join_tables(read_tables(config.dataset, config.data_dir, files=False))
    model = config.model if config.embeddings is None else Embeddings.load(config.embeddings)
    cleaning = clean_table(table, model, Settings(**values | {"device": _device(config.device)}), config.out)
    cleaning.save(config.out, {"job": "clean", **config.model_dump(mode="json")})
    log.info("%s", summarise(cleaning))
    log.info("review the findings: %s", config.out / "review.html")
    return config.out


def _device(name: str | None) -> str:
    from lookalike.machine import choose_device

    return str(choose_device(name))
