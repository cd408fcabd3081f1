"""Names as they can be shown: signs that turn the text after them around are seen, and do nothing."""

import re

TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Unicode's embeddings, overrides and isolates: with one of them, exe.png may be shown as gnp.exe."""


def show_bidi_controls(text: str) -> str:
    """The text with � for every character that would turn other text around."""
    return TURNING.sub("\N{REPLACEMENT CHARACTER}", text)
