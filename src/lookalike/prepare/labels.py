"""Labels of a user's table: integers restored, missing labels, and near-identical spellings."""

import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from lookalike.data.checking import is_missing_text
from lookalike.data.reading import SMALL
from lookalike.errors import DataError, Problem, list_problems
from lookalike.prepare.naming import count_noun, group_similar, normalise_name, quote_names

Location = tuple[str | None, int | None]
log = logging.getLogger(__name__)


def restore_whole_numbers(frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Restore integers that became floats, as pandas does in a column with missing values.

    Raises:
        DataError: labels are neither text nor whole numbers.
    """
    kind = frame.schema["label"]
    if kind.is_float():
        whole = frame["label"].fill_nan(None)
        if (whole % 1 != 0).any():
            raise DataError(f"{file}: labels are decimal numbers ({kind}); use text or integers")
        exact = 1 << (24 if kind == pl.Float32 else 53)
        if (whole.abs() >= exact).any():
            raise DataError(
                f"{file}: labels are decimal numbers ({kind}) of {exact:,} or more, so different labels may "
                "have been rounded to the same number; use text or integers"
            )
        return frame.with_columns(label=whole.cast(pl.Int64))
    if kind == pl.String or kind in (pl.Int64, pl.UInt64):
        return frame
    if kind in SMALL:
        return frame.with_columns(label=pl.col("label").cast(pl.Int64))
    raise DataError(f"{file}: labels must be text or integers of up to 64 bits, not {kind}")


def drop_unlabelled(labels: pl.Series) -> dict[int, str]:
    """The rows whose label is a placeholder for a missing value, with the reason."""
    hint = "usually means a missing label; add source.nothing=keep if it is a class name"
    return {int(row): f"label {labels[row]!r} {hint}" for row in is_missing_text(labels).arg_true()}


def resolve_similar_labels(frame: pl.DataFrame, file: Path, names: str) -> pl.DataFrame:
    """Keep, merge or reject near-identical labels, according to `names`.

    Raises:
        DataError: there are some and `names` is `refuse`; lists every spelling.
    """
    if frame.schema["label"] != pl.String or names == "keep":
        return frame
    first = frame["label"].drop_nulls().unique(maintain_order=True)
    groups = [group for group in group_similar(first) if len(group) > 1]
    if groups and names == "refuse":
        raise DataError(
            f"{file}: {count_noun(len(groups), 'label is', 'labels are')} spelled in several ways. Correct "
            "them, or add source.names=merge if they are one class, or source.names=keep if they are "
            "different classes:",
            similar_label_problems(frame["label"], file.name),
        )
    canonical = {label: normalise_name(group[0]) for group in groups for label in group}
    return frame.with_columns(label=pl.col("label").replace(canonical)) if canonical else frame


def warn_of_similar_labels(labels: pl.Series, name: str, locations: Sequence[Location] | None = None) -> None:
    """Warn about labels that may be different spellings of one class; they are kept.

    Args:
        labels: of each row.
        name: of the data.
        locations: file and row of each label, if there are several files.
    """
    same = similar_label_problems(labels, name)
    if locations is not None:
        located = [(*locations[problem.row or 0], problem.reason) for problem in same]
        same = [Problem(file or name, reason, row) for file, row, reason in located]
    if same:
        log.warning(
            "%s: labels spelled in several ways are kept as different classes:%s", name, list_problems(same)
        )


def similar_label_problems(labels: pl.Series, name: str) -> list[Problem]:
    """Every spelling of labels that differ only in case, surrounding spaces and Unicode form."""
    if labels.dtype != pl.String:
        return []
    rows = pl.DataFrame({"label": labels}).with_row_index("row").drop_nulls()
    first = {label: (row, count) for label, row, count in _first_rows(rows).iter_rows()}
    groups = [group for group in group_similar(first) if len(group) > 1]
    return [
        Problem(
            name,
            f"label {label!r} ({count_noun(first[label][1], 'row')}) is "
            f"{_similar_label_reason(label, group)}",
            first[label][0],
        )
        for group in groups
        for label in group
    ]


def _similar_label_reason(label: str, group: list[str]) -> str:
    """The labels that it resembles; spellings that look identical are described."""
    others = [other for other in group if other != label]
    form = unicodedata.normalize("NFC", label)
    twins = [other for other in others if unicodedata.normalize("NFC", other) == form]
    rest = [other for other in others if other not in twins]
    reasons = [f"nearly {quote_names(rest, 3)}"] if rest else []
    if twins:
        reasons.append(f"the same letters in another Unicode form as {quote_names(twins, 3)}")
    return ", and ".join(reasons)


def _first_rows(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("label", maintain_order=True).agg(pl.col("row").min(), count=pl.len())
