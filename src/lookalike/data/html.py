"""Pieces of HTML for notebooks: pictures with words below, everything escaped."""

from collections.abc import Iterable
from html import escape

from lookalike.data.visible import visible

FRAME = "margin:0;width:{side}px;font:12px/1.35 system-ui,sans-serif"
CUT = "display:block;overflow:hidden;text-overflow:ellipsis;white-space:nowrap"


def card(uri: str, name: object, *about: object, side: int = 80) -> str:
    """A picture with its name and more lines of text below.

    Args:
        uri: of the picture, a data URI.
        name: stands below, and for those who do not see the picture.
        about: further lines.
        side: pixels of the picture.
    """
    name = visible(str(name))
    lines = "".join(f'<span style="{CUT};opacity:.75">{escape(visible(str(line)))}</span>' for line in about)
    shown = f"width:{side}px;height:{side}px;object-fit:contain;background:#fff"
    return (
        f'<figure style="{FRAME.format(side=side)}">'
        f'<img src="{escape(uri)}" alt="{escape(name)}" style="{shown}">'
        f'<figcaption title="{escape(name)}"><b style="{CUT}">{escape(name)}</b>{lines}'
        "</figcaption></figure>"
    )


def row_of(cards: Iterable[str], heading: str = "") -> str:
    """Cards side by side, with a heading above."""
    style = "margin:0 0 6px;font:13px/1.4 system-ui,sans-serif"
    above = f'<p style="{style}">{escape(heading)}</p>' if heading else ""
    beside = f'<div style="display:flex;flex-wrap:wrap;gap:10px">{"".join(cards)}</div>'
    return f'<div style="margin:6px 0 14px">{above}{beside}</div>'
