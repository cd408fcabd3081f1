"""AliProducts (Cheng et al., 2020): photos of 50,000 products, in ten archives."""

from pathlib import Path

import polars as pl

from lookalike.errors import DataError
from lookalike.prepare.annotations import Found, finished
from lookalike.prepare.class_folders import class_folders
from lookalike.prepare.locating import UNPACKED
from lookalike.prepare.public import Archive, Piece, PublicSet, Raw

BUCKET = "https://tianchi-public-us-east-download.oss-us-east-1.aliyuncs.com/231780/AliProducts"
PLACES = (
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
    Archive(f"train_val.part{part}.tar.gz", f"{BUCKET}/{place}/train_val.part{part}.tar.gz")
    for part, place in enumerate(PLACES)
]
SET = PublicSet(
    name="aliproducts",
    title="AliProducts",
    licence="research, by the terms of its challenge",
    size="not published, in ten archives",
    page="https://retailvisionworkshop.github.io/recognition_challenge_2020/",
    pieces=tuple(Piece(f"train_val.part{part}{UNPACKED}", (one,)) for part, one in enumerate(PARTS)),
)
SPLITS = {"train": "train", "val": "test"}


def table(raw: Raw, official_split: bool = True) -> Found:
    """All ten parts; folder train is trained on, folder val, which shows the same classes, is tested.

    Args:
        raw: where its files are: the ten archives, or folders train and val with all that was in them.
        official_split: false divides the classes instead, by val= and test=.

    Raises:
        DataError: a part is missing or damaged.
    """
    root = raw.root(SET)
    roots = [root] if _by_hand(root) else list(raw.open(SET).values())
    frames, wrong = [], []
    for place in roots:
        folders = {SPLITS[folder.name]: folder for folder in _split_folders(place)}
        if not folders:
            raise DataError(f"{place}: holds no folder train or val")
        frame, bad = class_folders(folders, root)
        frames.append(frame)
        wrong += bad
    frame = pl.concat(frames)
    return finished(frame, root, SET, wrong, keep_split=official_split)


def _by_hand(root: Path) -> bool:
    return (root / "train").is_dir() and (root / "val").is_dir()


def _split_folders(place: Path) -> list[Path]:
    """The folders train and val, also one level further down."""
    for level in ("", "*/"):
        found = [folder for name in SPLITS for folder in place.glob(f"{level}{name}") if folder.is_dir()]
        if found:
            return found
    return []
