"""Assigning roles to table columns: by the user's keys, by column names, or by contents."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from lookalike.data.box_columns import BoxColumns, find_boxes, is_box_name, normalise_name, words
from lookalike.data.column_contents import (
    ROLE_NAMES,
    SPLIT_NAMES,
    find_without_header,
    is_code,
    is_flag,
    looks_like_addresses,
    quote_names,
    says_splits,
    suggest,
)
from lookalike.errors import DataError

ROLES = ("path", "label", "split", "role", "group", "fold")
TWINS = {
    "path": words(
        """
        filename filepath file image imagepath imagefile imagefilename imagename img imgpath imgfile imgname
        picture picturepath photo photopath photofile fname relativepath relpath
        """
    ),
    "label": words(
        """
        class classname classid identity identityid identityname individual individualid person personid
        personname pid subject subjectid category categoryname categoryid target labelid labelname classlabel
        productid itemid
        """
    ),
    "url": words("imageurl photourl pictureurl link href address imagelink uri downloadurl"),
    "split": words(
        """
        subset partition set phase usage stage imageset dataset datasplit traintest traintestsplit
        trainvaltest splits splitname splitset evaluationstatus evalpartition
        """
    ),
}
"""Synonyms, without case, spaces and punctuation."""
FLAG_NAME = re.compile(
    r"(is|in|for)?(train|training|test|testing|val|valid|validation)(set|split|sample|image|img|data)?"
)
"""Normalised names of 0/1 columns that mark the rows of one split."""
CAMERAS = words(
    "camera cameraid cam camid camname sequence sequenceid session sessionid video videoid tracklet"
)
"""Names of columns that often are the group, which is only read on request."""
CODED = (
    "partition",
    "subset",
    "datasplit",
    "traintest",
    "traintestsplit",
    "trainvaltest",
    "evalpartition",
    "splitset",
)
"""Names of columns in which numbers encode splits, as in CelebA."""


@dataclass(frozen=True)
class Columns:
    """How the columns of a table are used.

    Attributes:
        used: the user's column for each of path, label, split, role, group and fold.
        flags: 0/1 columns that define the split.
        boxes: the box columns.
        kept: unused columns.
    """

    used: dict[str, str]
    flags: list[str] = field(default_factory=list)
    boxes: BoxColumns | None = None
    kept: list[str] = field(default_factory=list)

    def report(self, replaced: Sequence[str] = ()) -> str:
        """The use of each column, in one line."""
        parts = [ours if ours == theirs else f"{ours} from {theirs}" for ours, theirs in self.used.items()]
        parts += [f"split from {' and '.join(self.flags)}"] if self.flags else []
        parts += [f"boxes from {', '.join(self.boxes.names)}"] if self.boxes else []
        message = f"columns used: {', '.join(parts)}"
        gone = [name for name in self.kept if name in replaced]
        rest = [name for name in self.kept if name not in gone]
        message += f"; replaced: {', '.join(gone)}" if gone else ""
        return message + (f"; kept, not used: {', '.join(rest)}" if rest else "")

    def camera_hint(self) -> str:
        """The key that uses a camera column as the group, unless there is a group or no such column."""
        cameras = [name for name in self.kept if normalise_name(name) in CAMERAS]
        return "" if "group" in self.used or not cameras else column_key("group", cameras[0])


def flagged_split(name: str) -> str:
    """The split of a 0/1 column such as is_test; empty for any other name."""
    match = FLAG_NAME.fullmatch(normalise_name(name))
    return SPLIT_NAMES[match[2]] if match else ""


def is_text(name: str) -> bool:
    """Whether a column with this name may contain paths, labels or splits, which stay text."""
    short = normalise_name(name)
    return short in ("path", "label", "split", "role", "group", "hash") or any(
        short in them for them in TWINS.values()
    )


def find_columns(
    frame: pl.DataFrame,
    file: Path,
    named: Mapping[str, object],
    required: Iterable[str] = ("path", "label"),
    prefix: str = "source.",
) -> Columns:
    """Determine how the columns are used.

    Args:
        frame: the table.
        file: for messages.
        named: the user's keys: the name of a column, or None for none; `box` may be four names.
        required: columns that must exist.
        prefix: of the keys in messages.

    Raises:
        DataError: a named column does not exist, a required one is missing or ambiguous, or an unused column
            looks as if it should be used. Lists all problems, with the keys that resolve them.
    """
    names = frame.columns
    _refuse_unknown(names, file, named, prefix)
    if not any(named.get(ours) for ours in ROLES):
        named = {**find_without_header(frame, file, tuple(required), prefix), **named}
    used, wrong, missing = dict[str, str](), list[str](), list[str]()
    for ours in dict.fromkeys((*required, *ROLES)):
        if ours in named:
            used |= {ours: str(named[ours])} if named[ours] is not None else {}
            continue
        result = _candidates(names, ours, used)
        if len(result) == 1:
            used[ours] = result[0]
        elif result:
            wrong.append(
                f"{' and '.join(map(repr, result))} may each be the {ours}: {_keys(ours, result, prefix)}"
            )
        elif ours in required:
            missing.append(ours)
    if missing:
        missing_message = _missing_message(file, names, suggest(frame, missing, used), prefix)
        hint = _address_hint(frame, file) if "path" in missing and prefix else ""
        raise DataError(missing_message + hint)
    flags = _split_columns(frame, named, used, wrong, prefix)
    boxes = find_boxes(frame, named, {*used.values(), *flags}, wrong, prefix)
    taken = {*used.values(), *flags, *(boxes.names if boxes else ())}
    wrong += _lookalikes(names, named, used, taken, prefix)
    wrong += _role_flags(frame, named, used, prefix)
    if wrong:
        raise DataError(f"{file}: some columns are ambiguous.\n  " + "\n  ".join(wrong))
    return Columns(used, flags, boxes, [name for name in names if name not in taken])


def _refuse_unknown(names: Sequence[str], file: Path, named: Mapping[str, object], prefix: str) -> None:
    lacking = [
        (ours, one)
        for ours, theirs in named.items()
        for one in (theirs if isinstance(theirs, list | tuple) else [theirs])
        if one is not None and one not in names
    ]
    if lacking:
        message = " and ".join(dict.fromkeys(repr(theirs) for _, theirs in lacking))
        keys = ", ".join(dict.fromkeys(f"{prefix}{_key(ours)}" for ours, _ in lacking))
        raise DataError(
            f"{file}: has no column {message}; it has {quote_names(names)}. Set the "
            f"{'column' if len(lacking) == 1 else 'columns'} to use: {keys}"
        )


def _candidates(names: Sequence[str], ours: str, used: Mapping[str, str]) -> list[str]:
    """Candidates for a column: with this name, with the same name up to case and punctuation, or with another
    common name.
    """
    if ours in names:
        return [ours]
    alike = [name for name in names if normalise_name(name) == ours]
    if alike or ours not in ("path", "label", "url"):
        return alike
    return [name for name in names if normalise_name(name) in TWINS[ours] and name not in used.values()]


def _missing_message(
    file: Path, names: Sequence[str], candidates: Mapping[str, Sequence[str]], prefix: str
) -> str:
    """The message for missing columns; `candidates` are possible columns for each."""
    message = f"{file}: has no column {' and '.join(map(repr, candidates))}; it has {quote_names(names)}. "
    if not prefix:
        ours, theirs = next(iter(candidates.items()))
        return message + (
            f"Rename {theirs[0]!r} to {ours!r}" if theirs else f"Rename the right column to {ours!r}"
        )
    keys = [
        _keys(ours, theirs[:5], prefix) if theirs else f"{prefix}{_key(ours)}"
        for ours, theirs in candidates.items()
    ]
    return message + f"Set the {'column' if len(keys) == 1 else 'columns'} to use: {', '.join(keys)}"


def _address_hint(frame: pl.DataFrame, file: Path) -> str:
    """The command for a table of URLs."""
    urls = [name for name in frame.columns if looks_like_addresses(frame[name])]
    if not urls:
        return ""
    return (
        f". Its column {urls[0]} contains URLs: `lookalike prepare source=urls source.list={file} "
        f"{column_key('url', urls[0])} out=…` downloads them"
    )


def _key(ours: str) -> str:
    return f"{ours}=…" if ours in ("path", "label", "split", "url") else f"columns={{{ours}: …}}"


def _keys(ours: str, names: Sequence[str], prefix: str) -> str:
    """The keys that select one of several columns."""
    return " or ".join(column_key(ours, name, prefix) for name in names)


def column_key(ours: str, name: str | None, prefix: str = "source.") -> str:
    """The part of a command line that selects a column, quoted for the shell."""
    if not prefix:
        return f"rename {name!r} to {ours!r}" if name else f"remove the column {ours}"
    if name is None:
        return f"'{prefix}columns={{{ours}: null}}'"
    plain = re.fullmatch(r"[A-Za-z_][\w]*", name)
    return f"'{prefix}columns={{{ours}: {name}}}'" if plain else f"\"{prefix}columns={{{ours}: '{name}'}}\""


def _split_columns(
    frame: pl.DataFrame, named: Mapping[str, object], used: dict[str, str], wrong: list[str], prefix: str
) -> list[str]:
    """Find a split under another name or as flags; returns the flags."""
    if "split" in named or "split" in used:
        return []
    free = [name for name in frame.columns if name not in used.values()]
    flags = [name for name in free if flagged_split(name) and is_flag(frame[name])]
    if len({flagged_split(name) for name in flags}) < len(flags):
        wrong.append(
            f"{' and '.join(map(repr, flags))} define the same split: write train, val and test into one "
            f"column, or add {column_key('split', None, prefix)} for a new split"
        )
    if flags:
        return flags
    worded = [name for name in free if says_splits(frame[name])]
    usual = [name for name in worded if normalise_name(name) in TWINS["split"]]
    if len(usual) == 1 and len(worded) == 1:
        used["split"] = usual[0]
    elif worded:
        wrong.append(
            f"{' and '.join(map(repr, worded))} contain{'s' if len(worded) == 1 else ''} the names of "
            f"splits: "
            f"{_keys('split', worded, prefix)}; or {column_key('split', None, prefix)} for a new split"
        )
    for name in free:
        if normalise_name(name) in CODED and is_code(frame[name]):
            values = ", ".join(map(str, frame[name].drop_nulls().unique().sort().to_list()))
            wrong.append(
                f"{name!r} looks like a split, but contains {values}: write train, val and test there, or "
                f"add "
                f"{column_key('split', None, prefix)} for a new split"
            )
    return []


def _role_flags(
    frame: pl.DataFrame, named: Mapping[str, object], used: Mapping[str, str], prefix: str
) -> list[str]:
    """The message for 0/1 columns named query and gallery."""
    flags = [name for name in frame.columns if ROLE_NAMES.get(_without_is(name)) and is_flag(frame[name])]
    flags = [name for name in flags if name not in used.values()]
    if not flags or "role" in named or "role" in used:
        return []
    return [
        f"{' and '.join(map(repr, flags))} look like roles: write query, gallery or both into one column "
        f"role, or add {column_key('role', None, prefix)} to ignore them"
    ]


def _without_is(name: str) -> str:
    return normalise_name(name).removeprefix("is")


def _lookalikes(
    names: Sequence[str],
    named: Mapping[str, object],
    used: Mapping[str, str],
    taken: set[str],
    prefix: str,
) -> list[str]:
    """Unused columns with the name of a used one, up to case and punctuation."""
    message = []
    for name in names:
        ours = normalise_name(name)
        if name in taken or name == ours or ours not in ROLES or ours in named:
            continue
        other = used.get(ours)
        message.append(
            f"{name!r} looks like {ours}, for which {other!r} is used: {column_key(ours, name, prefix)} or "
            f"{column_key(ours, other, prefix)}"
        )
    return message


__all__ = [
    "ROLE_NAMES",
    "SPLIT_NAMES",
    "Columns",
    "column_key",
    "find_columns",
    "is_box_name",
    "is_text",
    "says_splits",
]
