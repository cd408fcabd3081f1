"""What cleaning proposes: one row for each proposal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lookalike.data.checking import BOX
from lookalike.data.table import Table

KINDS = ("near_duplicate", "burst", "duplicate_identity", "wrong_label", "leak", "quality")
"""In the order of the page."""
CHANGES = ("drop_a", "drop_b", "merge", "relabel", "split", "none")
SCHEMA = {
    "kind": pl.String,
    "path_a": pl.String,
    "path_b": pl.String,
    "label_a": pl.String,
    "label_b": pl.String,
    "group": pl.Int64,
    "score": pl.Float64,
    "change": pl.String,
    "evidence": pl.String,
    "split_a": pl.String,
    "split_b": pl.String,
    "row_a": pl.Int64,
    "row_b": pl.Int64,
}


@dataclass(frozen=True)
class Finding:
    """One proposal.

    Attributes:
        kind: one of `KINDS`.
        row_a: the image that it is about; of copies the one to keep.
        row_b: the other image, or the nearest of the proposed label; None where only one image is concerned.
        score: how certain it is, from 0 to 1.
        change: what is proposed: one of `CHANGES`.
        evidence: why, in words.
        group: number of the group among those of its kind.
        label_b: the proposed label, where no image has it.
    """

    kind: str
    row_a: int
    row_b: int | None
    score: float
    change: str
    evidence: str
    group: int = 0
    label_b: str | None = None


def make_frame(table: Table, findings: Iterable[Finding]) -> pl.DataFrame:
    """Findings as rows, by kind, the most certain first; groups are numbered through all kinds."""
    values = {
        name: table.frame[name].cast(pl.String).to_list()
        if name in table.frame.columns
        else [None] * len(table)
        for name in ("path", "label", "split")
    }
    rows = [_row(finding, values) for finding in findings]
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    order = pl.col("kind").replace_strict(
        {kind: number for number, kind in enumerate(KINDS)}, return_dtype=pl.Int64
    )
    keys = pl.struct("kind", "group")
    frame = frame.sort(order, -pl.col("score"), "row_a", "row_b", maintain_order=True)
    frame = frame.with_columns(group=keys.rank("dense").cast(pl.Int64) - 1) if len(frame) else frame
    return _with_boxes(frame, table)


def _row(finding: Finding, values: dict[str, list[Any]]) -> Sequence[Any]:
    a, b = finding.row_a, finding.row_b
    get = lambda name, row: None if row is None else values[name][row]  # noqa: E731
    label_b = finding.label_b if finding.label_b is not None else get("label", b)
    return (
        *(finding.kind, get("path", a), get("path", b), get("label", a), label_b, finding.group),
        *(round(min(max(finding.score, 0.0), 1.0), 6), finding.change, finding.evidence),
        *(get("split", a), get("split", b), a, b),
    )


def _with_boxes(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The boxes of both images, for tables that have boxes."""
    if not set(BOX) <= set(table.frame.columns):
        return frame
    boxes = [table.frame.select(pl.concat_list(pl.col(name).cast(pl.Float64) for name in BOX))[:, 0]]
    texts = boxes[0].to_list()
    for side in "ab":
        rows = frame[f"row_{side}"].to_list()
        column = [None if row is None or texts[row][0] is None else texts[row] for row in rows]
        frame = frame.with_columns(pl.Series(f"box_{side}", column, dtype=pl.List(pl.Float64)))
    return frame
