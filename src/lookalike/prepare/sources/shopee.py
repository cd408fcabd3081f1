"""Shopee Product Matching (Kaggle, 2021): offers of a marketplace, grouped by product."""

import polars as pl

from lookalike.prepare.sources.annotations import (
    FROM,
    ROW,
    ParsedTable,
    check_public_table,
    parse_numbers,
    read_csv,
)
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

ZIP = Archive("shopee-product-matching.zip")
SET = PublicSet(
    name="shopee",
    title="Shopee",
    licence="non-commercial, by the rules of its competition",
    size="about 1.7 GB",
    page="https://www.kaggle.com/c/shopee-product-matching",
    pieces=(Piece("train.csv", (ZIP,)), Piece("train_images", (ZIP,))),
    login="It needs a Kaggle login and accepted rules: download the archive from its page.",
    counts={"all": (34_250, 11_014)},
)


def table(raw: Raw) -> ParsedTable:
    """train.csv; labels are its label_group, `title` and `hash` (image_phash) are kept.

    There is no official split: classes are split by val= and test=. An image shared by several offers is kept
    once, and the others are listed.

    Args:
        raw: where its files are.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    paths = raw.open(SET)
    frame, wrong = read_csv(
        paths["train.csv"], ("posting_id", "image", "image_phash", "title", "label_group")
    )
    frame, bad = parse_numbers(frame, ["label_group"])
    frame = frame.select(
        "posting_id",
        "title",
        FROM,
        ROW,
        path=pl.concat_str(pl.lit("train_images/"), "image"),
        label="label_group",
        hash="image_phash",
    )
    return check_public_table(frame, paths["train_images"].parent, SET, wrong + bad)
