"""CelebA (Liu et al., 2015): aligned faces of 10,177 people."""

from typing import Literal

import polars as pl

from lookalike.data.table import Table
from lookalike.prepare.sources.annotations import (
    FROM,
    ROW,
    ParsedTable,
    check_public_table,
    join_by_key,
    parse_numbers,
    read_fields,
)
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw
from lookalike.prepare.splits.shares import class_disjoint

PARTITION = Piece(
    "list_eval_partition.txt",
    (Archive("list_eval_partition.txt", checksum="md5:d32c9cbf5e040fd4025c592c306e6668"),),
)
PIECES = (
    Piece(
        "img_align_celeba",
        (
            Archive(
                "img_align_celeba.zip", size=1_443_490_838, checksum="md5:00d2c5bc6d35e252742224ab0c1e8fcb"
            ),
        ),
    ),
    Piece(
        "identity_CelebA.txt",
        (Archive("identity_CelebA.txt", checksum="md5:32bd1bd63d3c78cd57e08160ec5ed1e2"),),
    ),
)
OFFICIAL = {"0": "train", "1": "val", "2": "test"}
TESTED = 0.25


def describe_set(official: bool) -> PublicSet:
    """The files for the official split, or for a split by identity."""
    return PublicSet(
        name="celeba",
        title="CelebA",
        licence="non-commercial research",
        size="1.4 GB",
        page="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        pieces=(*PIECES, *((PARTITION,) if official else ())),
        login="The authors share it in a folder that needs a browser: download img_align_celeba.zip and "
        "identity_CelebA.txt (and list_eval_partition.txt for the official split) there.",
        counts={"all": (202_599, 10_177)},
    )


def table(raw: Raw, split: Literal["identities", "official"] = "identities", seed: int = 0) -> ParsedTable:
    """Labels are identity numbers; a quarter of the identities is for testing, the others for training.

    Args:
        raw: where its files are.
        split: a random quarter of the identities, or list_eval_partition.txt.
        seed: of the random choice.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    public_set = describe_set(split == "official")
    paths = raw.open(public_set)
    frame, wrong = read_fields(paths["identity_CelebA.txt"], ("image", "identity"))
    if split == "official":
        other, bad = read_fields(paths[PARTITION.holds], ("image", "part"))
        frame, unequal = join_by_key(frame, other, "image")
        frame = frame.with_columns(
            split=pl.col("part").replace_strict(OFFICIAL, default=None, return_dtype=pl.String)
        )
        wrong += bad + unequal
    frame, bad = parse_numbers(frame, ["identity"])
    images = paths["img_align_celeba"]
    nested = images.name if (images / images.name).is_dir() else ""
    path = pl.concat_str(pl.lit(f"{images.name}/{nested}/" if nested else f"{images.name}/"), pl.col("image"))
    columns = ["split"] if split == "official" else []
    result, wrong = check_public_table(
        frame.select(FROM, ROW, *columns, path=path, label="identity"), images.parent, public_set, wrong + bad
    )
    if split == "official":
        return result, wrong
    split_column = pl.Series(
        "split", class_disjoint(result.labels, 0, TESTED, seed).tolist(), dtype=pl.String
    )
    return Table(result.frame.with_columns(split_column), result.folder), wrong
