"""H&M (Kaggle, 2022): articles of a clothing shop; a product is an article in all its colours."""

import polars as pl

from lookalike.prepare.sources.annotations import FROM, ROW, ParsedTable, check_public_table, read_csv
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

ZIP = Archive("h-and-m-personalized-fashion-recommendations.zip")
SET = PublicSet(
    name="hm",
    title="H&M",
    licence="non-commercial, by the rules of its competition",
    size="about 32 GB",
    page="https://www.kaggle.com/c/h-and-m-personalized-fashion-recommendations",
    pieces=(Piece("articles.csv", (ZIP,)), Piece("images", (ZIP,))),
    login="It needs a Kaggle login and accepted rules: download the archive from its page.",
    counts={"all": (105_542, 47_224)},
)
COLUMNS = ("article_id", "product_code", "prod_name", "product_type_name", "colour_group_name")
DIGITS = 10


def table(raw: Raw) -> ParsedTable:
    """One image per article; labels are product codes, so the colours of a product are one class.

    There is no official split: classes are split by val= and test=. Articles without an image are listed.

    Args:
        raw: where its files are.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    paths = raw.open(SET)
    frame, wrong = read_csv(paths["articles.csv"], COLUMNS)
    number = pl.col("article_id").str.strip_chars().str.zfill(DIGITS)
    path = pl.concat_str(pl.lit("images/"), number.str.head(3), pl.lit("/"), number, pl.lit(".jpg"))
    frame = frame.select(
        FROM, ROW, *COLUMNS[2:], path=path, label=pl.col("product_code").str.strip_chars(), article_id=number
    )
    return check_public_table(frame, paths["images"].parent, SET, wrong)
