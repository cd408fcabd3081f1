"""Safe display of names: bidirectional control characters are made visible and have no effect."""

import re

TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Unicode's embeddings, overrides and isolates: with one of them, exe.png may be shown as gnp.exe."""


def show_bidi_controls(text: str) -> str:
    """The text with � for every character that changes the direction of other text."""
    return TURNING.sub("\N{REPLACEMENT CHARACTER}", text)
