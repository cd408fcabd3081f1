"""Counts with their nouns, and lists of words, for messages, reports and figures alike."""

from collections.abc import Iterable
from typing import Any


def count_noun(number: Any, one: str, many: str = "") -> str:
    """The number with its noun: `1 image`, `1,200 images`, `2 classes`."""
    return f"{int(number):,} {one if int(number) == 1 else many or one + 's'}"


def join_words(words: Iterable[str], link: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} {link} {last}" if first else last
