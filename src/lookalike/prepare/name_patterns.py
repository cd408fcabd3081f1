"""Identity and camera from file names, as in re-identification datasets."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lookalike.errors import ConfigError, Problem
from lookalike.prepare.naming import ASIDE, count_noun, quote_names

PATTERNS = {
    "reid": r"(?:^|/)(?P<label>-?\d+)_c(?P<camera>\d+)(?:s(?P<sequence>\d+))?_[^/]*$",
    "msmt17": r"(?:^|/)(?P<label>\d+)_\d+_(?P<camera>\d+)_\d{4}(?:morning|noon|afternoon)[^/]*$",
    "numbered": r"(?:^|/)(?P<label>[^/]*?[^/\d\s_().-])[\s_.-]*\(?\d+\)?\.[^./]+$",
}
"""Named patterns; the first one that matches the file names is suggested."""
EXAMPLES = {
    "reid": "those of Market-1501, DukeMTMC-reID and VeRi-776: 0002_c1s1_0451_03.jpg is 0002, camera 1",
    "msmt17": "those of MSMT17: 0000_004_05_0303morning_0020_0.jpg is 0000, camera 05",
    "numbered": "a name and a number: Abyssinian_12.jpg is Abyssinian",
}
ROLES = {  # first-level folders of such datasets: split and role
    "bounding_box_train": ("train", None),
    "image_train": ("train", None),
    "query": ("test", "query"),
    "probe": ("test", "query"),
    "image_query": ("test", "query"),
    "gallery": ("test", "gallery"),
    "bounding_box_test": ("test", "gallery"),
    "image_test": ("test", "gallery"),
}
OF_NAMES = ("bounding_box_train", "bounding_box_test", "image_train", "image_query", "image_test")
"""Folders that occur only in datasets with identities in file names."""
RESERVED = ("path", "split", "role", "fold", "width", "height", "hash", "x1", "y1", "x2", "y2")
JUNK, DISTRACTOR = "-1", 0
MOST = 0.9
COLUMNS = {"camera": "group", "group": "group"}


@dataclass(frozen=True)
class NamePattern:
    """A regular expression that is searched in the path of a file, with named groups.

    Attributes:
        name: as given by the user: one of `PATTERNS`, or an expression.
        expression: with a group `label`; `camera` or `group` become the column `group`, others columns.
    """

    name: str
    expression: re.Pattern[str]

    def columns(self, path: str) -> dict[str, str] | None:
        """The values of a path by column; None if it does not match."""
        match = self.expression.search(path)
        if match is None or not match["label"]:
            return None
        return {COLUMNS.get(name, name): value or "" for name, value in match.groupdict().items()}


def compile_pattern(pattern: str) -> NamePattern:
    """A pattern by its name, or a regular expression of the user's.

    Raises:
        ConfigError: it is neither, or has no group `label`.
    """
    text = PATTERNS.get(pattern, pattern)
    choices = f"one of {', '.join(PATTERNS)}, or a regular expression with a group (?P<label>…)"
    try:
        expression = re.compile(text)
    except re.error as error:
        raise ConfigError(
            f"source.pattern={pattern!r}: not a regular expression ({error}); give {choices}"
        ) from None
    groups = expression.groupindex
    if "label" not in groups:
        raise ConfigError(
            f"source.pattern={pattern!r}: has no group (?P<label>…) for the identity; give {choices}"
        )
    wrong = [name for name in groups if name in RESERVED]
    if wrong or {"camera", "group"} <= set(groups):
        choice = quote_names(wrong) if wrong else "both 'camera' and 'group'"
        raise ConfigError(
            f"source.pattern={pattern!r}: cannot have the group {choice}; use label, camera "
            "(or group), and names of your own, which become columns"
        )
    return NamePattern(pattern, expression)


def suggestion(images: Sequence[str]) -> str:
    """A hint about a pattern that matches nearly all of these names, with its key; otherwise empty."""
    for name in PATTERNS:
        pattern = compile_pattern(name)
        results = [message for path in images if (message := pattern.columns(path)) is not None]
        labels = {message["label"] for message in results}
        repeated = len(labels) < len(results) and (name != "numbered" or 2 <= len(labels) <= len(results) / 2)
        if results and repeated and len(results) >= MOST * len(images):
            example = next(path for path in images if pattern.columns(path) is not None)
            message = pattern.columns(example) or {}
            camera = f", camera {message['group']}" if "group" in message else ""
            return (
                f"File names look like {EXAMPLES[name].split(':')[0]} ({example!r}: identity "
                f"{message['label']}{camera}): add source.pattern={name} to read identities from file names"
            )
    return ""


def without_junk(rows: list[dict[str, str]]) -> tuple[list[dict[str, str]], list[Problem]]:
    """The rows without identity -1, which Market-1501 calls junk, and the junk rows."""
    reason = f"{ASIDE} of an identity: junk (identity -1)"
    junk = [Problem(row["path"], reason) for row in rows if row["label"] == JUNK]
    return [row for row in rows if row["label"] != JUNK], junk


def mark_distractors(rows: list[dict[str, str]]) -> int:
    """Mark gallery images of identity 0, which no query of Market-1501 has, as distractors."""
    queries = {row["label"] for row in rows if row.get("role") == "query"}
    count = 0
    for row in rows:
        nobody = row["label"].isdecimal() and int(row["label"]) == DISTRACTOR
        if nobody and row.get("role") == "gallery" and row["label"] not in queries:
            row["role"] = "distractor"
            count += 1
    return count


def summary(pattern: NamePattern, rows: list[dict[str, str]], distractors: int) -> str:
    """A summary of what was read from the file names."""
    example = rows[0]
    camera = f", camera {example['group']}" if "group" in example else ""
    cameras = Counter(row["group"] for row in rows) if "group" in example else None
    seen = f" and {count_noun(len(cameras), 'camera')} (column group)" if cameras else ""
    labels = {row["label"] for row in rows}
    message = (
        f"identities{' and cameras' if camera else ''} are read from file names by "
        f"source.pattern={pattern.name} ({example['path']!r}: identity {example['label']}{camera}): "
        f"{count_noun(len(labels), 'identity', 'identities')}{seen}"
    )
    if distractors:
        message += f"; {count_noun(distractors, 'image')} of identity 0 in the gallery are distractors"
    return message
