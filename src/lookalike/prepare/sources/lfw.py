"""Labeled Faces in the Wild (Huang et al., 2007): 13,233 faces, and 6,000 pairs to verify in ten folds."""

from pathlib import Path
from typing import Literal

import polars as pl

from lookalike.data.pairs import read_pairs
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.prepare.sources.annotations import check_public_table, read_text
from lookalike.prepare.sources.class_folders import class_folders
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

BASE = "http://vis-www.cs.umass.edu/lfw"
SUMS = {
    "lfw": "a17d05bd522c52d84eca14327a23d494",
    "lfw_funneled": "1b42dfed7d15c9b2dd63d5e5840c86ad",
    "lfw-deepfunneled": "68331da3eb755a505a502b5aacb3c201",
}
PAIRS = Piece(
    "pairs.txt", (Archive("pairs.txt", f"{BASE}/pairs.txt", checksum="md5:9f1ba174e4e1c508ff7cdf10ac338a7d"),)
)


def describe_set(images: str) -> PublicSet:
    """The files for the original or the aligned images."""
    file = f"{images.replace('_', '-')}.tgz"
    archive = Archive(file, f"{BASE}/{file}", checksum=f"md5:{SUMS[images]}")
    return PublicSet(
        name="lfw",
        title="LFW",
        licence="none stated; used for research",
        size="181 MB",
        page="http://vis-www.cs.umass.edu/lfw/",
        pieces=(Piece(images, (archive,)), PAIRS),
        choice=f"Or other images: source.images= one of {', '.join(SUMS)}.",
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
        images: original, or aligned in one of two ways.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    public_set = describe_set(images)
    paths = raw.open(public_set)
    images_root = paths[images] / images if (paths[images] / images).is_dir() else paths[images]
    frame, wrong = class_folders({"test": images_root}, images_root)
    result, wrong = check_public_table(frame, images_root, public_set, wrong)
    pairs, bad = read_official_pairs(paths[PAIRS.holds], set(result.frame["path"]))
    return result, wrong + bad, pairs


def read_official_pairs(file: Path, paths: set[str]) -> tuple[pl.DataFrame, list[Problem]]:
    """The pairs of pairs.txt whose images exist, and the problems of the others.

    Raises:
        DataError: lines are not pairs, or no pair has both images.
    """
    listed = read_pairs(file)
    rows, wrong = [], []
    announced = read_text(file).split("\n", 1)[0].split()
    if len(announced) == 2 and len(listed) != 2 * int(announced[0]) * int(announced[1]):
        reason = (
            f"its first line announces {announced[0]} × 2 × {announced[1]} pairs, but there are {len(listed)}"
        )
        wrong.append(Problem(file.name, reason))
    for row, pair in enumerate(listed):
        both = (f"{pair.first}.jpg", f"{pair.second}.jpg")
        lacking = [path for path in dict.fromkeys(both) if path not in paths]
        if lacking:
            wrong.append(Problem(file.name, f"there is no {' and no '.join(lacking)}", row))
        else:
            rows.append((*both, pair.same, pair.fold))
    if not rows:
        raise DataError(f"{file}: none of its {len(listed)} pairs has both images", wrong)
    schema = {"path_a": pl.String, "path_b": pl.String, "same": pl.Boolean, "fold": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row"), wrong
