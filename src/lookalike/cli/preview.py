"""The job `preview`: a picture of augmented training images."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field


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
        ConfigError: `out` is not a PNG file.
        DataError: none of the selected images can be read.
    """
    from lookalike.config import build
    from lookalike.config.catalogue import choice_of_target
    from lookalike.data.datasets import read_datasets
    from lookalike.data.random_transform import check_transform
    from lookalike.data.transforms import Resize
    from lookalike.errors import ConfigError
    from lookalike.files import replace_file
    from lookalike.plots.preview import preview_augmentation

    if config.out.suffix.lower() != ".png" or config.out.is_dir():
        raise ConfigError(f"out={config.out}: a preview is a file that ends in .png")
    augment = build(config.augment, "augment", size=config.image_size, how=config.resize)
    check_transform(augment, config.image_size)
    table = read_datasets(config.dataset, config.data_dir)
    table = table.split(config.split) if config.split else table
    name = choice_of_target("augment", config.augment)
    picture = preview_augmentation(
        table,
        augment,
        Resize(config.image_size, config.resize),
        images=config.images,
        draws=config.draws,
        seed=config.seed,
        title=f"augment={name}, resize={config.resize}" if name else f"resize={config.resize}",
    )
    config.out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(config.out, lambda temporary: picture.save(temporary, format="PNG"))
    return config.out
