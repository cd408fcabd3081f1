"""Words on figures: names that fit, headings that wrap, all measured in the font that is drawn."""

from bisect import bisect_right
from collections.abc import Iterator

from matplotlib.figure import Figure

from lookalike.data.visible import visible
from lookalike.plots.drawing import font
from lookalike.plots.style import INK, MUTED, TEXT

HEADING = TEXT + 2.5
MARGIN = 10
"""Points between a heading and the edges of its figure."""

LEADING = 1.35
MEASURED = 100


def points_wide(text: str, size: float = TEXT, bold: bool = False) -> float:
    """How wide a line of text is drawn, in points."""
    return font(MEASURED, bold).getlength(text) * size / MEASURED


def brief(name: object, most: int = 24) -> str:
    """A name on one line, its middle left out where it is long, safe from formulas and turned text."""
    text = visible(" ".join(str(name).split()))
    if len(text) > most:
        end = (most - 1) // 3
        text = f"{text[: most - 1 - end].rstrip()}…{text[len(text) - end :].lstrip()}"
    return text.replace("$", r"\$")


def percent(share: float, digits: int = 1) -> str:
    """A share in per cent: 16.2 %."""
    return f"{100 * share:.{digits}f} %"


def wrapped(text: str, width: float, size: float = TEXT, bold: bool = False) -> list[str]:
    """The text in lines at most `width` points wide; a longer word is broken."""
    lines: list[str] = []
    for word in (piece for whole in text.split() for piece in _pieces(whole, width, size, bold)):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and points_wide(longer, size, bold) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _pieces(word: str, width: float, size: float, bold: bool) -> Iterator[str]:
    """The word in parts that fit, nearly always one."""
    while points_wide(word, size, bold) > width and len(word) > 1:
        fits = (
            bisect_right(range(len(word)), width, lo=2, key=lambda n: points_wide(word[:n], size, bold)) - 1
        )
        yield word[:fits]
        word = word[fits:]
    yield word


def headline(figure: Figure, title: str, remark: str = "") -> float:
    """Write a title and a remark below it at the top left, and keep what is laid out below them.

    Args:
        figure: already as wide as it will be; it grows by the height of the heading.
        title: what is seen, in a few words.
        remark: a sentence, in as many lines as it takes.

    Returns:
        the height of the heading in inches.
    """
    width = 72 * figure.get_figwidth() - 2 * MARGIN
    blocks = [
        (wrapped(title, width, HEADING, bold=True), HEADING, INK, "bold"),
        (wrapped(remark, width), TEXT, MUTED, "normal"),
    ]
    total = MARGIN + sum(LEADING * size * len(lines) for lines, size, _, _ in blocks) + 0.4 * TEXT
    height = 72 * figure.get_figheight() + total
    figure.set_figheight(height / 72)
    top = height - MARGIN
    for lines, size, colour, weight in blocks:
        for line in lines:
            across, up = MARGIN / (width + 2 * MARGIN), top / height
            safe = line.replace("$", r"\$")
            figure.text(across, up, safe, va="top", fontsize=size, color=colour, fontweight=weight)
            top -= LEADING * size
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, 1 - total / height))  # pyrefly: ignore
    return total / 72
