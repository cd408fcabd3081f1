"""What train shares with the split that is evaluated; quick checks before an evaluation."""

import logging
from collections.abc import Sequence

import numpy as np
import polars as pl

from lookalike.data.table import Table
from lookalike.prepare.contents import same_files
from lookalike.prepare.naming import count_noun

log = logging.getLogger(__name__)
MOST_FILES = 50_000
"""Images up to which the lengths of files are compared."""
MOST_COMPARED = 2000
"""Images with equal hashes whose pixels are compared."""


def warn_of_leaks(table: Table, splits: Sequence[str]) -> None:
    """Warn if the images of these splits are in train, too, or show an encounter that is.

    Files are compared byte for byte; with a column `hash`, images with equal hashes are compared by their
    pixels.

    Args:
        table: all splits.
        splits: those that are evaluated; a warning about train itself would say nothing.
    """
    if "train" in splits or table.items is not None or "split" not in table.frame.columns:
        return
    split = table.frame["split"]
    train = np.flatnonzero((split == "train").fill_null(False).to_numpy())
    inside = np.flatnonzero(split.is_in(list(splits)).to_numpy())
    if not len(train) or not len(inside):
        return
    photos = _shared_photos(table, train, inside)
    parts = [f"{count_noun(len(photos), 'image')} ({photos[0]})"] if photos else []
    for column in ("encounter", "date"):
        values = _shared_values(table, train, inside, column)
        if values:
            parts.append(f"{count_noun(len(values), column)} of an identity ({values[0]})")
    if parts:
        log.warning(
            "leak: %s shares with train %s; scores are too high. `lookalike clean` lists all of "
            "them, and also finds resized and cropped copies",
            *(" and ".join(splits), " and ".join(parts)),
        )


def _shared_photos(table: Table, train: np.ndarray, inside: np.ndarray) -> list[str]:
    """Pairs of the same photo, as text."""
    paths = table.frame["path"].to_list()
    outside = {paths[row]: int(row) for row in train}
    if "x1" in table.frame.columns:
        return []  # a photo may show several identities
    pairs = {int(row): outside[paths[row]] for row in inside if paths[row] in outside}
    rows = np.concatenate([train, inside])
    if len(rows) <= MOST_FILES:
        pairs |= _equal_files(table, rows, set(inside.tolist()))
    if table.frame.schema.get("hash") == pl.String:
        pairs |= _equal_hashes(table, train, inside)
    return [f"{paths[row]} = {paths[other]}" for row, other in sorted(pairs.items())]


def _equal_files(table: Table, rows: np.ndarray, inside: set[int]) -> dict[int, int]:
    try:
        groups = same_files([table.file(int(row)) for row in rows])
    except OSError:
        return {}
    pairs = {}
    for group in groups:
        members = [int(rows[index]) for index in group]
        other = next((row for row in members if row not in inside), None)
        pairs |= {row: other for row in members if row in inside and other is not None}
    return pairs


def _equal_hashes(table: Table, train: np.ndarray, inside: np.ndarray) -> dict[int, int]:
    from lookalike.prepare.duplicates.copies import find_copies
    from lookalike.prepare.duplicates.signatures import read_signatures

    hashes = table.frame["hash"].to_list()
    known = {hashes[row] for row in train} - {None, ""}
    shared = [row for row in inside.tolist() if hashes[row] in known]
    shared_hashes = {hashes[row] for row in shared}
    rows = np.array([*shared, *(row for row in train.tolist() if hashes[row] in shared_hashes)], np.int64)[
        :MOST_COMPARED
    ]
    if not len(rows):
        return {}
    part = table.take(rows)
    copies = find_copies(part, read_signatures(part), 0).duplicates
    is_inside = np.isin(rows, inside)
    pairs = {}
    for one, other in copies.pairs.tolist():
        if is_inside[one] != is_inside[other]:
            row, partner = (one, other) if is_inside[one] else (other, one)
            pairs[int(rows[row])] = int(rows[partner])
    return pairs


def _shared_values(table: Table, train: np.ndarray, inside: np.ndarray, column: str) -> list[str]:
    """Encounters, or days, of an identity that are in train, too."""
    if column not in table.frame.columns:
        return []
    texts = table.frame[column].cast(pl.String).str.slice(0, 10 if column == "date" else None).to_list()
    labels = table.frame["label"].to_list()
    known = {(labels[row], texts[row]) for row in train if texts[row] not in (None, "")}
    shared = dict.fromkeys((labels[row], texts[row]) for row in inside if (labels[row], texts[row]) in known)
    return [f"{value} of {label}" for label, value in shared]
