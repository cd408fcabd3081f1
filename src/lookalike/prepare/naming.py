"""Names of files, splits and columns in their common spellings."""

import os
import unicodedata
from collections.abc import Callable, Iterable

from lookalike.data.columns import SPLIT_NAMES as SPLIT_NAMES
from lookalike.wording import count_noun as count_noun

EMPTY = "the row is empty"
UNLISTED = "no row of the table refers to it"
ASIDE = "not an image"
"""Start of the reason for a file that is obviously not an image."""
UNREAD = "not supported"
"""Part of the reason for a file that may be an image but that no reader supports."""


def quote_names(names: list[str], limit: int = 8) -> str:
    """Quoted names, the rest as a count."""
    text = ", ".join(repr(name) for name in names[:limit])
    return text + (f" and {len(names) - limit:,} more" if len(names) > limit else "")


def normalise_name(name: str) -> str:
    """A name in NFC, without surrounding spaces."""
    return unicodedata.normalize("NFC", name).strip()


def group_similar(names: Iterable[str], name_of: Callable[[str], str] = normalise_name) -> list[list[str]]:
    """Groups of names that differ only in case, Unicode form and surrounding spaces."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(normalise_name(name_of(name)).casefold(), []).append(name)
    return list(groups.values())


def is_readable(name: str) -> str | None:
    """Why a name found on disk cannot be kept in a table."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not valid UTF-8: rename it"
    return None


def escape_controls(name: str) -> str:
    """A file name with invalid UTF-8 bytes replaced."""
    return os.fsencode(name).decode("utf-8", "replace")
