"""Omniglot (Lake et al., 2015): 1,623 characters of 50 alphabets, each drawn by 20 people."""

import logging
from dataclasses import replace
from pathlib import Path

import polars as pl
from PIL import Image

from lookalike.data.decode import open_image
from lookalike.data.formats import ENDINGS
from lookalike.errors import DataError, Problem
from lookalike.files import new_folder
from lookalike.prepare.download.locating import is_side_file
from lookalike.prepare.sources.annotations import ParsedTable, check_public_table
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

log = logging.getLogger(__name__)
BASE = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
PUBLISHED = {
    "images_background": (9_464_212, "68d2efa1b9178cc56df9314c21c6e718"),
    "images_evaluation": (6_462_886, "6b91aef0f799c5bb55b94e3f2daec811"),
}
SPLITS = {"images_background": "train", "images_evaluation": "test"}
SET = PublicSet(
    name="omniglot",
    title="Omniglot",
    licence="MIT",
    size="16 MB",
    page="https://github.com/brendenlake/omniglot",
    pieces=tuple(
        Piece(name, (Archive(f"{name}.zip", f"{BASE}/{name}.zip", size, f"md5:{md5}"),))
        for name, (size, md5) in PUBLISHED.items()
    ),
)
COUNTS = {"train": (19_280, 964), "test": (13_180, 659)}
Row = tuple[str, str, str, str]
TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


def table(raw: Raw, rotations: bool = False) -> ParsedTable:
    """The background alphabets are for training, the evaluation alphabets for testing.

    Labels are `Greek/character01`; the column `alphabet` is the group of a character.

    Args:
        raw: where its files are.
        rotations: add the training characters rotated by 90, 180 and 270 degrees as additional classes, as is
            common; they are written as PNG to a folder `rotated` beside the downloaded files.

    Raises:
        DataError: a file is missing or damaged.
    """
    paths, root = raw.open(SET), raw.root(SET)
    rows, wrong = [], []
    for name, split in SPLITS.items():
        entries, bad = _characters(paths[name], root, split)
        rows += entries
        wrong += bad
    if rotations:
        rows += _rotate_images([row for row in rows if row[2] == "train"], root)
    frame = pl.DataFrame(rows, schema=["path", "label", "split", "alphabet"], orient="row")
    images, classes = COUNTS["train"]
    times = len(TURNS) + 1 if rotations else 1
    public_set = replace(SET, counts={**COUNTS, "train": (times * images, times * classes)})
    return check_public_table(frame, root, public_set, wrong)


def _characters(folder: Path, root: Path, split: str) -> tuple[list[Row], list[Problem]]:
    """The images of `<alphabet>/<character>/`."""
    start = folder.relative_to(root).as_posix()
    rows, wrong = [], []
    for alphabet in _entries(folder):
        for character in _entries(alphabet) if alphabet.is_dir() else []:
            if not character.is_dir():
                continue
            label = f"{alphabet.name}/{character.name}"
            images = [file.name for file in _entries(character) if file.suffix.lower() in ENDINGS]
            rows += [(f"{start}/{label}/{name}", label, split, alphabet.name) for name in images]
            if not images:
                wrong.append(Problem(f"{start}/{label}/", "a class folder without images"))
    if not rows:
        raise DataError(f"{folder}: contains no alphabet/character/image.png")
    return rows, wrong


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not is_side_file(entry.name))


def _rotate_images(rows: list[Row], root: Path) -> list[Row]:
    """The rows of the rotated images, which are written if they do not exist."""
    folder = root / "rotated"
    if not folder.exists():
        log.info("writing rotated images to %s", folder)
        with new_folder(folder) as temporary:
            for path, label, *_ in rows:
                image = open_image(root / path).convert("L")
                for degrees, turn in TURNS.items():
                    file = temporary / str(degrees) / label / Path(path).name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    image.transpose(turn).save(file)
    return [
        (f"rotated/{degrees}/{label}/{Path(path).name}", f"{label} {degrees}°", split, alphabet)
        for degrees in TURNS
        for path, label, split, alphabet in rows
    ]
