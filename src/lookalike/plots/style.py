"""The style of all plots: colours, font sizes, plain axes."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
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

# Twenty colours, light and dark ones mixed. The first nine are Tol's muted ones, which all kinds of colour
# vision tell apart; each of the others is the one farthest from all before it, colour blindness simulated.
CLASSES = (
    *("#332288", "#cc6677", "#117733", "#88ccee", "#882255", "#ddaa33", "#44aa99", "#aa4499", "#999933"),
    *("#870ff0", "#4b3c00", "#7878d2", "#d21e00", "#c3d296", "#002dc3", "#a596ff", "#a55aff", "#f000c3"),
    *("#f078c3", "#693c96"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FAINT = "#c9cdd2"

NEAR_TO_FAR = LinearSegmentedColormap.from_list(
    "near_to_far", ["#08306b", "#1f5fa0", "#3d93ab", "#7cc49a", "#c3e6a5", "#f1f9d8"]
)
"""Colour map of distances: blue is near, green is far; also readable by lightness alone."""

RIGHT = LinearSegmentedColormap.from_list("right", ["#f3f8fb", "#8fbdd6", SAME, "#063c57"])
WRONG = LinearSegmentedColormap.from_list("wrong", ["#fdf3ea", "#f0b37c", DIFFERENT, "#6a2c02"])


def new_figure(width: float, height: float) -> Figure:
    """An empty figure with constrained layout, size in inches."""
    return Figure(figsize=(width, height), dpi=144, layout="constrained", facecolor=PAPER)


def paper(width: float, height: float) -> Figure:
    """An empty figure whose axes are placed with `axes_at`."""
    return Figure(figsize=(width, height), dpi=144, facecolor=PAPER)


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a position in inches from the lower left corner."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def blank_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes for text, without spines and ticks, in points from the upper left corner."""
    axes = axes_at(figure, left, bottom, width, height)
    axes.set_axis_off()
    axes.set(xlim=(0, 72 * width), ylim=(72 * height, 0))
    return axes


def bare(axes: Axes, title: str = "", pad: float = 17) -> Axes:
    """Axes with two thin spines, a faint grid, and a left-aligned title `pad` points above."""
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
    """Label the axes."""
    axes.set_xlabel(across, fontsize=TEXT, color=MUTED)
    axes.set_ylabel(up, fontsize=TEXT, color=MUTED)


def explain_lines(axes: Axes, columns: int = 1, **target_axes: Any) -> None:
    """A legend with a translucent background."""
    axes.legend(
        facecolor=PAPER,
        edgecolor="none",
        framealpha=0.8,
        fontsize=TEXT,
        labelcolor=INK,
        handlelength=2.2,
        ncols=columns,
        **target_axes,
    )


def ink_on(colour: Any) -> str:
    """Black or white, whichever has more contrast with a colour (relative luminance of WCAG 2.2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return INK if luminance > 0.25 else PAPER
