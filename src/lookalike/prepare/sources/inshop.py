"""DeepFashion In-shop Clothes Retrieval (Liu et al., 2016): clothes of a shop, with queries and a gallery."""

from pathlib import Path
from typing import Literal

import polars as pl

from lookalike.data.checking import BOX
from lookalike.errors import DataError, Problem
from lookalike.prepare.boxes import corners_from_one
from lookalike.prepare.sources.annotations import (
    BOX_PLACE,
    FROM,
    ROW,
    ParsedTable,
    check_public_table,
    join_by_key,
    parse_numbers,
    read_fields,
    read_header,
    read_text,
)
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

PARTITION = Piece("list_eval_partition.txt", (Archive("list_eval_partition.txt"),))
BOXES = Piece("list_bbox_inshop.txt", (Archive("list_bbox_inshop.txt"),))
COLUMNS = ("image_name", "item_id", "evaluation_status")
CORNERS = ["x_1", "y_1", "x_2", "y_2"]
COUNTS = {"train": (25_882, 3_997), "test": (26_830, 3_985)}
ROLES = {"train": "both", "query": "query", "gallery": "gallery"}


def describe_set(images: str, boxes: bool) -> PublicSet:
    """The files for these images, with or without boxes."""
    return PublicSet(
        name="inshop",
        title="DeepFashion In-shop",
        licence="research, by agreement with its authors",
        size="not published",
        page="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
        pieces=(PARTITION, Piece(images, (Archive(f"{images}.zip"),)), *((BOXES,) if boxes else ())),
        login="The authors share it in a folder, with a password on request for img_highres.zip; download "
        "the files of Eval, Img and, for boxes, Anno.",
        choice="Or the other images: source.images=img or source.images=img_highres.",
        counts=COUNTS,
    )


def table(raw: Raw, images: Literal["img", "img_highres"] = "img", boxes: bool = False) -> ParsedTable:
    """Split train, and split test with the roles query and gallery; labels are item ids.

    Args:
        raw: where its files are.
        images: the small images (256 px) or the large ones, by the authors' names.
        boxes: crop to the boxes of list_bbox_inshop.txt, which belong to the small images.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    if boxes and images != "img":
        raise DataError("source.boxes=true: its boxes belong to source.images=img")
    public_set = describe_set(images, boxes)
    paths = raw.open(public_set)
    file, images_root = paths[PARTITION.holds], paths[images]
    frame, wrong = _read_list(file, COLUMNS)
    unknown = ~frame["evaluation_status"].is_in(list(ROLES))
    wrong += [
        Problem(file.name, f"evaluation_status {status!r}: must be train, query or gallery", row)
        for status, row in frame.filter(unknown).select("evaluation_status", ROW).iter_rows()
    ]
    frame = frame.filter(~unknown)
    if boxes:
        other, bad = _read_list(paths[BOXES.holds], ("image_name", "clothes_type", "pose_type", *CORNERS))
        frame, unequal = join_by_key(frame, other, "image_name", of="box")
        frame, unlike = parse_numbers(frame, CORNERS, of="box")
        frame, wrong = corners_from_one(frame, CORNERS), wrong + bad + unequal + unlike
    frame = frame.select(
        FROM,
        ROW,
        *((*BOX, *BOX_PLACE) if boxes else ()),
        path=pl.col("image_name").str.replace("^img/", f"{images}/"),
        label="item_id",
        split=pl.when(pl.col("evaluation_status") == "train").then(pl.lit("train")).otherwise(pl.lit("test")),
        role=pl.col("evaluation_status").replace_strict(ROLES),
    )
    return check_public_table(frame, images_root.parent, public_set, wrong)


def _read_list(file: Path, columns: tuple[str, ...]) -> tuple[pl.DataFrame, list[Problem]]:
    """A list of DeepFashion: a count, the names of the columns, rows."""
    read_header(file, columns, line=1)
    frame, wrong = read_fields(file, columns, header=2)
    announced, num_rows = read_text(file).splitlines()[0].strip(), len(frame) + len(wrong)
    if announced != str(num_rows):
        wrong.append(
            Problem(file.name, f"its first line announces {announced} rows, but there are {num_rows}")
        )
    return frame, wrong
