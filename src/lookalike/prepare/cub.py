"""CUB-200-2011 (Wah et al., 2011): photos of 200 bird species."""

from dataclasses import replace

import polars as pl

from lookalike.data.checking import BOX
from lookalike.prepare.annotations import (
    FROM,
    ROW,
    Found,
    corners_from_size,
    fields,
    finished,
    joined,
    numbers,
)
from lookalike.prepare.public import Archive, Piece, PublicSet, Raw

TGZ = Archive(
    "CUB_200_2011.tgz",
    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
    checksum="md5:97eceeb196236b17998738112f37df78",
)
SET = PublicSet(
    name="cub",
    title="CUB-200-2011",
    licence="non-commercial research and education",
    size="1.2 GB",
    page="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    pieces=(Piece("images.txt", (TGZ,)),),
    counts={"train": (5_864, 100), "test": (5_924, 100)},
)
OFFICIAL = {"train": (5_994, 200), "test": (5_794, 200)}
TRAINED = 100
SIZES = ["x", "y", "w", "h"]


def table(raw: Raw, official_split: bool = False, boxes: bool = True) -> Found:
    """The first 100 classes are trained on, the other 100 tested; labels are `001.Black_footed_Albatross`, ….

    Its boxes are x y width height; here they are x1 y1 x2 y2.

    Args:
        raw: where its files are.
        official_split: the split of the images for classification, in which both halves show every class.
        boxes: keep the boxes, to which images are then cropped; most published numbers are without.

    Raises:
        DataError: a file is missing or is not as published.
    """
    folder = raw.open(SET)["images.txt"].parent
    frame, wrong = fields(folder / "images.txt", ("id", "path"), last_is_rest=True)
    tables: dict[str, tuple[str, ...]] = {"image_class_labels.txt": ("id", "class")}
    if boxes:
        tables["bounding_boxes.txt"] = ("id", *SIZES)
    if official_split:
        tables["train_test_split.txt"] = ("id", "trained")
    for name, columns in tables.items():
        other, bad = fields(folder / name, columns)
        frame, unequal = joined(frame, other, "id")
        wrong += bad + unequal
    names, bad = fields(folder / "classes.txt", ("class", "label"), last_is_rest=True)
    frame = frame.join(names.select("class", "label"), on="class", how="left", maintain_order="left")
    frame, unlike = numbers(frame, ["class"])
    wrong += bad + unlike
    if boxes:
        frame, bad = numbers(frame, SIZES, whole=False)
        frame, wrong = corners_from_size(frame, SIZES), wrong + bad
    trained = pl.col("trained") == "1" if official_split else pl.col("class") <= TRAINED
    frame = frame.select(
        "label",
        FROM,
        ROW,
        *(BOX if boxes else ()),
        path=pl.concat_str(pl.lit("images/"), "path"),
        split=pl.when(trained).then(pl.lit("train")).otherwise(pl.lit("test")),
    )
    return finished(frame, folder, replace(SET, counts=OFFICIAL) if official_split else SET, wrong)
