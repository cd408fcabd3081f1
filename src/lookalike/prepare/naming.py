"""Names of files, splits and columns as people write them."""

import os
import unicodedata
from collections.abc import Callable, Iterable

from lookalike.data.columns import SPLIT_NAMES as SPLIT_NAMES
from lookalike.wording import count_noun as count_noun

EMPTY = "the row is empty"
UNLISTED = "no row of the table names it"
ASIDE = "not an image"
"""How the reason begins for a file that nobody would miss."""
UNREAD = "not read here"
"""What the reason holds for a file that has to do with images, but that no reader here is for."""


def quote_names(names: list[str], limit: int = 8) -> str:
    """Quoted names, the rest as a count."""
    text = ", ".join(repr(name) for name in names[:limit])
    return text + (f" and {len(names) - limit:,} more" if len(names) > limit else "")


def normalise_name(name: str) -> str:
    """A name in Unicode's composed form, without spaces at its ends."""
    return unicodedata.normalize("NFC", name).strip()


def group_similar(names: Iterable[str], name_of: Callable[[str], str] = normalise_name) -> list[list[str]]:
    """The names in groups that are the same but for case, Unicode form and spaces at the ends."""
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
    """A name found on disk, with the bytes that are no UTF-8 replaced."""
    return os.fsencode(name).decode("utf-8", "replace")
