"""The job `prepare stats`: count what is in a dataset, and plot its class sizes."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from lookalike.cli._dataset_keys import DATA_DIR, DATASET, Names, SplitName


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
    """Print the numbers, write them and the figure, and return the folder."""
    from lookalike.data.datasets import dataset_title, read_datasets
    from lookalike.prepare.statistics import table_statistics
    from lookalike.report.statistics import write_statistics

    name = dataset_title(config.dataset)
    out = config.out or Path("stats", name)
    table = read_datasets(config.dataset, config.data_dir)
    table = table.split(*config.split) if config.split else table
    statistics = table_statistics(
        table, files=config.files, duplicates=config.duplicates, workers=config.workers
    )
    show_statistics(name, statistics.numbers)
    write_statistics(out, name, statistics)
    return out


def show_statistics(name: str, numbers: dict[str, Any]) -> None:
    """Print the numbers as a table."""
    from lookalike.console import print_table

    print_table(("dataset", name), statistic_rows(numbers))


def statistic_rows(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """The numbers as pairs of a term and its value."""
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
    """A number with at least three significant digits, never in scientific notation."""
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
