"""Stanford Online Products (Song et al., 2016): photos of products sold online."""

import polars as pl

from lookalike.prepare.sources.annotations import (
    FROM,
    ROW,
    ParsedTable,
    check_public_table,
    join_by_key,
    parse_numbers,
    read_fields,
    read_header,
)
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

ZIP = Archive(
    "Stanford_Online_Products.zip",
    "http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
    size=3_083_860_082,
    checksum="md5:7f73d41a2f44250d4779881525aea32e",
)
SET = PublicSet(
    name="sop",
    title="Stanford Online Products",
    licence="none stated; used for research",
    size="3.1 GB",
    page="https://cvgl.stanford.edu/projects/lifted_struct/",
    pieces=(Piece("Ebay_train.txt", (ZIP,)), Piece("Ebay_test.txt", (ZIP,))),
    counts={"train": (59_551, 11_318), "test": (60_502, 11_316)},
)
COLUMNS = ("image_id", "class_id", "super_class_id", "path")


def table(raw: Raw) -> ParsedTable:
    """The lists Ebay_train.txt and Ebay_test.txt; labels are class ids, `super_class` is the product
    category.

    Args:
        raw: where its files are.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    lists = raw.open(SET)
    frames, wrong = [], []
    for split in ("train", "test"):
        file = lists[f"Ebay_{split}.txt"]
        read_header(file, COLUMNS)
        frame, bad = read_fields(file, COLUMNS, header=1)
        frames.append(frame.with_columns(split=pl.lit(split)))
        wrong += bad
    frame = pl.concat(frames)
    info = lists["Ebay_train.txt"].with_name("Ebay_info.txt")
    if info.exists():
        read_header(info, COLUMNS)
        image_info, bad = read_fields(info, COLUMNS, header=1)
        frame, unequal = join_by_key(frame, image_info.select("image_id", FROM, ROW), "image_id")
        wrong += bad + unequal
    frame, bad = parse_numbers(frame, ["class_id"])
    kind = pl.col("path").str.replace("_final/.*", "")
    frame = frame.select("path", "split", FROM, ROW, label="class_id", super_class=kind)
    return check_public_table(frame, lists["Ebay_train.txt"].parent, SET, wrong + bad)
