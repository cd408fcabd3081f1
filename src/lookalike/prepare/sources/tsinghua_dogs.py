"""Tsinghua Dogs (Zou et al., 2020): photos of 130 dog breeds."""

from typing import Literal

import polars as pl

from lookalike.prepare.sources.annotations import FROM, ROW, ParsedTable, check_public_table, read_fields
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

HOME = "https://cg.cs.tsinghua.edu.cn/ThuDogs"
CLOUD = "https://cloud.tsinghua.edu.cn/f"
OBJECT_IDS = (
    "d2031efb239c4dde9c6c",
    "6a242a6bba664537ba45",
    "d17034fa14f54e4381d8",
    "3740fc44cd484e1cb089",
    "ff5d96a0bc4e4dba9004",
    "d5fe5c88198c4387a7bb",
    "b13d6710ac85487e9487",
    "b6cf354fd04b4fe0b909",
    "06a421a528044b15838c",
)
PARTS = tuple(
    Archive(f"TsinghuaDogs.zip.{part:03}", f"{CLOUD}/{object_id}/?dl=1")
    for part, object_id in enumerate(OBJECT_IDS, 1)
)
LISTS = {"train.lst": "train", "validation.lst": "test"}
SPLIT = Archive("TrainValSplit.zip", f"{HOME}/TrainValSplit.zip")


def describe_set(images: str) -> PublicSet:
    """The files for the original or the small images."""
    archives = PARTS if images == "high-resolution" else (Archive("low-resolution.zip"),)
    return PublicSet(
        name="tsinghua_dogs",
        title="Tsinghua Dogs",
        licence="academic research",
        size="about 19 GB in nine parts (high-resolution), 2.5 GB (low-resolution)",
        page=f"{HOME}/",
        pieces=(Piece(images, archives), *(Piece(f"TrainAndValList/{name}", (SPLIT,)) for name in LISTS)),
        login="Download the small images from its page.",
        choice="Or the other images: source.images=low-resolution or source.images=high-resolution.",
        counts={"train": (65_228, 130), "test": (5_200, 130)},
    )


def table(
    raw: Raw,
    images: Literal["high-resolution", "low-resolution"] = "high-resolution",
    official_split: bool = True,
) -> ParsedTable:
    """The lists: train.lst is for training; validation.lst, which contains the same breeds, is for testing.

    Labels are the folder names, such as `806-n000129-papillon`.

    Args:
        raw: where its files are.
        images: original or small.
        official_split: false splits the classes by val= and test= instead.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    public_set = describe_set(images)
    paths = raw.open(public_set)
    frames, wrong = [], []
    for name, split in LISTS.items():
        frame, bad = read_fields(paths[f"TrainAndValList/{name}"], ("path",), last_is_rest=True)
        path = pl.col("path").str.replace(r"^(\.?/)+", "")
        frames.append(
            frame.select(
                FROM,
                ROW,
                path=pl.concat_str(pl.lit(f"{images}/"), path),
                label=path.str.extract("([^/]+)/[^/]+$"),
                split=pl.lit(split),
            )
        )
        wrong += bad
    frame = pl.concat(frames)
    folder = paths[images].parent
    return check_public_table(frame, folder, public_set, wrong, keep_split=official_split)
