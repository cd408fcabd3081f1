"""The job `preview`: a picture of what training will make of some images."""

import logging
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

log = logging.getLogger(__name__)


class Config(BaseModel):
    """The keys of `lookalike preview`; their defaults are in conf/preview.yaml."""

    dataset: str | list[str] = Field(
        description="dataset folder, table file, or name of a dataset in data_dir; [a,b] joins several"
    )
    out: Path = Field(description="PNG file to write; an existing file is replaced")
    split: str | None = Field(description="split to take images from; null uses all")
    images: Annotated[int, Field(ge=1, le=64)] = Field(
        description="number of images to show, from as many classes as possible"
    )
    draws: Annotated[int, Field(ge=1, le=32)] = Field(
        description="number of augmented versions of each image"
    )
    image_size: Annotated[int, Field(ge=8, le=4096)] = Field(
        description="side length of the square model input in pixels"
    )
    resize: Literal["squash", "crop", "letterbox"] = Field(
        description="how images are made square: stretched, center-cropped, or padded"
    )
    seed: int = Field(ge=0, lt=2**32, description="random seed for the images and their augmentation")
    data_dir: Path = Field(description="folder in which datasets are looked up by name")
    augment: dict[str, Any] = Field(description="augmentation of the training images")


def main(config: Config) -> Path:
    """Draw the preview, and return its file.

    Raises:
        ConfigError: `out` is no PNG.
        DataError: none of the images chosen can be read.
    """
    from lookalike.config import build
    from lookalike.config.catalogue import choice_of_target
    from lookalike.data.datasets import read_datasets
    from lookalike.data.images import ImageTable
    from lookalike.data.transforms import Resize
    from lookalike.errors import ConfigError, DataError, list_problems
    from lookalike.files import replace_file
    from lookalike.plots.preview import preview
    from lookalike.training.transform_check import check_transform

    if config.out.suffix.lower() != ".png" or config.out.is_dir():
        raise ConfigError(f"out={config.out}: a preview is a file that ends in .png")
    augment = build(config.augment, "augment", size=config.image_size, how=config.resize)
    check_transform(augment, config.image_size)
    table = read_datasets(config.dataset, config.data_dir)
    table = table.split(config.split) if config.split else table
    table = table.take(sample_per_class(table.labels, config.images, config.seed))
    still = Resize(config.image_size, config.resize)
    rows = range(len(table))
    plain = ImageTable(table, still, at_least=still.at_least).__getitems__(rows)
    if plain.skipped:
        log.warning("%d cannot be read:%s", len(plain.skipped), list_problems(plain.skipped))
    if not len(plain.rows):
        raise DataError(f"{config.dataset}: none of the images chosen can be read", plain.skipped)
    readable = table.take(plain.rows.numpy())
    changing = ImageTable(readable, augment, seed=config.seed, at_least=getattr(augment, "at_least", None))
    versions = []
    for epoch in range(1, config.draws + 1):
        changing.set_epoch(epoch)
        versions.append(changing.__getitems__(range(len(readable))).images.permute(0, 2, 3, 1).numpy())
    name = choice_of_target("augment", config.augment)
    picture = preview(
        plain.images.permute(0, 2, 3, 1).numpy(),
        versions,
        readable.labels.tolist(),
        f"augment={name}, resize={config.resize}" if name else f"resize={config.resize}",
    )
    config.out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(config.out, lambda temporary: picture.save(temporary, format="PNG"))
    return config.out


def sample_per_class(labels: Any, count: int, seed: int) -> list[int]:
    """Rows of up to `count` random images: one of each class, then a second one of each, and so on."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(labels))
    counts: dict[object, int] = {}
    turns = []
    for row in order.tolist():
        label = labels[row]
        counts[label] = counts.get(label, 0) + 1
        turns.append((counts[label], len(turns), row))
    return [row for _, _, row in sorted(turns)[:count]]
