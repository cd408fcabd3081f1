"""Labeled Faces in the Wild (Huang et al., 2007): 13,233 faces, and 6,000 pairs to verify in ten folds."""

from pathlib import Path
from typing import Literal

import polars as pl

from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.prepare.annotations import class_folders, finished, text_of
from lookalike.prepare.public import Archive, Piece, PublicSet, Raw

BASE = "http://vis-www.cs.umass.edu/lfw"
SUMS = {
    "lfw": "a17d05bd522c52d84eca14327a23d494",
    "lfw_funneled": "1b42dfed7d15c9b2dd63d5e5840c86ad",
    "lfw-deepfunneled": "68331da3eb755a505a502b5aacb3c201",
}
PAIRS = Piece(
    "pairs.txt", (Archive("pairs.txt", f"{BASE}/pairs.txt", checksum="md5:9f1ba174e4e1c508ff7cdf10ac338a7d"),)
)


def about(images: str) -> PublicSet:
    """What is needed for the images as found, or for aligned ones."""
    file = f"{images.replace('_', '-')}.tgz"
    archive = Archive(file, f"{BASE}/{file}", checksum=f"md5:{SUMS[images]}")
    return PublicSet(
        name="lfw",
        title="LFW",
        licence="none stated; used for research",
        size="180 MB",
        page="http://vis-www.cs.umass.edu/lfw/",
        pieces=(Piece(images, (archive,)), PAIRS),
        counts={"test": (13_233, 5_749)},
    )


def table(
    raw: Raw, images: Literal["lfw", "lfw_funneled", "lfw-deepfunneled"] = "lfw"
) -> tuple[Table, list[Problem], pl.DataFrame]:
    """All faces in split test, and the pairs of pairs.txt.

    The pairs have the columns path_a, path_b, same (true or false) and fold (0 to 9), and go into `pairs.csv`
    beside the table.

    Args:
        raw: where its files are.
        images: as found, or aligned in one of two ways.

    Raises:
        DataError: a file is missing or is not as published.
    """
    what = about(images)
    places = raw.open(what)
    place = places[images] / images if (places[images] / images).is_dir() else places[images]
    frame, wrong = class_folders({"test": place}, place)
    found, wrong = finished(frame, place, what, wrong)
    pairs, bad = read_pairs(places[PAIRS.holds], set(found.frame["path"]))
    return found, wrong + bad, pairs


def read_pairs(file: Path, paths: set[str]) -> tuple[pl.DataFrame, list[Problem]]:
    """The pairs of a file in LFW's form: `folds pairs`, then `name i j` or `name i other j`, with tabs.

    Raises:
        DataError: the first line is not two numbers, or no line is a pair.
    """
    first, *lines = text_of(file).splitlines() or [""]
    size = first.split()
    if len(size) != 2 or not all(word.isdigit() and int(word) for word in size):
        raise DataError(
            f"{file}: the first line must be the number of folds and of pairs, as 10 300; it is {first!r}"
        )
    folds, each = map(int, size)
    rows, wrong = [], []
    lines = [line for line in lines if line.strip()]
    if len(lines) != 2 * folds * each:
        said = f"its first line announces {folds} × 2 × {each} pairs, there are {len(lines)}"
        wrong.append(Problem(file.name, said))
    for row, line in enumerate(lines):
        pair = _pair(line.split())
        lacking = [path for path in pair if path not in paths]
        if not pair:
            wrong.append(Problem(file.name, f"{line!r}: must be 'name i j' or 'name i other j'", row))
        elif lacking:
            wrong.append(Problem(file.name, f"there is no {' and no '.join(lacking)}", row))
        else:
            rows.append((*pair, len(line.split()) == 3, row // (2 * each)))
    if not rows:
        raise DataError(f"{file}: none of its {len(lines)} lines is a pair of the images here", wrong)
    schema = {"path_a": pl.String, "path_b": pl.String, "same": pl.Boolean, "fold": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row"), wrong


def _pair(words: list[str]) -> tuple[str, ...]:
    """The two paths of a line; none if it is no pair."""
    if len(words) == 3 and words[1].isdigit() and words[2].isdigit():
        words = [words[0], words[1], words[0], words[2]]
    if len(words) != 4 or not words[1].isdigit() or not words[3].isdigit():
        return ()
    (one, first, other, second) = words
    return tuple(f"{name}/{name}_{int(number):04}.jpg" for name, number in ((one, first), (other, second)))
