"""The Met dataset (Ypsilantis et al., 2021): exhibits of a museum, found from photos of visitors."""

from pathlib import Path
from typing import Any

import polars as pl

from lookalike.errors import DataError, Problem
from lookalike.prepare.sources.annotations import FROM, ROW, ParsedTable, check_public_table, read_json
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

BASE = "http://ptak.felk.cvut.cz/met/dataset"
TRUTH = Archive("ground_truth.tar.gz", f"{BASE}/ground_truth.tar.gz")
LISTS = {"MET_database.json": "train", "valset.json": "val", "testset.json": "test"}
OTHERS = ("test_other", "test_noart")
SCHEMA = {
    FROM: pl.String,
    ROW: pl.Int64,
    "path": pl.String,
    "label": pl.String,
    "split": pl.String,
    "role": pl.String,
}


def describe_set(distractors: bool) -> PublicSet:
    """The files, with or without the photos that show none of the exhibits."""
    folders = ("MET", "test_met", *(OTHERS if distractors else ()))
    more = 1 if distractors else 0
    return PublicSet(
        name="met",
        title="The Met",
        licence="exhibits CC0 (The Met Open Access), visitor photos for research: see its page",
        size="about 32 GB",
        page="http://cmp.felk.cvut.cz/met/",
        pieces=(
            *(Piece(name, (TRUTH,)) for name in LISTS),
            *(Piece(name, (Archive(f"{name}.tar.gz", f"{BASE}/{name}.tar.gz"),)) for name in folders),
        ),
        counts={
            "train": (397_121, 224_408),
            "val": (129 + more * 2_036, None),
            "test": (1_003 + more * 18_316, None),
        },
    )


def table(raw: Raw, distractors: bool = True) -> ParsedTable:
    """The three lists: the gallery (split train), and the queries (val and test).

    Labels are exhibit numbers. Photos that show none of the exhibits, which the authors call distractors, are
    queries as well, each with its path as its label: as unknown queries they count only in GAP.

    Args:
        raw: where its files are.
        distractors: keep the photos that show none of the exhibits.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    public_set = describe_set(distractors)
    paths, root = raw.open(public_set), raw.root(public_set)
    rows, wrong = [], []
    for name, split in LISTS.items():
        entries, bad = _entries(paths[name], split, distractors)
        rows += entries
        wrong += bad
    starts = {name: path.relative_to(root).as_posix() for name, path in paths.items() if path.is_dir()}
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    top = pl.col("path").str.extract("^([^/]+)/")
    is_known = top.is_in(list(starts))
    for row, file, path in frame.filter(~is_known.fill_null(False)).select(ROW, FROM, "path").iter_rows():
        wrong.append(Problem(file, f"path {path!r}: must begin with {', '.join(starts)}", row))
    frame = frame.filter(is_known.fill_null(False)).with_columns(
        path=pl.concat_str(top.replace(starts), pl.col("path").str.replace("^[^/]+", ""))
    )
    return check_public_table(frame, root, public_set, wrong)


def _entries(file: Path, split: str, distractors: bool) -> tuple[list[tuple[Any, ...]], list[Problem]]:
    content = read_json(file)
    if not isinstance(content, list):
        raise DataError(f"{file}: must hold a list of images")
    key, kinds = ("id", (int, str)) if split == "train" else ("MET_id", (int, str, type(None)))
    rows, wrong = [], []
    for row, entry in enumerate(content):
        path = entry.get("path") if isinstance(entry, dict) else None
        label = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(path, str) or type(label) not in kinds:
            values_text = f"path={path!r:.60} {key}={label!r:.40}: must be text, and an integer or text"
            wrong.append(Problem(file.name, values_text, row))
        elif label is not None:
            rows.append((file.name, row, path, str(label), split, "gallery" if split == "train" else "query"))
        elif distractors:
            rows.append((file.name, row, path, path, split, "query"))
    return rows, wrong
