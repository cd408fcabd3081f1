"""How evenly training used its images."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lookalike.plots.style import DIFFERENT, INK, MUTED, SAME, TEXT, bare, name_axes, new_figure

BARS = 40
LEAST = 6
"""Minimum range of the axis."""


def uses_histogram(uses: np.ndarray, width: float = 4.6, height: float = 3.2) -> Figure:
    """Histogram of how often images were used in training; unused images are in another colour.

    Args:
        uses: how often each image was used, [N].
        width: inches.
        height: inches.

    Raises:
        ValueError: there are no images, or a count below 0.
    """
    uses = np.asarray(uses, np.int64)
    if not len(uses) or uses.min() < 0:
        raise ValueError("uses: needs at least one image, and counts of at least 0")
    figure = new_figure(width, height)
    axes = bare(figure.subplots(), "Uses of each image")
    edges, counts = bars(uses)
    left, widths = edges[:-1], np.diff(edges)
    never = left == -0.5
    left = np.where(never, 0.5 - widths[-1], left)  # wide enough to be seen
    widths = np.where(never, widths[-1], widths)
    axes.bar(left, counts, 0.94 * widths, align="edge", color=np.where(never, DIFFERENT, SAME).tolist())
    spare = max(0.02 * (edges[-1] - left[0]), (LEAST - edges[-1] + left[0]) / 2)
    axes.set_xlim(max(left[0] - spare, min(left[0], -0.6)), edges[-1] + spare)
    axes.axvline(uses.mean(), color=INK, linewidth=1.4, linestyle=(0, (4, 2)))
    name_axes(axes, "times used in the whole run", "images")
    axes.set_xticks(ticks_from_zero(*axes.get_xlim()))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_ylim(0, max(counts.max(), 1) * 1.08)
    describe_uses(axes, uses)
    return figure


def bars(uses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges [B + 1] and counts [B] of at most about 40 integer bins; 0 has its own bin."""
    first, last = int(uses[uses > 0].min(initial=uses.max())), int(uses.max())
    step = -(-(last - first + 1) // BARS)
    edges = np.arange(first, last + step + 1, step) - 0.5
    edges = edges[: np.searchsorted(edges, last) + 1]
    if uses.min() == 0 and edges[0] > 0:
        edges = np.concatenate([[-0.5, 0.5], edges[edges > 0.5]])
    return edges, np.histogram(uses, edges)[0]


def ticks_from_zero(low: float, high: float) -> list[float]:
    """Integer ticks, none below 0."""
    return [
        tick
        for tick in MaxNLocator(nbins=7, integer=True).tick_values(low, high)
        if max(low, 0) <= tick <= high
    ]


def describe_uses(axes: Axes, uses: np.ndarray) -> None:
    """Mean, standard deviation and the number of unused images, above the bars."""
    never = np.count_nonzero(uses == 0)
    text = f"mean {uses.mean():.3g} (dashed) ± {uses.std():.3g}"
    text += f"; {never:,} of {len(uses):,} never" if never else ""
    axes.text(0, 1.02, text, transform=axes.transAxes, color=MUTED, fontsize=TEXT, va="bottom")
