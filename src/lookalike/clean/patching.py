"""Findings as lines of a patch, and what earlier reviews decided."""

import json
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from lookalike.data.table import Table
from lookalike.prepare.patch.changes import VERSION
from lookalike.prepare.patch.paths import short_paths
from lookalike.prepare.patch.reviewed import DIFFERENT, KEPT, read_reviewed

log = logging.getLogger(__name__)
AUTHOR = "lookalike clean"


def write_patch(changes: Iterable[Mapping[str, Any]], root: str, count: int) -> str:
    """The text of a patch file."""
    head = {"lookalike_patch": VERSION, "root": root, "images": count}
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [head, *changes])


def propose_changes(table: Table, findings: pl.DataFrame, accept: float) -> tuple[list[dict[str, Any]], str]:
    """The changes of all findings of at least this score, and the folder end that their paths start in.

    An image is dropped or relabelled once, and a label that has no images left is not merged.
    """
    paths, _, root = short_paths(table)
    labels = table.frame["label"].cast(pl.String).to_list()
    who = {"author": AUTHOR, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    rows = findings.filter((pl.col("score") >= accept) & (pl.col("change") != "none")).rows(named=True)
    drops, relabels = dict[int, str](), dict[int, tuple[str, str]]()
    for row in rows:
        if row["change"] in ("drop_a", "drop_b"):
            drops.setdefault(row["row_a" if row["change"] == "drop_a" else "row_b"], _note(row))
    for row in rows:
        if row["change"] in ("relabel", "split") and row["row_a"] not in drops:
            relabels.setdefault(row["row_a"], (row["label_b"], _note(row)))
    name = lambda row: {"path": paths[row], "label": labels[row], **_box(table, row)}  # noqa: E731
    lines = [{"do": "drop", **name(row), "note": note, **who} for row, note in sorted(drops.items())]
    lines += [
        {"do": "relabel", **name(row), "to": to, "note": note, **who}
        for row, (to, note) in sorted(relabels.items())
    ]
    left = list(labels)
    for row, (to, _) in relabels.items():
        left[row] = to
    remaining = {left[row] for row in range(len(left)) if row not in drops}
    lines += [{"do": "merge", **merge, **who} for merge in _merges(rows, labels, remaining)]
    return lines, root


def _note(row: Mapping[str, Any]) -> str:
    return f"{row['kind']}, {row['score']:.2f}: {row['evidence']}"


def _box(table: Table, row: int) -> dict[str, list[float]]:
    if "x1" not in table.frame.columns or table.frame["x1"][row] is None:
        return {}
    return {"box": [float(table.frame[name][row]) for name in ("x1", "y1", "x2", "y2")]}


def _merges(rows: list[dict[str, Any]], labels: list[str], remaining: set[str]) -> list[dict[str, Any]]:
    """One merge for each group of labels, into the label with the most images."""
    sizes = pl.Series(labels, dtype=pl.String).value_counts()
    count = dict(zip(sizes[:, 0].to_list(), sizes[:, 1].to_list(), strict=True))
    groups: dict[int, set[str]] = {}
    notes: dict[int, str] = {}
    for row in rows:
        if row["change"] == "merge":
            groups.setdefault(row["group"], set()).update({row["label_a"], row["label_b"]} & remaining)
            notes.setdefault(row["group"], _note(row))
    merges = []
    for group, members in sorted(groups.items()):
        to, *others = sorted(members, key=lambda label: (-count[label], label)) or [""]
        if others:
            merges.append({"from": others, "to": to, "note": notes[group]})
    return merges


def drop_rejected(table: Table, findings: pl.DataFrame) -> pl.DataFrame:
    """The findings without those that a review rejected before: pairs of `different.csv`, images of
    `kept.csv`.
    """
    reviewed = read_reviewed(table.folder)
    if not reviewed:
        return findings
    rows = _rows_of_paths(table)
    different = _pairs_of_rows(rows, reviewed[DIFFERENT]) if DIFFERENT in reviewed else {}
    kept = reviewed[KEPT].select("path", "kind").iter_rows() if KEPT in reviewed else ()
    alone = {(row, kind) for path, kind in kept for row in rows.get(path, [])}
    labels = table.frame["label"].cast(pl.String).to_list()
    label_pairs = {
        tuple(sorted((labels[a], labels[b])))
        for (a, b), kinds in different.items()
        if labels[a] != labels[b] and kinds & {"", "duplicate_identity"}
    }
    label_of_row = {(row, labels[other]) for a, b in different for row, other in ((a, b), (b, a))}

    def is_rejected(row: dict[str, Any]) -> bool:
        a, b = row["row_a"], row["row_b"]
        if b is None or row["change"] == "split":
            return (a, row["kind"]) in alone
        if (min(a, b), max(a, b)) in different:
            return True
        if row["kind"] == "duplicate_identity":
            return tuple(sorted((row["label_a"], row["label_b"]))) in label_pairs
        return row["kind"] == "wrong_label" and (a, row["label_b"]) in label_of_row

    mask = np.array([not is_rejected(row) for row in findings.iter_rows(named=True)], bool)
    if not mask.all():
        log.info("%d findings left out: rejected in an earlier review (%s)", int((~mask).sum()), DIFFERENT)
    return findings.filter(pl.Series(mask, dtype=pl.Boolean))


def _rows_of_paths(table: Table) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(table.frame["path"].to_list()):
        rows.setdefault(path, []).append(row)
    return rows


def _pairs_of_rows(rows: Mapping[str, list[int]], pairs: pl.DataFrame) -> dict[tuple[int, int], set[str]]:
    """The pairs of rows that are different, each with the kinds of findings that were rejected."""
    kinds = pairs["kind"].fill_null("").to_list() if "kind" in pairs.columns else [""] * len(pairs)
    different: dict[tuple[int, int], set[str]] = {}
    for (one, other), kind in zip(pairs.select("path_a", "path_b").iter_rows(), kinds, strict=True):
        for a in rows.get(one, []):
            for b in rows.get(other, []):
                if a != b:
                    different.setdefault((min(a, b), max(a, b)), set()).add(kind)
    return different
