"""LargeFineFoodAI (2021): 1,000 dishes in fine-grained classes."""

from lookalike.prepare.sources.annotations import ParsedTable, check_public_table
from lookalike.prepare.sources.class_folders import class_folders
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

BUCKET = "https://s3plus.meituan.net/v1/mss_fad1a48f61e8451b8172ba5abfdbbee5/foodai-workshop-challenge"
SPLITS = {"Train": "train", "Val": "test"}
SET = PublicSet(
    name="largefinefoodai",
    title="LargeFineFoodAI",
    licence="research, by the terms of its challenge",
    size="not published",
    page="https://foodai-workshop.meituan.com/foodai2021.html",
    pieces=tuple(Piece(name, (Archive(f"{name}.tar", f"{BUCKET}/{name}.tar"),)) for name in SPLITS),
)


def table(raw: Raw, official_split: bool = True) -> ParsedTable:
    """Folder Train is for training; folder Val, which contains the same classes, is for testing.

    Args:
        raw: where its files are.
        official_split: false splits the classes by val= and test= instead.

    Raises:
        DataError: a file is missing or damaged.
    """
    paths, root = raw.open(SET), raw.root(SET)
    frame, wrong = class_folders({split: paths[name] for name, split in SPLITS.items()}, root)
    return check_public_table(frame, root, SET, wrong, keep_split=official_split)
