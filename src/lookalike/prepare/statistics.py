"""Statistics of a table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lookalike.data.checking import BOX, SPLITS
from lookalike.data.formats import ENDINGS_OF
from lookalike.data.shards import image_exists, image_status
from lookalike.data.table import Table
from lookalike.prepare.contents import format_of, same_files
from lookalike.prepare.files import check_files, check_header
from lookalike.prepare.naming import group_similar
from lookalike.prepare.splits.assigned import count_images

FEW = (2, 3, 5, 10, 20, 50, 100, 200, 500)
OURS = {"path", "label", "split", "fold", "role", "width", "height", *BOX}


@dataclass(frozen=True)
class Stats:
    """The statistics of a table.

    Attributes:
        numbers: for stats.json; plain values only.
        sizes: label, images, and images in each split, the largest class first.
        duplicates: group, path, label, split of files with the same bytes; None if not requested.
    """

    numbers: dict[str, Any]
    sizes: pl.DataFrame
    duplicates: pl.DataFrame | None


def table_statistics(
    table: Table, *, files: bool = True, duplicates: bool = False, workers: int | None = 0
) -> Stats:
    """Compute the statistics of a table.

    Args:
        table: rows with a split.
        files: open every file to get its format and size.
        duplicates: also compare the contents of files of the same size.
        workers: processes that read headers if the table has no width and height; None for one per core.
    """
    frame = table.frame
    paths = frame["path"].unique(maintain_order=True)
    paths_on_disk = [table.folder / path for path in paths]
    sizes = class_sizes(frame)
    numbers: dict[str, Any] = {
        "images": len(frame),
        "files": len(paths),
        "classes": len(sizes),
        "class_sizes": size_statistics(sizes["images"].to_numpy()),
        "splits": [*count_images(table).iter_rows(named=True)],
        "shared_classes": count_shared_classes(frame),
        "labels_alike": similar_labels(frame),
        "boxes": frame.select(pl.col("x1").is_not_null().sum()).item() if "x1" in frame.columns else 0,
        "pixels": pixel_statistics(frame, paths, paths_on_disk, workers),
        "columns": other_columns(frame),
    }
    if files:
        numbers["formats"] = format_counts(paths_on_disk)
    same = find_duplicate_rows(frame, paths, paths_on_disk) if duplicates else None
    if same is not None:
        numbers["duplicates"] = duplicate_numbers(same)
    return Stats(numbers, sizes, same)


def class_sizes(frame: pl.DataFrame) -> pl.DataFrame:
    """Number of images of each class, in total and in each split, largest first."""
    splits = [name for name in SPLITS if (frame["split"] == name).any()]
    by_split = {name: (pl.col("split") == name).sum() for name in splits}
    return (
        frame.group_by("label")
        .agg(images=pl.len(), **by_split)
        .sort("images", "label", descending=[True, False])
    )


def size_statistics(sizes: np.ndarray) -> dict[str, Any]:
    """Summary of the class sizes [C]."""
    low, middle, high = (float(value) for value in np.quantile(sizes, (0.25, 0.5, 0.75)))
    return {
        "min": int(sizes.min()),
        "lower_quartile": low,
        "median": middle,
        "mean": float(sizes.mean()),
        "upper_quartile": high,
        "max": int(sizes.max()),
        "single_images": int((sizes == 1).sum()),
        "classes_with_fewer_than": {str(few): int((sizes < few).sum()) for few in FEW if few <= sizes.max()},
    }


def count_shared_classes(frame: pl.DataFrame) -> dict[str, int]:
    """Classes that are in train and also in another split."""
    train = frame.filter(pl.col("split") == "train")["label"].unique().implode()
    others = {name: frame.filter(pl.col("split") == name)["label"].unique() for name in SPLITS[1:]}
    return {name: int(labels.is_in(train).sum()) for name, labels in others.items() if len(labels)}


def similar_labels(frame: pl.DataFrame) -> list[list[str]]:
    """Labels that differ only in case, surrounding spaces and Unicode form."""
    if frame.schema["label"] != pl.String:
        return []
    return [group for group in group_similar(frame["label"].unique().sort()) if len(group) > 1]


def pixel_statistics(
    frame: pl.DataFrame, paths: pl.Series, files: Sequence[Path], workers: int | None
) -> dict[str, dict[str, float]]:
    """Image sizes, each file once; measured if the table does not have them."""
    has_sizes = {"width", "height"} <= set(frame.columns) and not frame["width"].null_count()
    if has_sizes:
        sizes = frame.unique("path", keep="first").select(
            pl.col("width", "height").cast(pl.Float64, strict=False)
        )
    else:
        image_sizes = [
            (check.width, check.height)
            for check in check_files(files, check_header, workers)
            if not check.reason
        ]
        sizes = pl.DataFrame(image_sizes, schema={"width": pl.Float64, "height": pl.Float64}, orient="row")
    sizes = sizes.drop_nulls()
    if sizes.is_empty():
        return {}
    across, down = sizes["width"].to_numpy(), sizes["height"].to_numpy()
    measured = {
        "width": across,
        "height": down,
        "shorter_side": np.minimum(across, down),
        "megapixels": across * down / 1e6,
        "width_by_height": across / np.maximum(down, 1),
    }
    return {
        name: {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}
        for name, values in measured.items()
    }


def format_counts(files: Sequence[Path]) -> dict[str, Any]:
    """Formats by content, the number of files with the extension of another format, and bytes."""
    formats = [format_of(file) for file in files]
    misnamed = [
        file
        for file, name in zip(files, formats, strict=True)
        if name in ENDINGS_OF and file.suffix.lower() not in ENDINGS_OF[name]
    ]
    lengths = np.array([image_status(file).size if image_exists(file) else 0 for file in files])
    return {
        "by_content": dict(Counter(formats).most_common()),
        "with_another_ending": len(misnamed),
        "bytes": int(lengths.sum()),
        "median_bytes": float(np.median(lengths)),
    }


def other_columns(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Other columns: type, number of distinct values, rows without a value."""
    return {
        name: {"type": str(kind), "values": frame[name].n_unique(), "missing": frame[name].null_count()}
        for name, kind in frame.schema.items()
        if name not in OURS and not kind.is_nested()
    }


def find_duplicate_rows(frame: pl.DataFrame, paths: pl.Series, files: Sequence[Path]) -> pl.DataFrame:
    """Every row of a file with the same bytes as another, by group."""
    groups = same_files(files)
    rows = [(number, paths[index]) for number, indices in enumerate(groups) for index in indices]
    named = pl.DataFrame(rows, schema={"group": pl.Int64, "path": pl.String}, orient="row")
    return named.join(frame.select("path", "label", "split"), on="path", maintain_order="left")


def duplicate_numbers(same: pl.DataFrame) -> dict[str, int]:
    """The number of duplicate files, and of groups with several labels or splits."""
    by_group = same.group_by("group").agg(pl.col("path", "label", "split").n_unique())
    return {
        "groups": len(by_group),
        "files_too_many": int(by_group["path"].sum()) - len(by_group),
        "groups_under_several_labels": int((by_group["label"] > 1).sum()),
        "groups_in_several_splits": int((by_group["split"] > 1).sum()),
    }
