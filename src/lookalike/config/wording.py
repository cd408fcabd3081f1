"""Plain words for what users typed, and the nearest thing that they may have meant."""

import difflib
from collections.abc import Iterable
from typing import Any


def shown(value: Any, most: int = 60) -> str:
    """A value as one writes it on the command line, cut when it is long."""
    text = _written(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Up to `most` known names like `name`, best first."""
    by_lower = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=most, cutoff=0.6)
    return [by_lower[match] for match in found]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean this or that?`, or nothing where no known name is near."""
    found = nearest(name, known)
    return f" Did you mean {joined(found, 'or')}?" if found else ""


def joined(words: Iterable[str], link: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} {link} {last}" if first else last


def _written(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_written(item)}' for key, item in value.items())}}}"
    return str(value)
