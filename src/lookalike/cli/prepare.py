"""The job `prepare`: make a dataset from folders, a table, URLs or a public dataset; or patch one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Callable

    from lookalike.data.table import Table
    from lookalike.detect.cropping import Cropping
    from lookalike.errors import Problem
    from lookalike.prepare.make_dataset import Rows
    from lookalike.prepare.splits.assigned import Split

Share = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """The keys of `lookalike prepare`; their defaults are in conf/prepare.yaml."""

    source: dict[str, Any] = Field(description="where the images come from")
    detect: dict[str, Any] = Field(
        description="object to detect in each image; it is cropped, rotated upright and stored in the dataset"
    )
    out: Path = Field(description="dataset folder to write; must not exist yet")
    patch: Path | list[Path] | None = Field(
        description="patch file saved by `lookalike explore`, or several, [a,b]; applied to dataset= in "
        "place of a source"
    )
    dataset: str | None = Field(
        description="with patch=: dataset folder, table file, or name of a dataset in data_dir"
    )
    undo: bool = Field(description="revert the changes of patch= instead of applying them")
    data_dir: Path = Field(description="folder in which datasets are looked up by name")
    raw: Path | None = Field(
        description="folder with the archives of a public dataset, or their extracted content; null uses "
        "raw/SOURCE"
    )
    download: bool = Field(description="download the archives of a public dataset that are missing in raw=")
    private: bool = Field(
        description="allow downloads from this machine and its local network, which are rejected by "
        "default because a foreign list or a redirect could request resources that only you "
        "can reach"
    )
    split: dict[str, Any] = Field(description="how to split the dataset if the data defines no split")
    val: Share = Field(description="fraction of the identities for validation")
    test: Share = Field(
        description="fraction of the identities for testing; 1 uses all, to evaluate an existing model"
    )
    seed: int = Field(ge=0, description="random seed for the split")
    check: bool = Field(
        description="decode every image completely; false reads only the headers, which is much faster"
    )
    hashes: bool = Field(
        description="add a column hash with the 64-bit perceptual hash of every image, 16 hexadecimal digits"
    )
    shrink: int | None = Field(
        ge=16,
        le=8192,
        description="store resized copies with this shorter side in pixels, such as 256, which load "
        "faster; null keeps the original files",
    )
    shrink_quality: Annotated[int, Field(ge=1, le=100)] = Field(
        description="JPEG quality of the resized copies"
    )
    max_skipped: Share = Field(description="fail if more than this fraction of the images cannot be used")
    workers: int | None = Field(
        ge=0, description="number of processes that check or crop images; null uses one per core"
    )
    progress: bool = Field(description="show a progress bar")

    @model_validator(mode="after")
    def _shares(self) -> "Config":
        if self.val + self.test > 1 + 1e-9:
            raise ValueError(f"val={self.val:g} and test={self.test:g} add up to more than 1")
        return self

    @model_validator(mode="after")
    def _check_patching(self) -> "Config":
        if self.patch is not None and self.dataset is None:
            raise ValueError(f"patch={self.patch}: needs dataset=…, the data set to change")
        if self.patch is None and (self.dataset is not None or self.undo):
            given_key = f"dataset={self.dataset}" if self.dataset is not None else "undo=true"
            raise ValueError(f"{given_key}: is for patch=…; images come from source=…")
        return self


def main(config: Config) -> Path:
    """Prepare a dataset, and return its folder."""
    return run(config)


def run(
    config: Config,
    source: object = None,
    split: "Callable[[Table], Table] | None" = None,
    detect: "Cropping | None" = None,
) -> Path:
    """`main`, with objects in place of what the keys `source`, `split` and `detect` describe."""
    from lookalike.config import build
    from lookalike.detect.cropped_dataset import refuse_shrink
    from lookalike.files import refuse_existing
    from lookalike.prepare.make_dataset import Rows
    from lookalike.prepare.sources.public import Raw

    refuse_existing(config.out)
    if config.patch is not None:
        return _apply_patch(config, config.patch)
    _refuse_unused(config)
    split = split or build(config.split, "split")
    cropping = detect or build(config.detect, "detect")
    if cropping is not None:
        refuse_shrink(config.shrink)
    if source is None:
        raw = Raw(config.raw, config.download, config.progress, config.private)
        rows = Rows(*build(config.source, "source", raw=raw))
    else:
        rows = Rows(*_rows_in_memory(source, config.source))
    return _make(config, rows, split, cropping, detect)


def _rows_in_memory(source: object, node: dict[str, Any]) -> "tuple[Table, list[Problem]]":
    """The usable rows of a table or frame, by the keys of `source=table`."""
    from lookalike.errors import ConfigError
    from lookalike.prepare.table import table_in_memory

    keys = {name: value for name, value in node.items() if name not in ("_target_", "file", "root")}
    root = Path(node["root"]) if node.get("root") else None
    try:
        return table_in_memory(source, root, **keys)
    except ValueError as error:
        raise ConfigError(f"source.{error}") from error


def _make(
    config: Config, rows: "Rows", split: "Split", cropping: "Cropping | None", custom: "Cropping | None"
) -> Path:
    """Make a dataset from these rows; `custom` is the cropping if it is not that of the config."""
    from functools import partial

    from lookalike.detect.crop_table import CropJob
    from lookalike.detect.cropped_dataset import make_cropped_dataset
    from lookalike.prepare.make_dataset import DatasetSettings, make_dataset

    sources = [config.source[key] for key in ("root", "file", "list") if config.source.get(key)]
    metadata = config.model_dump(mode="json") | ({"detect": repr(custom)} if custom else {})
    settings = DatasetSettings(
        config.out,
        source=str(sources[0] if sources else rows.table.folder),
        metadata=metadata,
        **config.model_dump(
            include={"check", "hashes", "shrink", "shrink_quality", "max_skipped", "workers", "progress"}
        ),
    )
    if cropping is None:
        return make_dataset(rows, split, settings)
    make = partial(_return_cropping, custom) if custom else _build_cropping
    node = {"object": repr(custom)} if custom else config.detect
    job = CropJob(config.out, node, make, config.workers, config.progress)
    return make_cropped_dataset(rows, split, settings, job)


def _return_cropping(cropping: "Cropping", settings: str) -> "Cropping":
    return cropping


def _build_cropping(settings: str) -> "Cropping":
    """The cropping, built from the nodes of the config as JSON; called once in each process."""
    from lookalike.config import build

    return build(json.loads(settings), "detect")


def _apply_patch(config: Config, patch: Path | list[Path]) -> Path:
    from lookalike.data.datasets import read_datasets
    from lookalike.prepare.patch.dataset import patch_dataset

    table = read_datasets(config.dataset or [], config.data_dir)
    metadata = {
        "job": "prepare",
        **config.model_dump(mode="json", include={"patch", "dataset", "undo", "out"}),
    }
    return patch_dataset(
        table, patch if isinstance(patch, list) else [patch], config.out, metadata, config.undo
    )


def _refuse_unused(config: Config) -> None:
    """Reject keys that have no effect on this source, before any work."""
    from hydra.utils import get_object

    from lookalike.config.signatures import hints
    from lookalike.errors import ConfigError

    known_hints = hints(get_object(config.source["_target_"]))
    if known_hints is None or "raw" in known_hints:
        return
    given_keys = {
        "download=true": config.download,
        "private=true": config.private,
        f"raw={config.raw}": config.raw,
    }
    for key in (key for key, used in given_keys.items() if used):
        raise ConfigError(f"{key}: only public sets and urls have raw files; this source has none")
