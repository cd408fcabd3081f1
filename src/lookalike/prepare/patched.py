"""A dataset with patches applied or undone: the first table, a log of all changes, and what they make.

Nothing is changed in place. The new folder holds the table before any patch (original.parquet) and every
change with who made it, when, and when it was applied or undone (changes.jsonl); table.parquet has all
changes that are not undone. So a change can be undone later, whatever was applied after it.
"""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from lookalike.data.checking import check_table, says_nothing
from lookalike.data.table import Table, write_table
from lookalike.errors import DataError
from lookalike.prepare.dataset import moved_pairs
from lookalike.prepare.different import DIFFERENT, LOG
from lookalike.prepare.naming import counted
from lookalike.prepare.patch import Change, read_patch, wrong
from lookalike.prepare.replay import Replay
from lookalike.prepare.splits.assigned import summary, warn_of_shared

log = logging.getLogger(__name__)
ORIGINAL = "original.parquet"


def patch_dataset(
    table: Table, files: Sequence[Path], out: Path, about: dict[str, Any], undo: bool = False
) -> Path:
    """Write a dataset folder with the changes of these patches made, or undone.

    Changes that were made before are not made again.

    Args:
        table: the dataset; what earlier patches left in its folder is used and carried on.
        files: patches, in the order in which they are to be applied.
        out: must not exist.
        about: what made it; plain values.
        undo: take the changes back instead.

    Raises:
        DataError: a patch is wrong, is of another table, contradicts another one, or was not applied and
            cannot be undone; says in which row. Nothing is written.
    """
    events = _events(table.folder)
    asked = {change.key: change for file in files for change in read_patch(Path(file))}
    before, original = _active(events), _original(table)
    _refuse_edited(table, original, before)
    fresh = _undone(asked, before, table) if undo else _new(asked, before)
    if not undo:
        _refuse_no_label(fresh, original)
    events += [_event("undone" if undo else "applied", change) for change in fresh]
    replay = Replay(original).run(_active(events).values())
    _tell(replay, fresh, undo, len(asked))
    patched = Table(replay.frame(), replay.table.folder)
    _check(patched)
    earlier = _earlier_pairs(table, original, before)
    _write(patched, replay, events, table, out, about, earlier)
    return out


def _new(asked: dict[str, Change], before: dict[str, Change]) -> list[Change]:
    return [change for key, change in asked.items() if key not in before]


def _refuse_no_label(changes: Sequence[Change], table: Table) -> None:
    """Refuse words that mean no label, unless the table has them as the name of a class."""
    to = pl.Series([change.values.get("to", "") for change in changes], dtype=pl.String)
    classes = set(table.frame["label"].cast(pl.String))
    problems = [
        change.problem(f"{label!r} often means that there is no label: choose another one, or drop the image")
        for change, label, nothing in zip(changes, to, says_nothing(to), strict=True)
        if nothing and label not in classes
    ]
    if problems:
        raise DataError(
            f"{table.folder}: the patch gives labels that mean none; nothing was written:", problems
        )


def _undone(asked: dict[str, Change], before: dict[str, Change], table: Table) -> list[Change]:
    gone = [change for key, change in asked.items() if key in before]
    if not gone:
        files = ", ".join(sorted({change.file for change in asked.values()}))
        raise DataError(
            f"{table.folder}: no change of {files} is in force in its {LOG}, so there is nothing to undo"
            f"{_made_from(table.folder)}"
        )
    return gone


def _made_from(folder: Path) -> str:
    """Where else to look, for a dataset that is filtered, split or merged from others."""
    try:
        about = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        names = about["dataset"] if "patch" not in about else None
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return ""
    if not names:
        return ""
    listed = names if isinstance(names, str) else ", ".join(map(str, names))
    return f" here; it was made from {listed}: undo it there, then make this dataset again"


def _original(table: Table) -> Table:
    """The table before all patches."""
    file = table.folder / ORIGINAL
    if not (table.folder / LOG).is_file():
        return table
    try:
        return Table(pl.read_parquet(file), table.folder)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error


def _refuse_edited(table: Table, original: Table, before: dict[str, Change]) -> None:
    """Refuse a table that was changed by other means since: what was done to it would be lost."""
    if before and not Replay(original).run(before.values()).frame().equals(table.frame):
        raise DataError(
            f"{table.folder}: its table is not what {ORIGINAL} and {LOG} make, so it was changed by other "
            "means; move these two files away to start from the table as it is"
        )


def _events(folder: Path) -> list[dict[str, Any]]:
    """The log of a dataset folder, oldest first; empty where nothing was changed yet."""
    file = folder / LOG
    if not file.is_file():
        return []
    if not (folder / ORIGINAL).is_file():
        raise DataError(f"{file}: {ORIGINAL}, the table before these changes, is missing beside it")
    try:
        events = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    for number, event in enumerate(events, 1):
        if not isinstance(event, dict) or set(event) != EVENT or wrong(event["change"]):
            raise DataError(f"{file}, row {number}: is not a change that was applied or undone")
    return events


EVENT = {"what", "on", "file", "line", "root", "change"}


def _event(what: str, change: Change) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "what": what,
        "on": now,
        "file": change.file,
        "line": change.line,
        "root": change.root,
        "change": change.values,
    }


def _active(events: Sequence[dict[str, Any]]) -> dict[str, Change]:
    """The changes that were applied and not undone since, in the order in which they were applied."""
    active: dict[str, Change] = {}
    for event in events:
        change = Change(event["change"], event["root"], event["file"], event["line"])
        if event["what"] == "applied":
            active[change.key] = change
        else:
            active.pop(change.key, None)
    return active


def _tell(replay: Replay, fresh: Sequence[Change], undo: bool, asked: int) -> None:
    done = "undone" if undo else "made"
    rest = asked - len(fresh)
    also = "" if not rest else f"; {rest:,} {'not in force' if undo else 'made before'}"
    log.info("%s %s%s", counted(len(fresh), "change"), done, also)
    if replay.apart:
        log.info("%s said to be different: different.csv", counted(len(replay.apart), "pair is", "pairs are"))
    same = replay.still_same()
    if same:
        still = counted(same, "such pair still has", "such pairs still have")
        log.warning("%s one label: relabel one image of each", still)


def _check(table: Table) -> None:
    if table.frame["label"].n_unique() < 2:
        raise DataError(f"{table.folder}: the changes leave fewer than two classes; nothing was written")
    problems = check_table(table.frame, table.folder, "the changed table", files=False)
    if problems:
        raise DataError(
            f"{table.folder}: the changes make a table that is wrong; nothing was written:", problems
        )


def _write(
    patched: Table,
    replay: Replay,
    events: Sequence[dict[str, Any]],
    table: Table,
    out: Path,
    about: dict[str, Any],
    earlier: Sequence[pl.DataFrame],
) -> None:
    lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
    beside: dict[str, pl.DataFrame | str] = {LOG: lines, ORIGINAL: replay.table.relative_to(out).frame}
    pairs = [replay.different(), *earlier]
    different = moved_pairs(pl.concat([each.cast(pl.String) for each in pairs]), patched, out)
    if replay.apart or len(different):
        beside[DIFFERENT] = different
    if (table.folder / "pairs.csv").is_file():
        pairs = pl.read_csv(table.folder / "pairs.csv", infer_schema=False)
        beside["pairs.csv"] = moved_pairs(pairs, patched, out) if "path_a" in pairs.columns else pairs
    if (table.folder / "skipped.csv").is_file():
        beside["skipped.csv"] = (table.folder / "skipped.csv").read_text(encoding="utf-8")
    write_table(patched, out, about, beside=beside)
    warn_of_shared(patched.frame)
    log.info("%s", summary(patched))


def _earlier_pairs(table: Table, original: Table, before: dict[str, Change]) -> list[pl.DataFrame]:
    """Pairs beside the table that come from before its log: from the dataset that it was made from."""
    file = table.folder / DIFFERENT
    if not file.is_file():
        return []
    said = pl.read_csv(file, infer_schema=False)
    own = Replay(original).run(before.values()).different()
    return [said.join(own, on=["path_a", "path_b", "at"], how="anti", maintain_order="left")]
