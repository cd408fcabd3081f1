"""A dataset with patches applied or undone: the original table, a log of all changes, and the result.

Nothing is changed in place. The new folder contains the table before any patch (original.parquet) and every
change with its author, its time, and when it was applied or undone (changes.jsonl); table.parquet has all
changes that are not undone. A change can therefore be undone later, whatever was applied after it.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from lookalike.data.checking import check_frame, is_missing_text
from lookalike.data.table import Table, write_table
from lookalike.errors import DataError
from lookalike.files import parse_json
from lookalike.prepare.dataset import move_pairs
from lookalike.prepare.naming import count_noun
from lookalike.prepare.patch.changes import Change, problem_of_change, read_patch
from lookalike.prepare.patch.replay import Replay
from lookalike.prepare.patch.reviewed import DIFFERENT, KEPT, PATHS, join_reviewed, read_reviewed
from lookalike.prepare.splits.assigned import summarise_counts, warn_of_shared

log = logging.getLogger(__name__)
LOG = "changes.jsonl"


def carry_over_pairs(folders: Iterable[Path], table: Table, out: Path) -> dict[str, pl.DataFrame]:
    """`different.csv` and `kept.csv` for a dataset made from others: rows whose images it still has.

    Patches of the source datasets can only be undone there; this is logged.

    Args:
        folders: of the datasets that it is made from.
        table: its rows.
        out: its folder.

    Returns:
        the rows by the name of their file; empty where no dataset has any.
    """
    folders = list(folders)
    for folder in folders:
        if (folder / LOG).is_file():
            log.warning(
                "%s: its patches stay applied, and can be undone only there (original.parquet and %s are not "
                "copied); to undo one, undo it there and make this dataset again",
                folder,
                LOG,
            )
    return join_reviewed([(folder, read_reviewed(folder)) for folder in folders], table, out)


ORIGINAL = "original.parquet"


def patch_dataset(
    table: Table, files: Sequence[Path], out: Path, metadata: dict[str, Any], undo: bool = False
) -> Path:
    """Write a dataset folder with these patches applied or undone.

    Changes that were applied before are not applied again.

    Args:
        table: the dataset; the files of earlier patches in its folder are used and copied.
        files: patches, in the order in which they are to be applied.
        out: must not exist.
        metadata: what made it; plain values.
        undo: undo the changes instead.

    Raises:
        DataError: a patch is invalid, belongs to another table, contradicts another one, or was not applied
            and cannot be undone; states the row. Nothing is written.
    """
    events = _events(table.folder)
    requested = {change.key: change for file in files for change in read_patch(Path(file))}
    before, original = _active_changes(events), _original_table(table)
    _refuse_edited(table, original, before)
    fresh = _undo_changes(requested, before, table) if undo else _new_changes(requested, before)
    if not undo:
        _refuse_no_label(fresh, original)
    events += [_event("undone" if undo else "applied", change) for change in fresh]
    replay = Replay(original).run(_active_changes(events).values())
    _log_result(replay, fresh, undo, len(requested))
    patched = Table(replay.frame(), replay.table.folder)
    _check(patched)
    earlier = _earlier_reviewed(table, original, before)
    _write(patched, replay, events, table, out, metadata, earlier)
    return out


def _new_changes(requested: dict[str, Change], before: dict[str, Change]) -> list[Change]:
    return [change for key, change in requested.items() if key not in before]


def _refuse_no_label(changes: Sequence[Change], table: Table) -> None:
    """Reject placeholders for a missing label, unless the table has them as class names."""
    to = pl.Series([change.values.get("to", "") for change in changes], dtype=pl.String)
    classes = set(table.frame["label"].cast(pl.String))
    problems = [
        change.problem(f"{label!r} usually means a missing label: choose another one, or drop the image")
        for change, label, nothing in zip(changes, to, is_missing_text(to), strict=True)
        if nothing and label not in classes
    ]
    if problems:
        raise DataError(
            f"{table.folder}: the patch sets labels that usually mean a missing label; nothing was written:",
            problems,
        )


def _undo_changes(requested: dict[str, Change], before: dict[str, Change], table: Table) -> list[Change]:
    gone = [change for key, change in requested.items() if key in before]
    if not gone:
        files = ", ".join(sorted({change.file for change in requested.values()}))
        raise DataError(
            f"{table.folder}: no change of {files} is currently applied according to its {LOG}, so there is "
            f"nothing to undo"
            f"{_source_of_patched(table.folder)}"
        )
    return gone


def _source_of_patched(folder: Path) -> str:
    """A hint to the source datasets, for a dataset that is filtered, split or merged from others."""
    try:
        metadata = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        names = metadata["dataset"] if "patch" not in metadata else None
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return ""
    if not names:
        return ""
    listed = names if isinstance(names, str) else ", ".join(map(str, names))
    return f" here; it was made from {listed}: undo it there, then make this dataset again"


def _original_table(table: Table) -> Table:
    """The table before all patches."""
    file = table.folder / ORIGINAL
    if not (table.folder / LOG).is_file():
        return table
    try:
        return Table(pl.read_parquet(file), table.folder)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error


def _refuse_edited(table: Table, original: Table, before: dict[str, Change]) -> None:
    """Reject a table that was modified in another way since: the modification would be lost."""
    if before and not Replay(original).run(before.values()).frame().equals(table.frame):
        raise DataError(
            f"{table.folder}: its table does not match {ORIGINAL} and {LOG}, so it was modified in another "
            "way; move these two files elsewhere to start from the current table"
        )


def _events(folder: Path) -> list[dict[str, Any]]:
    """The log of a dataset folder, oldest first; empty if nothing was changed yet."""
    file = folder / LOG
    if not file.is_file():
        return []
    if not (folder / ORIGINAL).is_file():
        raise DataError(f"{file}: {ORIGINAL}, the table before these changes, is missing beside it")
    try:
        events = [parse_json(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    for number, event in enumerate(events, 1):
        if not isinstance(event, dict) or set(event) != EVENT or problem_of_change(event["change"]):
            raise DataError(f"{file}, row {number}: is not a change that was applied or undone")
    return events


EVENT = {"what", "on", "file", "line", "root", "change"}


def _event(action: str, change: Change) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "what": action,
        "on": now,
        "file": change.file,
        "line": change.line,
        "root": change.root,
        "change": change.values,
    }


def _active_changes(events: Sequence[dict[str, Any]]) -> dict[str, Change]:
    """The changes that were applied and not undone since, in the order in which they were applied."""
    active: dict[str, Change] = {}
    for event in events:
        change = Change(event["change"], event["root"], event["file"], event["line"])
        if event["what"] == "applied":
            active[change.key] = change
        else:
            active.pop(change.key, None)
    return active


def _log_result(replay: Replay, fresh: Sequence[Change], undo: bool, num_requested: int) -> None:
    done = "undone" if undo else "made"
    rest = num_requested - len(fresh)
    also = "" if not rest else f"; {rest:,} {'not applied' if undo else 'applied before'}"
    log.info("%s %s%s", count_noun(len(fresh), "change"), done, also)
    if replay.different_pairs:
        log.info(
            "%s marked as different: different.csv",
            count_noun(len(replay.different_pairs), "pair is", "pairs are"),
        )
    same = replay.still_same_pairs()
    if same:
        still = count_noun(same, "of these pairs still has", "of these pairs still have")
        log.warning("%s one label: relabel one image of each", still)


def _check(table: Table) -> None:
    if table.frame["label"].n_unique() < 2:
        raise DataError(f"{table.folder}: the changes leave fewer than two classes; nothing was written")
    problems = check_frame(table.frame, table.folder, "the changed table", files=False)
    if problems:
        raise DataError(
            f"{table.folder}: the changes result in an invalid table; nothing was written:", problems
        )


def _write(
    patched: Table,
    replay: Replay,
    events: Sequence[dict[str, Any]],
    table: Table,
    out: Path,
    metadata: dict[str, Any],
    earlier: Mapping[str, pl.DataFrame],
) -> None:
    lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
    extra_files: dict[str, pl.DataFrame | str] = {LOG: lines, ORIGINAL: replay.table.relative_to(out).frame}
    decisions = {DIFFERENT: replay.different_frame(), KEPT: replay.kept_frame()}
    decisions = {name: rows for name, rows in decisions.items() if len(rows)}
    extra_files |= join_reviewed([(replay.table.folder, decisions), (table.folder, earlier)], patched, out)
    if (table.folder / "pairs.csv").is_file():
        pairs = pl.read_csv(table.folder / "pairs.csv", infer_schema=False)
        extra_files["pairs.csv"] = move_pairs(pairs, patched, out) if "path_a" in pairs.columns else pairs
    if (table.folder / "skipped.csv").is_file():
        extra_files["skipped.csv"] = (table.folder / "skipped.csv").read_text(encoding="utf-8")
    write_table(patched, out, metadata, extra_files=extra_files)
    warn_of_shared(patched.frame)
    log.info("%s", summarise_counts(patched))


def _earlier_reviewed(table: Table, original: Table, before: dict[str, Change]) -> dict[str, pl.DataFrame]:
    """Decisions beside the table that come from before its log: from the dataset that it was made from."""
    replay = Replay(original).run(before.values())
    decisions = {DIFFERENT: replay.different_frame(), KEPT: replay.kept_frame()}
    return {
        name: rows.join(decisions[name], on=[*PATHS[name], "at"], how="anti", maintain_order="left")
        for name, rows in read_reviewed(table.folder).items()
    }
