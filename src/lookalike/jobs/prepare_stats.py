"""The job `prepare stats`: what there is in a dataset, in numbers and as a picture."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from lookalike.jobs._derived import DATA_DIR, DATASET, Names, SplitName

if TYPE_CHECKING:
    from lookalike.prepare.stats import Stats

log = logging.getLogger(__name__)


class Config(BaseModel):
    """The keys of `lookalike prepare stats`; their defaults are in conf/prepare-stats.yaml."""

    dataset: Names = DATASET
    split: list[SplitName] | None = Field(description="splits to count; null for all")
    files: bool = Field(description="look into every file: its format by content, and its bytes")
    duplicates: bool = Field(description="compare files by content; all that are the same are listed")
    out: Path | None = Field(
        description="folder to write; null for stats/NAME; what it holds from before is replaced"
    )
    workers: int | None = Field(ge=0, description="processes that read headers; null takes one a core")
    data_dir: Path = DATA_DIR


def main(config: Config) -> Path:
    """Print the numbers, write them and the picture, and return the folder."""
    from lookalike.jobs._datasets import read_datasets
    from lookalike.prepare.stats import stats

    name = title(config.dataset)
    out = config.out or Path("stats", name)
    table = read_datasets(config.dataset, config.data_dir)
    table = table.split(*config.split) if config.split else table
    found = stats(table, files=config.files, duplicates=config.duplicates, workers=config.workers)
    show(name, found.numbers)
    write(out, name, found)
    return out


def title(dataset: str | list[str]) -> str:
    """The names of the datasets, without their folders and endings."""
    from lookalike.data.reading import READERS

    paths = [Path(name).absolute() for name in ([dataset] if isinstance(dataset, str) else dataset)]
    return "+".join(path.stem if path.suffix.lower() in READERS else path.name for path in paths)


def write(folder: Path, name: str, found: "Stats") -> None:
    """stats.json, class_sizes.csv, class_sizes.png, and duplicates.csv if there are any.

    Raises:
        LookalikeError: `folder` holds something that is not from here.
    """
    from lookalike.files import refuse_existing, replace_file, write_text
    from lookalike.plots.class_sizes import class_size_figure
    from lookalike.plots.letters import legible

    if not (folder / "stats.json").is_file():
        refuse_existing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "class_sizes.csv", found.sizes.write_csv)
    figure = class_size_figure(found.sizes["images"].to_numpy(), name)
    with legible(figure):
        replace_file(folder / "class_sizes.png", lambda beside: figure.savefig(beside, format="png"))
    (folder / "duplicates.csv").unlink(missing_ok=True)
    if found.duplicates is not None and len(found.duplicates):
        replace_file(folder / "duplicates.csv", found.duplicates.write_csv)
    text = json.dumps({"dataset": name, **found.numbers}, indent=2, ensure_ascii=False)
    write_text(folder / "stats.json", text + "\n")


def show(name: str, numbers: dict[str, Any]) -> None:
    """Print a table a subject."""
    from lookalike.console import print_table

    print_table(("dataset", name), rows(numbers))


def rows(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """The numbers as terms and text."""
    sizes = numbers["class_sizes"]
    found = [
        ("images", f"{numbers['images']:,} of {numbers['classes']:,} classes, in {numbers['files']:,} files"),
        (
            "images in a class",
            f"{sizes['min']:,} to {sizes['max']:,}, median {sizes['median']:,g}, "
            f"mean {_short(sizes['mean'])}; "
            f"{sizes['single_images']:,} classes with a single image",
        ),
    ]
    for part in numbers["splits"]:
        more = "".join(f" {key} {part[key]}" for key in ("fold", "role") if part.get(key) is not None)
        found.append((part["split"] + more, f"{part['images']:,} images of {part['classes']:,} classes"))
    for name, shared in numbers["shared_classes"].items():
        if shared:
            found.append((f"in train and {name}", f"{shared:,} classes"))
    for name, unit in (("width", "px"), ("height", "px"), ("megapixels", "")):
        if name in numbers["pixels"]:
            said = numbers["pixels"][name]
            low, high, middle = (_short(said[key]) for key in ("min", "max", "median"))
            found.append((name, f"{low} to {high}, median {middle} {unit}".rstrip()))
    if numbers["boxes"]:
        found.append(("boxes", f"{numbers['boxes']:,}"))
    return found + _rows_of_files(numbers)


def _short(number: float) -> str:
    """A number with three digits or more, and never with a power of ten."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}" if number >= 0.001 else f"{number:.6f}"


def _rows_of_files(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    if "formats" in numbers:
        said = numbers["formats"]
        kinds = ", ".join(f"{name} {count:,}" for name, count in said["by_content"].items())
        wrong = said["with_another_ending"]
        found.append(("formats", kinds + (f"; {wrong:,} with the ending of another" if wrong else "")))
        found.append(("bytes", f"{said['bytes'] / 1e6:,.1f} MB, median {said['median_bytes'] / 1e3:,.1f} kB"))
    if "duplicates" in numbers:
        same = numbers["duplicates"]
        found.append(
            (
                "same content",
                f"{same['files_too_many']:,} files too many in {same['groups']:,} groups; under several "
                f"labels {same['groups_under_several_labels']:,}, in several splits "
                f"{same['groups_in_several_splits']:,}",
            )
        )
    alike = numbers["labels_alike"][:5]
    return found + [("labels alike", ", ".join(map(repr, group))) for group in alike]
