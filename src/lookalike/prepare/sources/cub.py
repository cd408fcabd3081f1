"""CUB-200-2011 (Wah et al., 2011): photos of 200 bird species."""

from dataclasses import replace

import polars as pl

from lookalike.data.checking import BOX
from lookalike.prepare.boxes import corners_from_size
from lookalike.prepare.sources.annotations import (
    BOX_PLACE,
    FROM,
    ROW,
    ParsedTable,
    check_public_table,
    join_by_key,
    join_labels,
    parse_numbers,
    read_fields,
)
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

TGZ = Archive(
    "CUB_200_2011.tgz",
    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
    size=1_150_585_339,
    checksum="md5:97eceeb196236b17998738112f37df78",
)
SET = PublicSet(
    name="cub",
    title="CUB-200-2011",
    licence="research, see its page",
    size="1.2 GB",
    page="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    pieces=(Piece("images.txt", (TGZ,)),),
    counts={"train": (5_864, 100), "test": (5_924, 100)},
)
OFFICIAL = {"train": (5_994, 200), "test": (5_794, 200)}
SPLITS = {"1": "train", "0": "test"}
TRAINED = 100
SIZES = ["x", "y", "w", "h"]


def table(raw: Raw, official_split: bool = False, boxes: bool = True) -> ParsedTable:
    """The first 100 classes are for training, the other 100 for testing; labels are
    `001.Black_footed_Albatross`, ….

    The published boxes are x y width height; here they are x1 y1 x2 y2.

    Args:
        raw: where its files are.
        official_split: use the classification split by image, where both halves contain every class.
        boxes: keep the boxes, so that images are cropped to them; most published results use whole images.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    folder = raw.open(SET)["images.txt"].parent
    frame, wrong = read_fields(folder / "images.txt", ("id", "path"), last_is_rest=True)
    tables = [("class", "image_class_labels.txt", ["class"])]
    tables += [("box", "bounding_boxes.txt", SIZES)] if boxes else []
    tables += [("split", "train_test_split.txt", ["trained"])] if official_split else []
    for file_name, name, columns in tables:
        other, bad = read_fields(folder / name, ("id", *columns))
        frame, unequal = join_by_key(frame, other, "id", of=file_name)
        wrong += bad + unequal
    names, bad = read_fields(folder / "classes.txt", ("class", "label"), last_is_rest=True)
    names, unlike = parse_numbers(names, ["class"])
    frame, odd = parse_numbers(frame, ["class"], of="class")
    frame, unknown = join_labels(frame, names, "class", of="class")
    wrong += bad + unlike + odd + unknown
    if boxes:
        frame, bad = parse_numbers(frame, SIZES, whole=False, of="box")
        frame, wrong = corners_from_size(frame, SIZES), wrong + bad
    by_class = pl.when(pl.col("class") <= TRAINED).then(pl.lit("train")).otherwise(pl.lit("test"))
    split_column = pl.col("trained").replace_strict(SPLITS, default=None, return_dtype=pl.String)
    frame = frame.select(
        "label",
        FROM,
        ROW,
        *((*BOX, *BOX_PLACE) if boxes else ()),
        path=pl.concat_str(pl.lit("images/"), "path"),
        split=split_column if official_split else by_class,
    )
    return check_public_table(frame, folder, replace(SET, counts=OFFICIAL) if official_split else SET, wrong)
