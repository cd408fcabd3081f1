"""Merging of several tables: labels with prefixes, and a list of all conflicts."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from lookalike.data.checking import BOX
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem, list_problems
from lookalike.prepare.contents import same_files
from lookalike.prepare.naming import count_noun, group_similar, quote_names

log = logging.getLogger(__name__)
FROM, ROW, ORIGIN = "merged dataset", "row of the merged dataset", "dataset"
COLUMNS = {
    "kind": pl.String,
    "what": pl.String,
    "dataset": pl.String,
    "row": pl.Int64,
    "other": pl.String,
    "remark": pl.String,
}


@dataclass(frozen=True)
class Clash:
    """A conflict, or possible conflict, between two datasets.

    Attributes:
        kind: label, label alike, file, content, column or group.
        what: the label, path or column.
        dataset: the dataset it is in.
        row: of that table, from 0; None if it does not concern a single row.
        other: the dataset that it conflicts with.
        remark: description.
    """

    kind: str
    what: str
    dataset: str
    row: int | None
    other: str
    remark: str

    def problem(self) -> Problem:
        """One line for messages."""
        return Problem(self.dataset, f"{self.kind} {self.what!r}: {self.remark}", self.row)


@dataclass(frozen=True)
class Choices:
    """How conflicts are resolved.

    Attributes:
        prefixes: for the labels and groups of each table; none for unchanged labels.
        labels: a label in two tables is rejected, or one identity.
        files: a file in two tables is rejected, or only the row of the first table is kept.
        contents: also treat files with the same bytes as the same file.
        dedup: maximum number of differing bits in the 64-bit hashes of copies of a photo. Of copies with the
            same label in several tables the largest is kept, in case of ties that of the earliest table; None
            keeps all.
        workers: processes that read images for `dedup`; 0 for none, None for one per core.
        progress: whether to show a progress bar.
    """

    prefixes: Sequence[str] = ()
    labels: Literal["refuse", "same"] = "refuse"
    files: Literal["refuse", "first"] = "refuse"
    contents: bool = True
    dedup: int | None = None
    workers: int | None = 0
    progress: bool = False


def merge_tables(tables: Mapping[str, Table], folder: Path, choices: Choices) -> tuple[Table, pl.DataFrame]:
    """The merged table, with a column `dataset` (kept if there is one), and the conflicts.

    Args:
        tables: by name.
        folder: the folder of the new table; its paths are relative to it.
        choices: how conflicts are resolved.

    Raises:
        DataError: labels or files conflict and are rejected, or columns cannot be joined; lists all.
    """
    frames = {name: _rows_of_dataset(name, table, folder) for name, table in tables.items()}
    columns = _column_clashes(frames)
    frames = _prefix_labels(frames, choices.prefixes)
    both = _concatenate(frames)
    labels = _label_clashes(both)
    files = _file_clashes(both, folder, choices.contents)
    copies = [] if choices.dedup is None else _copies(both, folder, choices)
    refused = [clash for clash in labels if clash.kind == "label" and choices.labels == "refuse"]
    smaller = {(clash.dataset, clash.row) for clash in copies}
    files = [clash for clash in files if (clash.dataset, clash.row) not in smaller]
    refused += files if choices.files == "refuse" else []
    if refused:
        raise DataError(_advice(refused), [clash.problem() for clash in refused])
    clashes = [*columns, *_group_clashes(both), *labels, *files, *copies]
    for kind, problems in _problems_by_kind(clashes).items():
        log.warning(
            "%s:%s",
            count_noun(len(problems), f"clash of {kind}", f"clashes of {kind}"),
            list_problems(problems),
        )
    gone = {(clash.dataset, clash.row) for clash in [*files, *copies]}
    stays = [key not in gone for key in zip(both[FROM], both[ROW], strict=True)]
    origin = [pl.col(ORIGIN).cast(pl.String)] if ORIGIN in both.columns else []
    frame = both.filter(pl.Series(stays, dtype=pl.Boolean)).with_columns(
        pl.coalesce(*origin, FROM).alias(ORIGIN)
    )
    left = set(both.filter(pl.Series(stays, dtype=pl.Boolean))[FROM])
    for name in [name for name in frames if name not in left]:
        log.warning(
            "%s: none of its rows is kept: all of its files are in other datasets (files=first, dedup=)", name
        )
    table = pl.DataFrame([vars(clash) for clash in clashes], schema=COLUMNS, orient="row")
    return Table(frame.drop(FROM, ROW), folder), table


def _rows_of_dataset(name: str, table: Table, folder: Path) -> pl.DataFrame:
    """The rows with paths relative to `folder`, and the origin of each."""
    frame = table.relative_to(folder).frame
    return frame.with_columns(pl.lit(name).alias(FROM)).with_row_index(ROW)


def _prefix_labels(frames: dict[str, pl.DataFrame], prefixes: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Labels with their prefix, as text; without prefixes they stay integers if all of them are."""
    if not prefixes:
        if len({frame.schema["label"] for frame in frames.values()}) == 1:
            return frames
        prefixes = [""] * len(frames)
    pairs = zip(frames.items(), prefixes, strict=True)
    return {name: _add_prefix(frame, prefix) for (name, frame), prefix in pairs}


def _add_prefix(frame: pl.DataFrame, prefix: str) -> pl.DataFrame:
    names = ["label", *(["group"] if prefix and "group" in frame.columns else [])]
    return frame.with_columns((pl.lit(prefix) + pl.col(name).cast(pl.String)).alias(name) for name in names)


def _concatenate(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    try:
        return pl.concat(frames.values(), how="diagonal_relaxed").with_columns(pl.col(ROW).cast(pl.Int64))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"the columns cannot be combined: {str(error).splitlines()[0]}") from error


def _column_clashes(frames: Mapping[str, pl.DataFrame]) -> list[Clash]:
    """Columns that some tables lack, or that have different types."""
    clashes = []
    every = dict.fromkeys(column for frame in frames.values() for column in frame.columns)
    for column in every:
        kinds = {name: str(frame.schema[column]) for name, frame in frames.items() if column in frame.columns}
        first = next(iter(kinds))
        lacking = [name for name in frames if name not in kinds]
        clashes += [Clash("column", column, name, None, first, "is missing: left empty") for name in lacking]
        clashes += [
            Clash("column", column, name, None, first, f"is {kind}, and {kinds[first]} in {first}")
            for name, kind in kinds.items()
            if kind != kinds[first]
        ]
    return clashes


def _group_clashes(both: pl.DataFrame) -> list[Clash]:
    """Values of `group` in several tables, which may be two cameras, or one."""
    if "group" not in both.columns:
        return []
    values = both.drop_nulls("group").group_by("group").agg(pl.col(FROM).unique(maintain_order=True))
    shared = values.filter(pl.col(FROM).list.len() > 1).sort("group")
    return [
        Clash(
            "group", str(value), names[1], None, names[0], f"is also in {names[0]}; prefixes= separates them"
        )
        for value, names in shared.iter_rows()
    ]


def _label_clashes(both: pl.DataFrame) -> list[Clash]:
    """Labels that occur in several tables, and near-identical ones."""
    owners = both.group_by("label", maintain_order=True).agg(
        pl.col(FROM).unique(maintain_order=True), row=pl.col(ROW).first()
    )
    clashes = [
        Clash("label", str(label), name, None, names[0], f"is also in {names[0]}")
        for label, names, _ in owners.iter_rows()
        for name in names[1:]
    ]
    if both.schema["label"] != pl.String:
        return clashes
    first = {label: names[0] for label, names, _ in owners.iter_rows()}
    for group in group_similar(first):
        if len(group) > 1 and len({first[label] for label in group}) > 1:
            owner, other = first[group[1]], first[group[0]]
            clashes.append(
                Clash(
                    "label alike", group[1], owner, None, other, f"kept apart from {quote_names(group[:1])}"
                )
            )
    return clashes


def _file_clashes(both: pl.DataFrame, folder: Path, contents: bool) -> list[Clash]:
    """Rows that show the same image as a row of an earlier table."""
    real_folder = os.path.realpath(folder)
    paths = {path: os.path.realpath(os.path.join(real_folder, path)) for path in both["path"].unique()}  # noqa: PTH118
    same = dict.fromkeys(paths.values(), "")
    files = list(same)
    for group in same_files([Path(file) for file in files]) if contents else []:
        same |= {files[index]: files[group[0]] for index in group}
    whole = [same[paths[path]] or paths[path] for path in both["path"]]
    boxes = [name for name in BOX if name in both.columns]
    rows = both.select("path", "label", FROM, ROW, *boxes).iter_rows()
    first_use: dict[tuple[object, ...], tuple[str, str, str, int]] = {}
    clashes = []
    for file, (path, label, name, row, *box) in zip(whole, rows, strict=True):
        first = first_use.setdefault((file, *box), (path, label, name, row))
        if first[2] != name:
            kind = "file" if paths[path] == paths[first[0]] else "content"
            labels = "" if label == first[1] else f", under the label {str(first[1])!r} instead of {label!r}"
            remark = f"is also in {first[2]}, row {first[3]} ({first[0]}){labels}"
            clashes.append(Clash(kind, path, name, row, first[2], remark))
    return clashes


def _copies(both: pl.DataFrame, folder: Path, choices: Choices) -> list[Clash]:
    """Rows that are copies of a larger image with the same label in another table."""
    from lookalike.prepare.duplicates.copies import find_copies
    from lookalike.prepare.duplicates.grouping import star_groups
    from lookalike.prepare.duplicates.signatures import read_signatures

    start = os.path.realpath(folder)
    paths = [os.path.realpath(os.path.join(start, path)) for path in both["path"]]  # noqa: PTH118
    table = Table(both.with_columns(pl.Series("path", paths, dtype=pl.String)))
    signatures = read_signatures(table, workers=choices.workers, progress=choices.progress)
    if signatures.problems:
        unread = count_noun(len(signatures.problems), "image")
        log.warning("dedup: %s cannot be read, and stay:%s", unread, list_problems(signatures.problems))
    classes = both["label"].cast(pl.String).rank("dense").to_numpy()
    pairs = find_copies(table, signatures, choices.dedup or 0, within=classes).duplicates.pairs
    names, rows = both[FROM].to_list(), both[ROW].to_list()
    across = [names[one] != names[other] for one, other in pairs.tolist()]
    pairs = pairs[np.array(across, bool)]
    clashes = []
    for largest, *others in star_groups(pairs, signatures.areas):
        kept = f"row {rows[largest]} ({both['path'][largest]})"
        clashes += [
            Clash("copy", both["path"][row], names[row], rows[row], names[largest], f"is a copy of {kept}")
            for row in others
        ]
    return clashes


def _problems_by_kind(clashes: Sequence[Clash]) -> dict[str, list[Problem]]:
    problems: dict[str, list[Problem]] = {}
    for clash in clashes:
        problems.setdefault(clash.kind, []).append(clash.problem())
    return problems


def _advice(refused: Sequence[Clash]) -> str:
    labels = sum(clash.kind == "label" for clash in refused)
    files = len(refused) - labels
    advice = []
    if labels:
        advice.append(
            f"{count_noun(labels, 'label occurs', 'labels occur')} in several datasets: prefixes=[a/,b/] "
            "keeps "
            "them apart, labels=same treats each as one identity"
        )
    if files:
        advice.append(
            f"{count_noun(files, 'row shows', 'rows show')} a file of an earlier dataset: files=first keeps "
            "the "
            "earlier row"
        )
    return ". ".join(advice) + ":"
