"""Patches: corrections to a dataset, one change per line, read and checked.

The first line of a patch file gives its version and the folder of its paths; each further line is one change:

    {"lookalike_patch": 1, "root": "shop/photos"}
    {"do": "relabel", "path": "cat/7.jpg", "label": "cat", "to": "lynx", "author": "Ann", …}
    {"do": "drop", "path": "cat/8.jpg", "label": "cat", …}
    {"do": "merge", "from": ["kitten", "tomcat"], "to": "cat", …}
    {"do": "different", "path": "cat/1.jpg", "label": "cat", "other": "cat/2.jpg", "other_label": "cat", …}
    {"do": "keep", "path": "cat/9.jpg", "label": "cat", "kind": "quality", …}

Each has an `author`, a `note` (may be empty) and a time, `at`. `label` is the label of the image at that
time. A row that is a region of an image has its `box`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lookalike.errors import DataError, Problem
from lookalike.files import parse_json

VERSION = 1
KEYS = {
    "relabel": {"path", "label", "to"},
    "drop": {"path", "label"},
    "merge": {"from", "to"},
    "different": {"path", "label", "other", "other_label"},
    "keep": {"path", "label", "kind"},
}
COMMON = {"do", "author", "note", "at"}
OPTIONAL: dict[str, set[str]] = {
    "relabel": {"box"},
    "drop": {"box"},
    "different": {"box", "other_box", "kind"},
    "keep": {"box"},
    "merge": set(),
}


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        values: the line, checked; labels as text.
        root: the end of the path of the folder that its paths are relative to.
        file: name of the patch file.
        line: in that file, counted from 1.
    """

    values: dict[str, Any]
    root: str
    file: str
    line: int

    @property
    def key(self) -> str:
        """The identity of a change: all of its values."""
        return json.dumps([self.root, self.values], sort_keys=True, ensure_ascii=False)

    @property
    def source(self) -> str:
        """Author, file and line, for messages."""
        return f"{self.values['author']}, {self.file} line {self.line}"

    def problem(self, reason: str) -> Problem:
        """The reason why it cannot be applied, with its location."""
        return Problem(self.file, reason, self.line)


def read_patch(file: Path) -> list[Change]:
    """The changes of a patch file.

    Raises:
        DataError: there is no such file, it is not a patch or has a newer version, or lines are invalid;
            lists them.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8 text") from error
    root = _root(file, lines[0])
    problems: list[Problem] = []
    changes = list(_changes(file.name, root, lines, problems))
    if problems:
        raise DataError(f"{file}: invalid lines (rows count from 1):", problems)
    if not changes:
        raise DataError(f"{file}: contains no change")
    return changes


def _root(file: Path, line: str) -> str:
    try:
        head = parse_json(line)
    except ValueError:
        head = None
    if not isinstance(head, dict) or "lookalike_patch" not in head:
        raise DataError(
            f'{file}: is not a patch: the first line is not {{"lookalike_patch": {VERSION}, "root": "…"}}; '
            "the page of `lookalike explore` saves patches"
        )
    if head["lookalike_patch"] != VERSION:
        raise DataError(
            f"{file}: is a patch of version {head['lookalike_patch']!r}; this version of Lookalike reads "
            f"version {VERSION}"
        )
    root = head.get("root", "")
    if not isinstance(root, str):
        raise DataError(f"{file}, row 1: root must be text")
    return root


def _changes(name: str, root: str, lines: Sequence[str], problems: list[Problem]) -> Iterator[Change]:
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        try:
            values = parse_json(line)
        except ValueError as error:
            problems.append(Problem(name, f"is not JSON: {error}", number))
            continue
        reason = problem_of_change(values)
        if reason:
            problems.append(Problem(name, reason, number))
        else:
            yield Change(_tidy(values), root, name, number)


def problem_of_change(values: Any) -> str | None:
    """Why a line is not a valid change; None if it is."""
    if not isinstance(values, dict) or values.get("do") not in KEYS:
        return f'"do" must be one of {", ".join(KEYS)}'
    do = values["do"]
    missing = sorted((KEYS[do] | {"author", "at"}) - set(values))
    unknown = sorted(set(values) - KEYS[do] - COMMON - OPTIONAL[do])
    if missing or unknown:
        reason = f"has no {', '.join(missing)}" if missing else f"has {', '.join(unknown)}, which is unknown"
        return f"{do} {reason}"
    for key in sorted(KEYS[do] | {"author", "at"}):
        many = key == "from"
        texts = values[key] if many and isinstance(values[key], list) else [values[key]]
        if not texts or (many and not isinstance(values[key], list)) or not all(map(_is_text, texts)):
            return f"{key} must be {'a list of labels' if many else 'text that is not empty'}"
    return _problem_of_rest(values)


def _problem_of_rest(values: dict[str, Any]) -> str | None:
    if not isinstance(values.get("note", ""), str) or not _is_whole(values.get("note", "")):
        return "note must be text"
    try:
        datetime.fromisoformat(values["at"])
    except ValueError:
        return f"at {values['at']!r}: must be a time as in 2026-05-01T12:00:00+00:00"
    if not _is_text(values.get("kind", "-")):
        return "kind must be text that is not empty"
    for key in {"box", "other_box"}.intersection(values):
        box = values[key]
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            return f"{key} must be four numbers"
    if values["do"] == "relabel" and str(values["to"]) == str(values["label"]):
        return f"the image already has the label {values['to']!r}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return True
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value and _is_whole(value)


def _is_whole(text: str) -> bool:
    """A lone surrogate cannot be written to a file."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _tidy(values: dict[str, Any]) -> dict[str, Any]:
    """Labels as text, since JavaScript would round large integers."""
    tidy = {"note": "", **values}
    for key in {"label", "to", "other_label"} & set(tidy):
        tidy[key] = str(tidy[key])
    if "from" in tidy:
        tidy["from"] = [str(label) for label in tidy["from"]]
    return tidy
