"""Applies changes to a table in memory, one after the other."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import polars as pl

from lookalike.data.checking import BOX
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.prepare.patch.changes import Change


class DifferentPair(NamedTuple):
    """Two rows that somebody marked as different, and whether they had different labels then."""

    first: int
    second: int
    two_labels: bool
    change: Change

    @property
    def of_photos(self) -> bool:
        """Whether two photos are different, which may still show one identity."""
        return self.change.values.get("kind", "") in OF_PHOTOS


class Replay:
    """A table to which changes are applied in memory; `problems` holds the first problem of each change.

    Args:
        table: the rows before all changes.
    """

    def __init__(self, table: Table):
        self.table = table
        self.labels: list[str] = table.frame["label"].cast(pl.String).to_list()
        self.is_kept = [True] * len(table)
        self.different_pairs: list[DifferentPair] = []
        self.kept_rows: list[tuple[int, Change]] = []
        self.problems: list[Problem] = []
        self._numbers = table.frame.schema["label"].is_integer()
        self._by: dict[int, Change] = {}
        self._merged: dict[str, str] = {}
        self._rows = defaultdict(set)
        for row, label in enumerate(self.labels):
            self._rows[label].add(row)
        self._row_finder = _RowFinder(table)
        self._ways = {
            "relabel": self._relabel,
            "drop": self._drop,
            "merge": self._merge,
            "different": self._different,
            "keep": self._keep,
        }

    def run(self, changes: Iterable[Change]) -> "Replay":
        """Apply the changes, in order.

        Raises:
            DataError: some cannot be applied; lists them.
        """
        for change in changes:
            reason = self._ways[change.values["do"]](change)
            if reason:
                self.problems.append(change.problem(reason))
        self.problems += [
            pair.change.problem(reason)
            for pair in self.different_pairs
            if (reason := self._have_same_label(pair))
        ]
        if self.problems:
            raise DataError(
                f"{self.table.folder}: the changes do not match this table; nothing was written. Rows of the "
                "patch, counted from 1:",
                self.problems,
            )
        return self

    def frame(self) -> pl.DataFrame:
        """The remaining rows, with their labels."""
        labels = pl.Series("label", self.labels, dtype=pl.String).cast(self.table.frame.schema["label"])
        return self.table.frame.with_columns(labels).filter(pl.Series(self.is_kept, dtype=pl.Boolean))

    def different_frame(self) -> pl.DataFrame:
        """The pairs marked as different, in the format of `protocol=pairs`."""
        paths = self.table.frame["path"]
        rows = [
            (
                paths[pair.first],
                paths[pair.second],
                0,
                "",
                *_who(pair.change),
                pair.change.values.get("kind", ""),
            )
            for pair in self.different_pairs
            if self.is_kept[pair.first] and self.is_kept[pair.second]
        ]
        columns = {"path_a": pl.String, "path_b": pl.String, "same": pl.Int64, "fold": pl.String}
        return pl.DataFrame(
            rows, schema={**columns, **dict.fromkeys([*WHO, "kind"], pl.String)}, orient="row"
        ).unique(maintain_order=True)

    def kept_frame(self) -> pl.DataFrame:
        """The images that a review kept as they are, and the kind of finding that it rejected."""
        paths = self.table.frame["path"]
        rows = [
            (paths[row], change.values["kind"], *_who(change))
            for row, change in self.kept_rows
            if self.is_kept[row]
        ]
        return pl.DataFrame(rows, schema=dict.fromkeys(["path", "kind", *WHO], pl.String), orient="row")

    def still_same_pairs(self) -> int:
        """How many pairs that are different identities share a label."""
        return sum(
            self.labels[pair.first] == self.labels[pair.second]
            for pair in self.different_pairs
            if self.is_kept[pair.first] and self.is_kept[pair.second] and not pair.of_photos
        )

    def _relabel(self, change: Change) -> str | None:
        row, reason = self._find_row(change, "path", "label", agreed=change.values["to"])
        return reason or self._call(row, change.values["to"], change)

    def _drop(self, change: Change) -> str | None:
        row, reason = self._row_finder.find(change, "path")
        if reason is None and self.is_kept[row]:
            row, reason = self._find_row(change, "path", "label")
            if reason is None:
                self.is_kept[row] = False
                self._by[row] = change
        return reason

    def _merge(self, change: Change) -> str | None:
        to = change.values["to"]
        for label in change.values["from"]:
            rows = [row for row in self._rows[label] if self.is_kept[row]]
            if label == to:
                continue
            if not rows and self._merged.get(label) != to:
                return f"no image has the label {label!r}"
            for row in sorted(rows):
                reason = self._call(row, to, change)
                if reason:
                    return reason
            self._merged[label] = to
        return None

    def _different(self, change: Change) -> str | None:
        first, reason = self._find_row(change, "path", "label")
        second, other = self._find_row(change, "other", "other_label")
        if reason or other:
            return reason or other
        if first == second:
            return "an image cannot be different from itself"
        labels = self.labels[first], self.labels[second]
        self.different_pairs.append(DifferentPair(first, second, labels[0] != labels[1], change))
        return None

    def _keep(self, change: Change) -> str | None:
        row, reason = self._find_row(change, "path", "label")
        if reason is None:
            self.kept_rows.append((row, change))
        return reason

    def _find_row(
        self, change: Change, path: str, label: str, agreed: str | None = None
    ) -> tuple[int, str | None]:
        """The row of an image, if its label is that of the change, or already the new one."""
        row, reason = self._row_finder.find(change, path)
        if reason:
            return row, reason
        label_then, label_now = change.values[label], self.labels[row]
        before = self._by.get(row)
        if not self.is_kept[row]:
            return row, f"{change.values[path]} was dropped ({before.source if before else ''})"
        if label_now not in (label_then, agreed):
            why = f"changed by {before.source}" if before else "is this the patch of another table?"
            return row, f"{change.values[path]} is labelled {label_now!r}, not {label_then!r}: {why}"
        return row, None

    def _call(self, row: int, label: str, change: Change) -> str | None:
        if self._numbers and not _is_whole_number(label, self.table.frame.schema["label"]):
            return f"{label!r}: the labels of this table are whole numbers of 64 bits"
        if self.labels[row] != label:
            self._rows[self.labels[row]].discard(row)
            self._rows[label].add(row)
            self.labels[row] = label
            self._by[row] = change
        return None

    def _have_same_label(self, pair: DifferentPair) -> str | None:
        """Reject a merge of two images that somebody marked as different."""
        same = self.labels[pair.first] == self.labels[pair.second]
        if pair.of_photos or not (
            pair.two_labels and same and self.is_kept[pair.first] and self.is_kept[pair.second]
        ):
            return None
        by = self._by.get(pair.first) or self._by.get(pair.second)
        return (
            f"{pair.change.values['path']} and {pair.change.values['other']} are marked as different here, "
            f"but both become {self.labels[pair.first]!r} ({by.source if by else ''})"
        )


WHO = ("author", "note", "at")
OF_PHOTOS = ("near_duplicate", "burst", "leak", "quality")
"""Kinds of findings whose rejection says nothing about identities."""


def _who(change: Change) -> list[str]:
    return [change.values[key] for key in WHO]


class _RowFinder:
    """Finds the row of a change: by the end of its file path, and by its box if rows have boxes."""

    def __init__(self, table: Table):
        self.frame = table.frame
        self.boxed = "x1" in table.frame.columns
        self.full = [path.lstrip("/") for path in table.relative_to(os.sep).frame["path"].to_list()]
        self.named: dict[str, list[int]] = defaultdict(list)
        for row, path in enumerate(self.full):
            self.named[path.rpartition("/")[2]].append(row)

    def find(self, change: Change, key: str) -> tuple[int, str | None]:
        """The row, or the reason why it cannot be determined."""
        path = str(PurePosixPath(change.values[key].lstrip("/")))
        rows = [
            row for row in self.named[path.rpartition("/")[2]] if f"/{self.full[row]}".endswith(f"/{path}")
        ]
        rows = _longest_shared_suffix(f"{change.root}/{path}", self.full, rows)
        if self.boxed and rows:
            rows = self._row_with_box(rows, change.values.get("box" if key == "path" else f"{key}_box"))
        if not rows:
            return -1, f"{path}: no such image in this table"
        if len(rows) > 1:
            return -1, f"{path}: {len(rows)} images of this table match"
        return rows[0], None

    def _row_with_box(self, rows: list[int], box: Any) -> list[int]:
        boxes = self.frame[rows].select(BOX).rows()
        expected_box = tuple(map(float, box)) if box else (None,) * 4
        return [
            row
            for row, values in zip(rows, boxes, strict=True)
            if tuple(None if value is None else float(value) for value in values) == expected_box
        ]


def _longest_shared_suffix(path: str, full: list[str], rows: list[int]) -> list[int]:
    """The rows whose path shares the longest suffix with `path`."""
    parts = PurePosixPath(path).parts[::-1]

    def shared_parts(row: int) -> int:
        theirs = PurePosixPath(full[row]).parts[::-1]
        return next(
            (index for index, (part, other) in enumerate(zip(parts, theirs, strict=False)) if part != other),
            min(len(parts), len(theirs)),
        )

    scores = [shared_parts(row) for row in rows] if len(rows) > 1 else [0] * len(rows)
    return [row for row, score in zip(rows, scores, strict=True) if score == max(scores)]


def _is_whole_number(text: str, kind: pl.DataType) -> bool:
    try:
        number = int(text)
    except ValueError:
        return False
    low, high = (0, 2**64 - 1) if kind == pl.UInt64 else (-(2**63), 2**63 - 1)
    return low <= number <= high and str(number) == text
