"""Class sizes: a histogram, and the share of the images in the largest classes."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from lookalike.plots.image_uses import ticks_from_zero
from lookalike.plots.style import DIFFERENT, INK, MUTED, SAME, TEXT, bare, name_axes, new_figure
from lookalike.plots.text import shorten_name
from lookalike.wording import count_noun

BARS = 40
"""At most, or a few more."""
FAR = 20
"""Ratio of the largest to the smallest class above which the axis is logarithmic."""
ROOM = 31
"""Space between plot and title, in points."""
STEEP = 50
"""Ratio of the highest to the lowest bar above which the axis is logarithmic."""


def class_size_figure(sizes: np.ndarray, title: str = "") -> Figure:
    """Two panels: classes by their number of images, and the share of images in the largest classes.

    Args:
        sizes: images of each class, [C], each at least 1.
        title: whose they are, if it is to stand above the drawing.

    Raises:
        ValueError: there are no classes, or one without images.
    """
    sizes = np.asarray(sizes, np.int64)
    if not len(sizes) or sizes.min() < 1:
        raise ValueError("sizes: needs at least one class, and at least one image per class")
    figure = new_figure(9.6, 4.1)
    left, right = figure.subplots(1, 2, width_ratios=(1.75, 1), gridspec_kw={"wspace": 0.06})
    draw_sizes(
        bare(
            left, shorten_name(title, 390, TEXT + 1.5, bold=True) if title else "Images in each class", ROOM
        ),
        sizes,
    )
    draw_shares(bare(right, "Share of the largest classes", ROOM), sizes)
    return figure


def draw_sizes(axes: Axes, sizes: np.ndarray) -> None:
    """Histogram of class sizes; classes of one image, which have no match, in another colour."""
    edges = size_edges(sizes)
    counts = np.histogram(sizes, edges)[0]
    far = is_far(sizes)
    gap = 0 if far else 0.04 * float(edges[1] - edges[0])
    colours = np.where(edges[1:] <= 1.5, DIFFERENT, SAME).tolist()
    axes.bar(
        edges[:-1] + gap,
        counts,
        np.diff(edges) - 2 * gap,
        align="edge",
        color=colours,
        linewidth=0.8 if far else 0,
        edgecolor="white",
    )
    if far:
        axes.set_xscale("log")
        steps = (1.0, 2.0, 5.0) if edges[-1] / edges[0] < 400 else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=steps, numticks=20))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
        axes.set_xlim(edges[0], edges[-1])
    else:
        spare = max(0.1, (6 - (edges[-1] - edges[0])) / 2)
        axes.set_xlim(max(edges[0] - spare, 0), edges[-1] + spare)
        axes.set_xticks([tick for tick in ticks_from_zero(*axes.get_xlim()) if tick])
    if counts.max() > STEEP * counts[counts > 0].min():
        axes.set_yscale("log")
        axes.set_ylim(0.7, counts.max() * 1.6)
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    else:
        axes.set_ylim(0, counts.max() * 1.08)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.axvline(float(np.median(sizes)), color=INK, linewidth=1.4, linestyle=(0, (4, 2)))
    name_axes(axes, "images in a class", "classes")
    write_above(axes, describe_sizes(sizes))


def is_far(sizes: np.ndarray) -> bool:
    """Whether the range of class sizes needs a logarithmic axis."""
    return bool(sizes.max() - sizes.min() >= BARS and sizes.max() > FAR * sizes.min())


def size_edges(sizes: np.ndarray) -> np.ndarray:
    """Bin edges, [B + 1], halfway between integers; linear or logarithmic."""
    first, last = int(sizes.min()), int(sizes.max())
    growth = (last / first) ** (1 / BARS) - 1 if is_far(sizes) else 0.0
    edges, width = [first], -(-(last - first + 1) // BARS) if not growth else 1
    while edges[-1] <= last:
        width = max(width, round(edges[-1] * growth))
        edges.append(edges[-1] + width)
    return np.array(edges) - 0.5


def draw_shares(axes: Axes, sizes: np.ndarray) -> None:
    """Cumulative share of the images over the share of the classes, largest first."""
    order = np.sort(sizes)[::-1]
    classes = np.arange(len(order) + 1) / len(order)
    images = np.append(0, order.cumsum()) / order.sum()
    axes.fill_between(classes, images, color=SAME, alpha=0.14, linewidth=0)
    axes.plot(classes, images, color=SAME, linewidth=1.8)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    name_axes(axes, "of the classes, largest first", "of the images")
    tenth = order[: math.ceil(len(order) / 10)].sum() / order.sum()
    write_above(axes, f"the largest tenth has {100 * tenth:.0f} %\ndotted: equal sizes")


def write_above(axes: Axes, text: str) -> None:
    """Two lines of text above the plot, in the space left by `bare`."""
    lines = axes.text(0, 1.02, text, transform=axes.transAxes, color=MUTED, fontsize=TEXT, va="bottom")
    lines.set_in_layout(False)


def describe_sizes(sizes: np.ndarray) -> str:
    """The figures of the plot as text."""
    lone = int((sizes == 1).sum())
    single = f"; {lone:,} with a single image" if lone else ""
    low, high = sizes.min(), sizes.max()
    spread = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    images, classes = count_noun(sizes.sum(), "image"), count_noun(len(sizes), "class", "classes")
    return (
        f"{images} of {classes}, {spread} in each\n"
        f"median {np.median(sizes):g} (dashed), mean {sizes.mean():.3g}{single}"
    )
