"""Values as text, and the nearest known names for a misspelled one."""

import difflib
from collections.abc import Iterable
from typing import Any

from lookalike.wording import join_words

__all__ = ["closest_names", "did_you_mean", "format_value", "join_words"]


def format_value(value: Any, limit: int = 60) -> str:
    """A value as written on the command line, truncated if it is long."""
    text = _write_value(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def closest_names(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """Up to `limit` known names like `name`, best first."""
    by_lower = {other.lower(): other for other in candidates}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=limit, cutoff=0.6)
    return [by_lower[match] for match in matches]


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """` Did you mean this or that?`; empty if no known name is similar."""
    suggestions = closest_names(name, candidates)
    return f" Did you mean {join_words(suggestions, 'or')}?" if suggestions else ""


def _write_value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_write_value, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_write_value(item)}' for key, item in value.items())}}}"
    return str(value)
