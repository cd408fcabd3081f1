"""How alike pairs of the same and of different classes are."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lookalike.plots.style import DIFFERENT, INK, SAME, bare, explain_lines, name_axes, new_figure

BARS = 80


def distance_histogram(distances: Mapping[str, Any], far: float | None = None) -> Figure:
    """Histograms of the cosine similarity of same-class and different-class pairs, in shares of each.

    Args:
        distances: `edges` [B + 1], `positive` [B] and `negative` [B] counts, and `threshold` (or None).
        far: the false accept rate at that threshold, to be written beside it.

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
    edges, positive, negative = trimmed(edges, positive, negative)
    draw_share(axes, edges, negative, "different class", DIFFERENT, "////")
    draw_share(axes, edges, positive, "same class", SAME, None)
    name_axes(axes, "cosine similarity (1 = alike)", "share of the pairs")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.02)
    threshold = distances.get("threshold")
    if threshold is not None and math.isfinite(threshold):
        mark_threshold(axes, threshold, far)
    explain_lines(axes, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2)
    return figure


def trimmed(
    edges: np.ndarray, positive: np.ndarray, negative: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part of the axis that holds pairs, in at most `BARS` bars."""
    filled = np.flatnonzero(positive + negative)
    first, last = (filled[0], filled[-1] + 1) if len(filled) else (0, len(positive))
    step = math.ceil((last - first) / BARS)
    cuts = np.arange(first, last, step)
    stop = min(cuts[-1] + step, len(positive))
    joined = [np.add.reduceat(counts[:stop], cuts) for counts in (positive, negative)]
    return np.append(edges[cuts], edges[stop]), joined[0], joined[1]


def draw_share(
    axes: Axes, edges: np.ndarray, counts: np.ndarray, what: str, colour: str, hatch: str | None
) -> None:
    """One filled histogram; hatching tells it from the other where colour does not."""
    total = counts.sum()
    shares = counts / total if total else counts
    name = f"{what} ({in_short(total)} pair{'' if total == 1 else 's'})"
    look: dict[str, Any] = (
        {"facecolor": "none", "hatch": hatch} if hatch else {"facecolor": colour, "alpha": 0.45}
    )
    axes.stairs(shares, edges, fill=True, edgecolor=colour, linewidth=0, label=name, **look)
    axes.stairs(shares, edges, color=colour, linewidth=1.6)


def mark_threshold(axes: Axes, threshold: float, far: float | None) -> None:
    """A line where "same" begins; what it says stands in the legend, where nothing can be in its way."""
    rate = f": {100 * far:.3g} % of different-class pairs lie above" if far is not None else ""
    axes.axvline(
        threshold, color=INK, linewidth=1.4, linestyle=(0, (4, 2)), label=f"threshold {threshold:.3f}{rate}"
    )


def in_short(count: float) -> str:
    """A count in a few characters and a word: 950, 13 thousand, 14.6 million."""
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if count >= 10 * size or (count >= size > 1e3):
            return f"{float(f'{count / size:.3g}'):g} {word}"
    return f"{count:,.0f}"
