"""Counts with their nouns, for messages, reports and figures alike."""

from typing import Any


def count_noun(number: Any, one: str, many: str = "") -> str:
    """The number with its noun: `1 image`, `1,200 images`, `2 classes`."""
    return f"{int(number):,} {one if int(number) == 1 else many or one + 's'}"
