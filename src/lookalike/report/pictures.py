"""Figures that travel inside the page, as SVG or WebP."""

import io
import re

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from lookalike.plots.letters import is_legible
from lookalike.plots.style import DIFFERENT, INK, MUTED, PAPER, RULE, SAME, SERIES

# Colours of the plots that follow the page's light or dark theme.
THEMED = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    PAPER: "paper",
    SAME: "same",
    DIFFERENT: "different",
    **{colour: f"series-{index}" for index, colour in enumerate(SERIES) if index > 1},
}


def svg(figure: Figure, name: str, alt: str) -> Markup:
    """A figure as SVG to stand in the page; it takes the page's fonts and theme, and scales to its place.

    Args:
        figure: drawn with the colours of `plots.style`.
        name: unique on the page; letters only.
        alt: what the figure shows, in words.
    """
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), is_legible(figure):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]+"', text)
    body = text[text.index(">") + 1 :]
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(url\(|href=")#', rf"\1#{name}-", body)
    for colour, theme in THEMED.items():
        body = body.replace(colour, f"var(--{theme})")
    return Markup(f'<svg role="img" {box[0] if box else ""} aria-label="{escape(alt)}">{body}')
