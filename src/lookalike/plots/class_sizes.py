"""How many images classes have: a histogram, and how much of the images the largest classes hold."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lookalike.plots.style import DIFFERENT, INK, MUTED, SAME, TEXT, bare, name_axes, new_figure

WHOLE = 40
"""Most bars of a single number of images; above it bars grow like the numbers themselves."""
ROOM = 31
"""Points between drawing and title."""
STEEP = 50
"""How many times higher than the lowest the highest bar is before the axis becomes logarithmic."""


def class_size_figure(sizes: np.ndarray, title: str = "") -> Figure:
    """Two drawings: classes by their number of images, and the share of images in the largest classes.

    Args:
        sizes: images of each class, [C], each at least 1.
        title: whose they are.

    Raises:
        ValueError: there are no classes, or one without images.
    """
    sizes = np.asarray(sizes, np.int64)
    if not len(sizes) or sizes.min() < 1:
        raise ValueError("sizes: at least one class is needed, and each has an image")
    figure = new_figure(9.6, 4.1)
    left, right = figure.subplots(1, 2, width_ratios=(1.75, 1), gridspec_kw={"wspace": 0.06})
    draw_sizes(bare(left, title.replace("$", r"\$"), ROOM), sizes)
    draw_shares(bare(right, "Share of the largest classes", ROOM), sizes)
    return figure


def draw_sizes(axes: Axes, sizes: np.ndarray) -> None:
    """Bars of classes; single images, for which nothing can be found, in another colour."""
    edges = size_edges(sizes)
    counts = np.histogram(sizes, edges)[0]
    wide = np.diff(edges).max() > 1
    left, right = (edges[:-1], edges[1:]) if wide else (edges[:-1] + 0.04, edges[1:] - 0.04)
    colours = np.where(edges[1:] <= 1.5, DIFFERENT, SAME).tolist()
    axes.bar(left, counts, right - left, align="edge", color=colours, linewidth=0.8, edgecolor="white")
    if wide:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
        axes.set_xlim(edges[0], edges[-1])
    else:
        spare = max(0.0, (6 - (edges[-1] - edges[0])) / 2)
        axes.set_xlim(edges[0] - spare - 0.1, edges[-1] + spare + 0.1)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True))
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
    above(axes, said(sizes))


def size_edges(sizes: np.ndarray) -> np.ndarray:
    """Edges of bars, [B + 1], halfway between whole numbers: each number its own bar, or growing ones."""
    first, last = int(sizes.min()), int(sizes.max())
    if last - first < 2 * WHOLE:
        return np.arange(first, last + 2) - 0.5
    growth = (last / first) ** (1 / WHOLE) - 1
    edges, width = [first], 1
    while edges[-1] <= last:
        width = max(width, round(edges[-1] * growth))
        edges.append(edges[-1] + width)
    return np.array(edges) - 0.5


def draw_shares(axes: Axes, sizes: np.ndarray) -> None:
    """The share of the images in the share of the classes that are largest."""
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
    above(axes, f"the largest tenth of them has {100 * tenth:.0f} %\ndotted: if all were alike")


def above(axes: Axes, text: str) -> None:
    """Two lines of text above the drawing, for which `bare` left room."""
    lines = axes.text(0, 1.02, text, transform=axes.transAxes, color=MUTED, fontsize=TEXT, va="bottom")
    lines.set_in_layout(False)


def said(sizes: np.ndarray) -> str:
    """The numbers of the drawing, in words."""
    lone = int((sizes == 1).sum())
    single = f"; {lone:,} with a single image" if lone else ""
    return (
        f"{sizes.sum():,} images of {len(sizes):,} classes, {sizes.min():,} to {sizes.max():,} in each\n"
        f"median {np.median(sizes):g} (dashed), mean {sizes.mean():.3g}{single}"
    )
