"""Histograms of the similarities of same-class and different-class pairs."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lookalike.plots.style import DIFFERENT, INK, SAME, bare, explain_lines, name_axes, new_figure
from lookalike.plots.text import headline, percent, wrap_text

BARS = 80
LABEL_WIDTH = 285
"""Maximum width of the legend text, in points."""


def pair_distances(distances: Mapping[str, Any], far: float | None = None, density: bool = False) -> Figure:
    """`distance_histogram` below a heading, or the densities that the counts were drawn from.

    Args:
        distances: see there.
        far: see there.
        density: smooth the counts, by a kernel as wide as Scott's rule says.
    """
    figure = distance_histogram(distances, far, density)
    positive, negative = (np.asarray(distances[name], float) for name in ("positive", "negative"))
    if positive.any() and negative.any():
        overlap = percent(overlap_share(positive, negative))
        explanation = f"The less the two overlap, the better; here the overlap is {overlap}."
    else:
        kinds = {"the same class": positive, "different classes": negative}
        lacking = [name for name, pairs in kinds.items() if not pairs.any()]
        explanation = f"There are no pairs of {' and none of '.join(lacking)} to compare with."
    headline(figure, "Similarities of pairs of images", explanation)
    return figure


def overlap_share(positive: np.ndarray, negative: np.ndarray) -> float:
    """The overlap of two histograms, 0 … 1."""
    shares = [counts / max(counts.sum(), 1) for counts in (positive, negative)]
    return float(np.minimum(*shares).sum())


def distance_histogram(
    distances: Mapping[str, Any], far: float | None = None, density: bool = False
) -> Figure:
    """Normalised histograms of the cosine similarity of same-class and different-class pairs.

    Args:
        distances: `edges` [B + 1], `positive` [B] and `negative` [B] counts, and `threshold` (or None).
        far: the false accept rate at that threshold, to be written beside it.
        density: smooth curves in place of counts.

    Raises:
        ValueError: there is not one edge more than there are counts.
    """
    edges = np.asarray(distances["edges"], float)
    positive, negative = (np.asarray(distances[name], float) for name in ("positive", "negative"))
    if len(edges) != len(positive) + 1 or len(edges) != len(negative) + 1:
        raise ValueError(
            f"distances: {len(edges)} edges want {len(edges) - 1} counts, got {len(positive)} positive and "
            f"{len(negative)} negative"
        )
    figure = new_figure(4.9, 3.6)
    axes = bare(figure.subplots())
    if not density:
        edges, positive, negative = trim_axis(edges, positive, negative)
    draw = draw_density if density else draw_share
    draw(axes, edges, negative, "different class", DIFFERENT, "////")
    draw(axes, edges, positive, "same class", SAME, None)
    name_axes(axes, "cosine similarity (1 = identical)", "density" if density else "share of the pairs")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    if not density:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.02)
    threshold = distances.get("threshold")
    if threshold is not None and math.isfinite(threshold):
        mark_threshold(axes, threshold, far)
    explain_lines(axes, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2)
    return figure


def trim_axis(
    edges: np.ndarray, positive: np.ndarray, negative: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The range of the axis that contains pairs, in at most `BARS` bins."""
    filled = np.flatnonzero(positive + negative)
    first, last = (filled[0], filled[-1] + 1) if len(filled) else (0, len(positive))
    step = math.ceil((last - first) / BARS)
    cuts = np.arange(first, last, step)
    stop = min(cuts[-1] + step, len(positive))
    joined = [np.add.reduceat(counts[:stop], cuts) for counts in (positive, negative)]
    return np.append(edges[cuts], edges[stop]), joined[0], joined[1]


def draw_share(
    axes: Axes, edges: np.ndarray, counts: np.ndarray, label: str, colour: str, hatch: str | None
) -> None:
    """One filled histogram; hatching distinguishes the two without colour."""
    shares = counts / max(counts.sum(), 1)
    look = fill_histogram(colour, hatch)
    axes.stairs(
        shares, edges, fill=True, edgecolor=colour, linewidth=0, label=label_with_count(label, counts), **look
    )
    axes.stairs(shares, edges, color=colour, linewidth=1.6)


def draw_density(
    axes: Axes, edges: np.ndarray, counts: np.ndarray, label: str, colour: str, hatch: str | None
) -> None:
    """The histogram as a smooth curve."""
    similarities, values = smooth_density(edges, counts)
    look = fill_histogram(colour, hatch)
    axes.fill_between(
        similarities, values, edgecolor=colour, linewidth=0, label=label_with_count(label, counts), **look
    )
    axes.plot(similarities, values, color=colour, linewidth=1.6)


def smooth_density(edges: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarities and the density there: a Gaussian kernel as wide as 1.06 σ n^(-1/5) (Scott 1992)."""
    from scipy.ndimage import gaussian_filter1d

    total, width = counts.sum(), edges[1] - edges[0]
    centres = (edges[:-1] + edges[1:]) / 2
    if not total:
        return centres, counts
    mean = counts @ centres / total
    kernel = 1.06 * math.sqrt(counts @ (centres - mean) ** 2 / total) * total**-0.2
    room = math.ceil(4 * kernel / width) + 1
    wide = np.pad(counts / total / width, room)
    centres = centres[0] + width * np.arange(-room, len(counts) + room)
    density = gaussian_filter1d(wide, max(kernel / width, 0.5), mode="constant")
    is_visible = density > 1e-3 * density.max()
    return centres[is_visible], density[is_visible]


def fill_histogram(colour: str, hatch: str | None) -> dict[str, Any]:
    """Hatched if a hatch is given, else filled with the colour."""
    return {"facecolor": "none", "hatch": hatch} if hatch else {"facecolor": colour, "alpha": 0.45}


def label_with_count(label: str, counts: np.ndarray) -> str:
    """Legend text: the kind of pairs and their number."""
    total = counts.sum()
    return f"{label} ({short_numbers(total)} pair{'' if total == 1 else 's'})"


def mark_threshold(axes: Axes, threshold: float, far: float | None) -> None:
    """A line at the threshold, explained in the legend."""
    rate = f": {100 * far:.3g} % of different-class pairs lie above" if far is not None else ""
    text = "\n".join(wrap_text(f"threshold {threshold:.3f}{rate}", LABEL_WIDTH))
    axes.axvline(threshold, color=INK, linewidth=1.4, linestyle=(0, (4, 2)), label=text)


def short_numbers(count: float) -> str:
    """A short form of a count: 950, 13 thousand, 14.6 million."""
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if count >= 10 * size or (count >= size > 1e3):
            return f"{float(f'{count / size:.3g}'):g} {word}"
    return f"{count:,.0f}"
