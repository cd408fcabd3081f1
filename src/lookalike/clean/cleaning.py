"""From a table to findings, a patch and a review page."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from lookalike.clean.findings import KINDS, Finding, make_frame
from lookalike.clean.identities import find_duplicate_identities, identity_probabilities
from lookalike.clean.judging import measure_fits
from lookalike.clean.labels import find_wrong_labels, wrong_label_probabilities
from lookalike.clean.mixtures import find_mixed_classes
from lookalike.clean.page import write_page
from lookalike.clean.patching import drop_rejected, propose_changes, write_patch
from lookalike.clean.photos import find_bursts, find_duplicates, find_leaks, find_poor_images
from lookalike.clean.settings import Settings
from lookalike.clean.spaces import judging_spaces
from lookalike.data.table import Table, read_table, write_problems
from lookalike.errors import DataError, Problem, list_problems
from lookalike.files import new_folder, refuse_existing
from lookalike.prepare.duplicates.copies import Copies, find_copies
from lookalike.prepare.duplicates.signatures import Signatures, read_signatures
from lookalike.wording import count_noun

log = logging.getLogger(__name__)
FEWEST_IMAGES = 4
"""Images, and classes with two of them at least two, from which labels are judged."""


@dataclass(frozen=True, eq=False)
class Cleaning:
    """What cleaning found.

    Attributes:
        table: that was looked at.
        findings: one row for each proposal, by kind, the most certain first.
        changes: lines of the patch: the changes of all findings that are certain enough.
        root: the end of the folder that the paths of the patch start in.
        skipped: images that cannot be read.
        notes: what was not looked for, and why.
    """

    table: Table
    findings: pl.DataFrame
    changes: list[dict[str, Any]]
    root: str
    skipped: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.findings)

    def __str__(self) -> str:
        counts = self.count_kinds()
        return "\n".join(f"{kind:20} {count:6}" for kind, count in counts.items())

    def count_kinds(self) -> dict[str, int]:
        """How many findings there are of each kind."""
        kinds = self.findings["kind"].to_list()
        return {kind: kinds.count(kind) for kind in KINDS}

    def save(self, folder: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
        """Write findings.parquet, patch.jsonl, review.html and config.yaml.

        Args:
            folder: must not exist.
            metadata: what made it, for config.yaml.

        Raises:
            LookalikeError: `folder` exists.
        """
        metadata = dict(metadata or {"made_by": "lookalike.clean"})
        with new_folder(folder) as temporary:
            self.findings.drop("row_a", "row_b").write_parquet(temporary / "findings.parquet")
            patch = write_patch(self.changes, self.root, len(self.table))
            (temporary / "patch.jsonl").write_text(patch, encoding="utf-8")
            text = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
            (temporary / "config.yaml").write_text(text, encoding="utf-8")
            if self.skipped:
                write_problems(self.skipped, temporary / "skipped.csv")
            write_page(self.table, self.findings, temporary, Path(folder).name)

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{kind}<td>{count}" for kind, count in self.count_kinds().items())
        return f"<table>{rows}</table>"


def clean_table(
    source: Table | str | Path, model: Any, settings: Settings, out: Path | None = None
) -> Cleaning:
    """Find errors; see `lookalike.clean`."""
    if out is not None:
        refuse_existing(out)
    table = source if isinstance(source, Table) else read_table(source, files=False)
    if not len(table):
        raise DataError(f"{table.folder}: the table has no rows")
    signatures = read_signatures(table, measure=True, workers=settings.workers, progress=settings.progress)
    _report_unreadable(table, signatures)
    copies = find_copies(table, signatures, settings.threshold, mirrored=settings.mirrored)
    findings: list[Finding] = [
        *find_duplicates(table, signatures, copies),
        *find_bursts(table, signatures, copies),
    ]
    findings += find_leaks(table, findings)
    findings += find_poor_images(signatures)
    notes: list[str] = []
    if settings.identities:
        findings += _judge_labels(table, signatures, copies, findings, model, settings, notes)
    for note in notes:
        log.warning("%s", note)
    frame = drop_rejected(table, make_frame(table, findings))
    changes, root = propose_changes(table, frame, settings.accept)
    return Cleaning(table, frame, changes, root, signatures.problems, notes)


def _report_unreadable(table: Table, signatures: Signatures) -> None:
    if not signatures.readable.any():
        raise DataError(f"{table.folder}: none of the {len(table)} images can be read", signatures.problems)
    if signatures.problems:
        unread = count_noun(len(signatures.problems), "image")
        log.warning("%s cannot be read (skipped.csv):%s", unread, list_problems(signatures.problems))


def _judge_labels(
    table: Table,
    signatures: Signatures,
    copies: Copies,
    findings: Sequence[Finding],
    model: Any,
    settings: Settings,
    notes: list[str],
) -> list[Finding]:
    """Findings about labels of the readable images that are not blank."""
    rows = np.flatnonzero(signatures.readable & ~signatures.is_blank)
    labels = np.array([str(label) for label in table.labels.tolist()], object)
    names, codes = np.unique(labels[rows], return_inverse=True)
    sizes = np.bincount(codes) if len(codes) else np.zeros(0, int)
    if len(names) < 2 or (sizes > 1).sum() < 1 or len(rows) < FEWEST_IMAGES:
        notes.append(
            "duplicate identities and wrong labels were not looked for: that needs at least two classes, one "
            f"of them with two images, and {FEWEST_IMAGES} images"
        )
        return []
    position = np.full(len(table), -1)
    position[rows] = np.arange(len(rows))
    twins = position[copies.duplicates.pairs]
    twins = twins[(twins >= 0).all(1)]
    spaces = judging_spaces(table.take(rows), codes, model, settings)
    fits = measure_fits(spaces, codes, twins)
    probabilities = wrong_label_probabilities(fits)
    dropped = {finding.row_b for finding in findings if finding.change == "drop_b"}
    is_copy = np.isin(rows, [row for row in dropped if row is not None])
    pairs, chance = identity_probabilities(fits, spaces, codes, twins, settings.seed)
    duplicates = list(find_duplicate_identities(fits, pairs, chance, codes, names))
    same = {
        frozenset((names[codes[one.row_a]], names[codes[one.row_b]]))
        for one in duplicates
        if one.score >= 0.5
    }
    wrong = [
        finding
        for finding in find_wrong_labels(fits, probabilities, names, is_copy)
        if finding.label_b is None or frozenset((names[codes[finding.row_a]], finding.label_b)) not in same
    ]
    elsewhere = [finding.row_a for finding in wrong if finding.score >= 0.5]
    skipped = is_copy | np.isin(np.arange(len(rows)), elsewhere)
    mixed = find_mixed_classes(spaces, codes, names, skipped, settings.seed)
    return [_with_rows(finding, rows) for finding in [*duplicates, *wrong, *mixed]]


def _with_rows(finding: Finding, rows: np.ndarray) -> Finding:
    """The finding with rows of the whole table."""
    row_b = None if finding.row_b is None else int(rows[finding.row_b])
    return replace(finding, row_a=int(rows[finding.row_a]), row_b=row_b)


def summarise(cleaning: Cleaning) -> str:
    """Counts of findings and changes, in words."""
    parts = [f"{kind} {count:,}" for kind, count in cleaning.count_kinds().items() if count]
    changes = count_noun(len(cleaning.changes), "change")
    return f"findings: {', '.join(parts) or 'none'}; {changes} in patch.jsonl"
