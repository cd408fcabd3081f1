"""What every plot has in common: colours, type sizes, bare axes."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Blue and orange stay apart for every kind of colour vision, and both read on white (contrast above 4.5).
INK = "#1c1e22"
MUTED = "#5a606b"
RULE = "#d8d6d0"
SAME = "#0b6592"
DIFFERENT = "#ad4a06"
PAPER = "#ffffff"
SERIES = (SAME, DIFFERENT, "#4d7a1f", "#7d4a9e", "#8a6a00", "#a8326e")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (7, 2, 1, 2)), (0, (3, 1)), (0, (1, 3)))
TEXT = 9.5


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this many inches, laid out by itself when drawn."""
    return Figure(figsize=(width, height), dpi=144, layout="constrained", facecolor=PAPER)


def bare(axes: Axes, title: str = "", pad: float = 17) -> Axes:
    """Axes with two thin spines, a faint grid behind, and the title at the left, `pad` points above."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.tick_params(colors=MUTED, labelsize=TEXT, length=3, color=RULE, which="both")
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    if title:
        axes.set_title(title, loc="left", fontsize=TEXT + 1.5, color=INK, pad=pad, fontweight="bold")
    return axes


def name_axes(axes: Axes, across: str, up: str = "") -> None:
    """Write what the axes measure."""
    axes.set_xlabel(across, fontsize=TEXT, color=MUTED)
    axes.set_ylabel(up, fontsize=TEXT, color=MUTED)


def explain_lines(axes: Axes, columns: int = 1, **where: Any) -> None:
    """A legend in ink; what lies under it is faint."""
    axes.legend(
        facecolor=PAPER,
        edgecolor="none",
        framealpha=0.8,
        fontsize=TEXT,
        labelcolor=INK,
        handlelength=2.2,
        ncols=columns,
        **where,
    )
