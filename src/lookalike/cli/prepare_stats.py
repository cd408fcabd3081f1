"""The job `prepare stats`: what there is in a dataset, in numbers and as a picture."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from lookalike.cli._derived import DATA_DIR, DATASET, Names, SplitName

if TYPE_CHECKING:
    from lookalike.prepare.statistics import Stats

log = logging.getLogger(__name__)


class Config(BaseModel):
    """The keys of `lookalike prepare stats`; their defaults are in conf/prepare-stats.yaml."""

    dataset: Names = DATASET
    split: list[SplitName] | None = Field(description="splits to count; null counts all")
    files: bool = Field(description="open every file to determine its real format and size")
    duplicates: bool = Field(description="compare files by content and list all identical ones")
    out: Path | None = Field(
        description="folder to write; null uses stats/NAME. Earlier results in it are replaced"
    )
    workers: int | None = Field(
        ge=0, description="number of processes that read headers; null uses one per core"
    )
    data_dir: Path = DATA_DIR


def main(config: Config) -> Path:
    """Print the numbers, write them and the picture, and return the folder."""
    from lookalike.data.datasets import read_datasets
    from lookalike.prepare.statistics import table_statistics

    name = title(config.dataset)
    out = config.out or Path("stats", name)
    table = read_datasets(config.dataset, config.data_dir)
    table = table.split(*config.split) if config.split else table
    statistics = table_statistics(
        table, files=config.files, duplicates=config.duplicates, workers=config.workers
    )
    show_statistics(name, statistics.numbers)
    write_statistics(out, name, statistics)
    return out


def title(dataset: str | list[str]) -> str:
    """The names of the datasets, without their folders and endings."""
    from lookalike.data.reading import READERS

    paths = [Path(name).absolute() for name in ([dataset] if isinstance(dataset, str) else dataset)]
    return "+".join(path.stem if path.suffix.lower() in READERS else path.name for path in paths)


def write_statistics(folder: Path, name: str, statistics: "Stats") -> None:
    """stats.json, class_sizes.csv, class_sizes.png, and duplicates.csv if there are any.

    Raises:
        LookalikeError: `folder` holds something that is not from here.
    """
    from lookalike.files import refuse_existing, replace_file, write_text
    from lookalike.plots.class_size_chart import class_size_figure
    from lookalike.plots.letters import is_legible

    if not (folder / "stats.json").is_file():
        refuse_existing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "class_sizes.csv", statistics.sizes.write_csv)
    figure = class_size_figure(statistics.sizes["images"].to_numpy(), name)
    with is_legible(figure):
        replace_file(folder / "class_sizes.png", lambda temporary: figure.savefig(temporary, format="png"))
    (folder / "duplicates.csv").unlink(missing_ok=True)
    if statistics.duplicates is not None and len(statistics.duplicates):
        replace_file(folder / "duplicates.csv", statistics.duplicates.write_csv)
    text = json.dumps({"dataset": name, **statistics.numbers}, indent=2, ensure_ascii=False)
    write_text(folder / "stats.json", text + "\n")


def show_statistics(name: str, numbers: dict[str, Any]) -> None:
    """Print a table a subject."""
    from lookalike.console import print_table

    print_table(("dataset", name), statistic_rows(numbers))


def statistic_rows(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """The numbers as terms and text."""
    sizes = numbers["class_sizes"]
    rows = [
        ("images", f"{numbers['images']:,} of {numbers['classes']:,} classes, in {numbers['files']:,} files"),
        (
            "images in a class",
            f"{sizes['min']:,} to {sizes['max']:,}, median {sizes['median']:,g}, "
            f"mean {_short_text(sizes['mean'])}; "
            f"{sizes['single_images']:,} classes with a single image",
        ),
    ]
    for part in numbers["splits"]:
        more = "".join(f" {key} {part[key]}" for key in ("fold", "role") if part.get(key) is not None)
        rows.append((part["split"] + more, f"{part['images']:,} images of {part['classes']:,} classes"))
    for name, shared in numbers["shared_classes"].items():
        if shared:
            rows.append((f"in train and {name}", f"{shared:,} classes"))
    for name, unit in (("width", "px"), ("height", "px"), ("megapixels", "")):
        if name in numbers["pixels"]:
            pixel_numbers = numbers["pixels"][name]
            low, high, middle = (_short_text(pixel_numbers[key]) for key in ("min", "max", "median"))
            rows.append((name, f"{low} to {high}, median {middle} {unit}".rstrip()))
    if numbers["boxes"]:
        rows.append(("boxes", f"{numbers['boxes']:,}"))
    return rows + _file_rows(numbers)


def _short_text(number: float) -> str:
    """A number with three digits or more, and never with a power of ten."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}" if number >= 0.001 else f"{number:.6f}"


def _file_rows(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if "formats" in numbers:
        formats = numbers["formats"]
        kinds = ", ".join(f"{name} {count:,}" for name, count in formats["by_content"].items())
        wrong = formats["with_another_ending"]
        rows.append(("formats", kinds + (f"; {wrong:,} with the ending of another" if wrong else "")))
        rows.append(
            ("bytes", f"{formats['bytes'] / 1e6:,.1f} MB, median {formats['median_bytes'] / 1e3:,.1f} kB")
        )
    if "duplicates" in numbers:
        same = numbers["duplicates"]
        rows.append(
            (
                "same content",
                f"{same['files_too_many']:,} files too many in {same['groups']:,} groups; under several "
                f"labels {same['groups_under_several_labels']:,}, in several splits "
                f"{same['groups_in_several_splits']:,}",
            )
        )
    alike = numbers["labels_alike"][:5]
    return rows + [("labels alike", ", ".join(map(repr, group))) for group in alike]
