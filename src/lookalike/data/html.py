"""HTML for notebooks: pictures with captions, everything escaped."""

from collections.abc import Iterable
from html import escape

from lookalike.data.bidi import show_bidi_controls

FRAME = "margin:0;width:{side}px;font:12px/1.35 system-ui,sans-serif"
CUT = "display:block;overflow:hidden;text-overflow:ellipsis;white-space:nowrap"


def card(uri: str, name: object, *caption: object, side: int = 80) -> str:
    """A picture with its name and more lines of text below.

    Args:
        uri: of the picture, a data URI.
        name: caption and alternative text.
        caption: further lines.
        side: pixels of the picture.
    """
    name = show_bidi_controls(str(name))
    lines = "".join(
        f'<span style="{CUT};opacity:.75">{escape(show_bidi_controls(str(line)))}</span>' for line in caption
    )
    image_style = f"width:{side}px;height:{side}px;object-fit:contain;background:#fff"
    return (
        f'<figure style="{FRAME.format(side=side)}">'
        f'<img src="{escape(uri)}" alt="{escape(name)}" style="{image_style}">'
        f'<figcaption title="{escape(name)}"><b style="{CUT}">{escape(name)}</b>{lines}'
        "</figcaption></figure>"
    )


def cards_in_row(cards: Iterable[str], heading: str = "") -> str:
    """Cards side by side, with a heading above."""
    style = "margin:0 0 6px;font:13px/1.4 system-ui,sans-serif"
    above = f'<p style="{style}">{escape(heading)}</p>' if heading else ""
    row = f'<div style="display:flex;flex-wrap:wrap;gap:10px">{"".join(cards)}</div>'
    return f'<div style="margin:6px 0 14px">{above}{row}</div>'
