"""The job `prepare split`: divide a dataset again."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from lookalike.cli._dataset_keys import DATA_DIR, DATASET, OF, OUT, Names, SplitName

Share = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """The keys of `lookalike prepare split`; their defaults are in conf/prepare-split.yaml."""

    dataset: Names = DATASET
    split: dict[str, Any] = Field(description="how the dataset is divided")
    of: list[SplitName] | None = OF
    out: Path = OUT
    val: Share = Field(
        description="fraction for validation (split=classes, images, frequency, time or encounters)"
    )
    test: Share = Field(
        description="fraction for testing (split=classes, images, frequency, time or encounters)"
    )
    seed: int = Field(ge=0, description="random seed for the split")
    data_dir: Path = DATA_DIR

    @model_validator(mode="after")
    def _shares(self) -> "Config":
        if self.val + self.test > 1 + 1e-9:
            raise ValueError(f"val={self.val:g} and test={self.test:g} add up to more than 1")
        return self


def main(config: Config) -> Path:
    """Write a dataset with the new split, and return its folder."""
    from lookalike.config import build
    from lookalike.files import refuse_existing
    from lookalike.prepare.derived import split_dataset

    refuse_existing(config.out)
    split_dataset(
        config.dataset,
        config.out,
        build(config.split, "split"),
        of=config.of,
        data_dir=config.data_dir,
        metadata=config.model_dump(mode="json"),
    )
    return config.out
