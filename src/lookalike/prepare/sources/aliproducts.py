"""AliProducts (Cheng et al., 2020): photos of 50,000 products, in ten archives."""

from pathlib import Path

import polars as pl

from lookalike.errors import DataError
from lookalike.prepare.download.locating import UNPACKED
from lookalike.prepare.sources.annotations import ParsedTable, check_public_table
from lookalike.prepare.sources.class_folders import class_folders
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

BUCKET = "https://tianchi-public-us-east-download.oss-us-east-1.aliyuncs.com/231780/AliProducts"
OBJECT_IDS = (
    "000141585539496",
    "100001585554035",
    "200001585540031",
    "300001585559032",
    "400001585578035",
    "500001585599038",
    "600001585536030",
    "700001585524033",
    "800001585502035",
    "900001585552031",
)
PARTS = [
    Archive(f"train_val.part{part}.tar.gz", f"{BUCKET}/{object_id}/train_val.part{part}.tar.gz")
    for part, object_id in enumerate(OBJECT_IDS)
]
SET = PublicSet(
    name="aliproducts",
    title="AliProducts",
    licence="research, by the terms of its challenge",
    size="not published, in ten archives",
    page="https://retailvisionworkshop.github.io/recognition_challenge_2020/",
    pieces=tuple(Piece(f"train_val.part{part}{UNPACKED}", (archive,)) for part, archive in enumerate(PARTS)),
)
SPLITS = {"train": "train", "val": "test"}


def table(raw: Raw, official_split: bool = True) -> ParsedTable:
    """All ten parts; folder train is for training, folder val, which contains the same classes, for testing.

    Args:
        raw: where its files are: the ten archives, or their unpacked folders train and val.
        official_split: false splits the classes by val= and test= instead.

    Raises:
        DataError: a part is missing or damaged.
    """
    root = raw.root(SET)
    roots = [root] if _manual_instructions(root) else list(raw.open(SET).values())
    frames, wrong = [], []
    for part_root in roots:
        folders = {SPLITS[folder.name]: folder for folder in _split_folders(part_root)}
        if not folders:
            raise DataError(f"{part_root}: contains no folder train or val")
        frame, bad = class_folders(folders, root)
        frames.append(frame)
        wrong += bad
    frame = pl.concat(frames)
    return check_public_table(frame, root, SET, wrong, keep_split=official_split)


def _manual_instructions(root: Path) -> bool:
    return (root / "train").is_dir() and (root / "val").is_dir()


def _split_folders(root: Path) -> list[Path]:
    """The folders train and val, also one level further down."""
    for level in ("", "*/"):
        folders = [folder for name in SPLITS for folder in root.glob(f"{level}{name}") if folder.is_dir()]
        if folders:
            return folders
    return []
