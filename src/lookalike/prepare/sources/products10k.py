"""Products-10K (Bai et al., 2020): products of an online shop, test photos taken by customers."""

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

LISTS = {"train": "train.csv", "test": "test_kaggletest.csv"}
SET = PublicSet(
    name="products10k",
    title="Products-10K",
    licence="research, see its page",
    size="about 20 GB",
    page="https://products-10k.github.io/",
    pieces=(
        *(Piece(file, (Archive(file),)) for file in LISTS.values()),
        *(Piece(split, (Archive(f"{split}.zip"),)) for split in LISTS),
    ),
    login="Its page links to shared folders that need a browser: download train.zip, test.zip, train.csv and "
    "test_kaggletest.csv there.",
    counts={"train": (141_931, 9_691), "test": (55_376, None)},
)


def table(raw: Raw, official_split: bool = True) -> ParsedTable:
    """train.csv and test_kaggletest.csv, which contain the same classes; labels are class numbers.

    Args:
        raw: where its files are.
        official_split: false splits the classes by val= and test= instead.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    paths, root = raw.open(SET), raw.root(SET)
    frames, wrong = [], []
    for split, name in LISTS.items():
        frame, bad = read_csv(paths[name], ("name", "class"))
        frame, unlike = parse_numbers(frame, ["class"])
        start = pl.lit(f"{paths[split].relative_to(root).as_posix()}/")
        path = pl.concat_str(start, pl.col("name"))
        frames.append(frame.select(FROM, ROW, path=path, label="class", split=pl.lit(split)))
        wrong += bad + unlike
    frame = pl.concat(frames)
    return check_public_table(frame, root, SET, wrong, keep_split=official_split)
