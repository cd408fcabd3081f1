"""Text in figures: shortened names and wrapped headings, measured in the font that is drawn."""

import math
import warnings
from collections.abc import Sequence
from functools import cache, lru_cache

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from lookalike.plots.letters import fonts_for
from lookalike.plots.shortening import break_lines, fitted_names, in_lines
from lookalike.plots.style import INK, MUTED, TEXT

HEADING = TEXT + 2.5
MARGIN = 10
"""Margin between a heading and the edges of its figure, in points."""

LEADING = 1.35
UNIT = "\N{NO-BREAK SPACE}%"
DOTS = (72, 144)
"""DPI at which text is measured; at lower values, hinting makes characters wider."""


def points_wide(text: str, size: float = TEXT, bold: bool = False) -> float:
    """Width of a text as drawn by matplotlib, in points; of several lines, the widest."""
    lines = text.replace(r"\$", "$").split("\n")
    return max(_measure_line(line, size, bold) for line in lines)


@lru_cache(maxsize=20_000)
def _measure_line(line: str, size: float, bold: bool) -> float:
    fonts, _ = fonts_for(line)
    properties = FontProperties(family=fonts, size=size, weight="bold" if bold else "normal")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        return max(
            72 / dots * _renderer(dots).get_text_width_height_descent(line, properties, ismath=False)[0]
            for dots in DOTS
        )


@cache
def _renderer(dots: int) -> RendererAgg:
    return RendererAgg(1, 1, dots)


def shorten_name(name: object, width: float, size: float = TEXT, bold: bool = False, lines: int = 1) -> str:
    """A shortened name, see `briefs`."""
    return briefs([name], width, size, bold, lines)[0]


def briefs(
    names: Sequence[object], width: float, size: float = TEXT, bold: bool = False, lines: int = 1
) -> list[str]:
    """Names shown together, each at most `width` points wide, without formulas or changes of text direction.

    Where one is too long, what all begin with is left out, then the middle; different names stay different.
    """

    def fit(text: str) -> str:
        return in_lines(text, width, lambda part: points_wide(part, size, bold), lines)

    return [safe(text) for text in fitted_names(names, fit)]


def safe(text: str) -> str:
    """The text escaped so that matplotlib does not parse it as a formula."""
    return text.replace("$", r"\$")


def percent(share: float, digits: int = 1) -> str:
    """A fraction in per cent: 16.2 %."""
    return f"{100 * share:.{digits}f} %"


def wrap_text(text: str, width: float, size: float = TEXT, bold: bool = False) -> list[str]:
    """The text in lines at most `width` points wide; longer words are broken, numbers keep their unit."""
    lines: list[str] = []
    words = [word for word in text.replace(" %", UNIT).replace("\n", " ").split(" ") if word]
    for word in (piece for whole in words for piece in _pieces(whole, width, size, bold)):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and points_wide(longer, size, bold) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _pieces(word: str, width: float, size: float, bold: bool) -> list[str]:
    """The word in parts that fit; usually one."""
    return break_lines(word, width, lambda part: points_wide(part, size, bold))


def footnote(figure: Figure, lines: Sequence[str], size: float = TEXT - 1.5, colour: str = MUTED) -> None:
    """Write lines at the bottom left of a figure, which is enlarged by their height.

    Args:
        figure: complete but for further footnotes, which come below.
        lines: each no wider than the figure less its margins.
        size: of the type, points.
        colour: of the type.
    """
    before = 72 * figure.get_figheight()
    extra = math.ceil(LEADING * size * len(lines) + MARGIN)  # whole points keep pictures on whole pixels
    total = before + extra

    def raise_up(share: float) -> float:
        return (share * before + extra) / total

    engine = figure.get_layout_engine()
    if engine is None:
        for axes in figure.axes:
            left, bottom, width, height = axes.get_position(original=True).bounds
            axes.set_position((left, raise_up(bottom), width, height * before / total))
    else:
        left, bottom, width, height = engine.get()["rect"]
        engine.set(rect=(left, raise_up(bottom), width, height * before / total))  # pyrefly: ignore
    for text in figure.texts:
        text.set_y(raise_up(text.get_position()[1]))
    figure.set_figheight(total / 72)
    for number, line in enumerate(reversed(lines)):
        up = (0.7 * MARGIN + number * LEADING * size) / total
        figure.text(MARGIN / 72 / figure.get_figwidth(), up, safe(line), fontsize=size, color=colour)


def name_source(figure: Figure, source: str) -> Figure:
    """Write the data and the model of a figure in small type below it, on one line.

    Args:
        figure: complete.
        source: such as `photos, split test; model runs/mine`; nothing is written if it is empty.
    """
    if source:
        size = TEXT - 1.5
        footnote(figure, fitted_lines(source, 72 * figure.get_figwidth() - 2 * MARGIN, size), size)
    return figure


def fitted_lines(text: str, width: float, size: float) -> list[str]:
    """A text on at most two lines, with a middle ellipsis if it is longer."""
    lines = wrap_text(text, width, size)
    if len(lines) <= 2:
        return lines
    return shorten_name(text, width, size, lines=2).replace(r"\$", "$").split("\n")


def headline(figure: Figure, title: str, remark: str = "") -> float:
    """Write a title and a subtitle at the top left, and place the layout below them.

    Args:
        figure: already as wide as it will be; it grows by the height of the heading.
        title: what is seen, in a few words.
        remark: a sentence, in as many lines as it takes.

    Returns:
        the height of the heading in inches.
    """
    width = 72 * figure.get_figwidth() - 2 * MARGIN
    blocks = [
        (wrap_text(title, width, HEADING, bold=True), HEADING, INK, "bold"),
        (wrap_text(remark, width), TEXT, MUTED, "normal"),
    ]
    total = MARGIN + sum(LEADING * size * len(lines) for lines, size, _, _ in blocks) + 0.4 * TEXT
    height = 72 * figure.get_figheight() + total
    figure.set_figheight(height / 72)
    top = height - MARGIN
    for lines, size, colour, weight in blocks:
        for line in lines:
            across, up = MARGIN / (width + 2 * MARGIN), top / height
            figure.text(across, up, safe(line), va="top", fontsize=size, color=colour, fontweight=weight)
            top -= LEADING * size
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, 1 - total / height))  # pyrefly: ignore
    return total / 72
