"""Maps of embeddings with a point for each image: t-SNE, UMAP, PCA."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookalike.plots.labels import Look, distinct_colours, separate_boxes
from lookalike.plots.projection import pca, umap
from lookalike.plots.style import FAINT, INK, MUTED, PAPER, RULE, axes_at, blank_at, name_axes, paper
from lookalike.plots.text import briefs, headline, percent, points_wide
from lookalike.plots.tsne_map import tsne
from lookalike.wording import count_noun

SIDE = 6.2
SMALL = 7.5
IN_A_COLUMN = 30
NAMED_IN_PLACE = 10
"""Up to this many classes are named on the map; more are numbered there and named in the legend."""

FEW = 4
SHORT = 64
"""Points across: more than `FEW` classes whose names are wider have numbers, which hide fewer points."""

CROWD = 500
"""About how many points of a class are used to find its densest part."""

Count = Annotated[int, Ge(1)]


def tsne_points(
    vectors: np.ndarray,
    labels: np.ndarray,
    perplexity: Annotated[float, Gt(1)] = 30.0,
    most: Count = 20000,
    named: Count = 40,
    seed: int = 0,
) -> Figure:
    """A map by t-SNE (van der Maaten and Hinton 2008) with a point for each image, coloured by class.

    Args:
        vectors: embeddings, [N, D].
        labels: class of each, [N].
        perplexity: how many neighbours count, about.
        most: images on the map; of more, so many are drawn by lot.
        named: classes with a colour and a name, the largest ones; the others are grey.
        seed: of the map and the lot.
    """
    rows = sample_rows(len(vectors), most, seed)
    positions = tsne(vectors[rows], seed, perplexity)
    explanation = "t-SNE: nearby images are similar; distances between groups mean little."
    return draw_points(positions, labels[rows], explanation, len(vectors), named, seed)


def umap_points(
    vectors: np.ndarray,
    labels: np.ndarray,
    neighbours: Annotated[int, Ge(2)] = 15,
    min_dist: Annotated[float, Ge(0)] = 0.1,
    most: Count = 100000,
    named: Count = 40,
    seed: int = 0,
) -> Figure:
    """A map by UMAP (McInnes, Healy and Melville 2018); see `projection.umap` and `tsne_points`."""
    rows = sample_rows(len(vectors), most, seed)
    positions = umap(vectors[rows], neighbours, min_dist, seed)
    explanation = "UMAP: nearby images are similar; distances between groups mean little."
    return draw_points(positions, labels[rows], explanation, len(vectors), named, seed)


def pca_points(
    vectors: np.ndarray, labels: np.ndarray, most: Count = 100000, named: Count = 40, seed: int = 0
) -> Figure:
    """A map of the first two principal components; see `tsne_points`."""
    rows = sample_rows(len(vectors), most, seed)
    positions, shares = pca(vectors[rows])
    explanation = (
        f"PCA: the first two of {vectors.shape[1]} components, with {percent(shares.sum(), 0)} of the "
        f"variance."
    )
    axes = [
        f"{ordinal} component: {percent(share)} of the variance"
        for ordinal, share in zip(("1st", "2nd"), shares, strict=True)
    ]
    return draw_points(positions, labels[rows], explanation, len(vectors), named, seed, axes)


def sample_rows(count: int, limit: int, seed: int) -> np.ndarray:
    """Row numbers, ascending: all, or `limit` of them."""
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def draw_points(
    positions: np.ndarray,
    labels: np.ndarray,
    explanation: str = "",
    of: int | None = None,
    named: int = 40,
    seed: int = 0,
    axes_names: Sequence[str] = (),
) -> Figure:
    """A point for each image, with a label among the points of each class and a legend.

    Args:
        positions: [N, 2].
        labels: class of each, [N].
        explanation: a sentence on how the map was made.
        of: how many images there are, where not all are shown.
        named: how many classes get a colour, the largest first, equally large ones by lot.
        seed: of that lot.
        axes_names: what the axes mean, where they mean anything.
    """
    names, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    lot = np.random.default_rng(seed).permutation(len(names))
    named_classes = np.sort(np.lexsort((lot, -counts))[:named])
    anchors = np.array([anchor(positions[codes == code]) for code in named_classes])
    looks = distinct_colours(anchors)
    called = briefs(names[named_classes].tolist(), 170, SMALL + 0.5)
    entries = [f"{name} ({counts[code]:,})" for name, code in zip(called, named_classes, strict=True)]
    in_place = briefs(names[named_classes].tolist(), 96, SMALL, bold=True, lines=2)
    numbered = len(named_classes) > NAMED_IN_PLACE or (
        len(named_classes) > FEW and max(points_wide(name, SMALL, bold=True) for name in in_place) > SHORT
    )
    marks = [str(number) if numbered else name for number, name in enumerate(in_place, 1)]
    deep = column_height(len(entries))
    columns = column_widths(entries, numbered, deep)
    size = map_size(positions)
    left, bottom = (0.55, 0.5) if axes_names else (0.15, 0.15)
    legend_height = (deep + (2 if len(names) > len(named_classes) else 1)) * LINE / 72
    figure = paper(left + size[0] + 0.2 + sum(columns) / 72, max(size[1], legend_height) + bottom)
    top = figure.get_figheight()
    headline(figure, heading(len(positions), of, len(names)), explanation)
    axes = axes_at(figure, left, top - size[1], *size)
    frame_map(axes, positions, axes_names)
    scatter(axes, positions, codes, named_classes, looks)
    mark_classes(axes, anchors, marks, looks, size)
    legend = blank_at(figure, left + size[0] + 0.2, top - legend_height, sum(columns) / 72, legend_height)
    rest = int(counts.sum() - counts[named_classes].sum()), len(names) - len(named_classes)
    explain_symbols(legend, entries, looks, columns, deep, numbered, rest)
    return figure


def anchor(positions: np.ndarray) -> np.ndarray:
    """The densest point of a class: the one closest to the nearest half of it, never between two clusters."""
    some = positions[:: -(-len(positions) // CROWD)]
    gaps = np.linalg.norm(some[:, None] - some[None], axis=2)
    half = max(2, -(-len(some) // 2))
    return some[np.sort(gaps, axis=1)[:, :half].mean(axis=1).argmin()]


def heading(num_shown: int, of: int | None, classes: int) -> str:
    """The number of images and classes shown."""
    among = f" of {of:,}" if of is not None and of > num_shown else ""
    images = count_noun(num_shown, "image") if not among else f"{num_shown:,}{among} images"
    return f"{images} of {count_noun(classes, 'class', 'classes')}"


def map_size(positions: np.ndarray) -> tuple[float, float]:
    """Width and height in inches: the aspect ratio of the points, within limits."""
    extent = np.maximum(np.ptp(positions, axis=0), 1e-9)
    width, height = SIDE * np.clip(extent / extent.max(), 0.6, 1)
    return float(width), float(height)


def frame_map(axes: Axes, positions: np.ndarray, names: Sequence[str]) -> None:
    """Axis limits around all points, a faint frame, and axis labels where the axes have a meaning."""
    low, extent = positions.min(axis=0), np.maximum(np.ptp(positions, axis=0), 1e-9)
    for limit, start, width in zip((axes.set_xlim, axes.set_ylim), low, extent, strict=True):
        limit(start - 0.04 * width, start + 1.04 * width)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(RULE)
    if names:
        name_axes(axes, *names)


def scatter(
    axes: Axes, positions: np.ndarray, codes: np.ndarray, named_classes: np.ndarray, looks: list[Look]
) -> None:
    """Points of the other classes in grey, then the named ones."""
    area = float(np.clip(9000 / len(positions), 5, 34))
    style = {"linewidths": 0.4 if len(positions) < 4000 else 0, "rasterized": len(positions) > 4000}
    others = ~np.isin(codes, named_classes)
    faint, area = 0.7 * area, max(area, 14.0) if others.any() else area
    axes.scatter(*positions[others].T, s=faint, color=FAINT, **style)
    for code, (colour, marker) in zip(named_classes, looks, strict=True):
        axes.scatter(
            *positions[codes == code].T,
            s=area,
            color=colour,
            marker=marker,
            edgecolors=PAPER,
            alpha=0.9,
            **style,
        )


def mark_classes(
    axes: Axes, anchors: np.ndarray, marks: list[str], looks: list[Look], size: tuple[float, float]
) -> None:
    """A label at each anchor, moved so that none overlap, with a line back to the anchor."""
    low, high = (np.array([axes.get_xlim()[end], axes.get_ylim()[end]]) for end in (0, 1))
    scale = 72 * np.array(size) / (high - low)
    target_positions = (anchors - low) * scale
    boxes = np.array(
        [
            [points_wide(mark, SMALL, bold=True) + 7, SMALL * (1 + 1.3 * mark.count("\n")) + 5]
            for mark in marks
        ]
    )
    label_positions = separate_boxes(target_positions, boxes, (72 * size[0], 72 * size[1]), gap=3)
    for text, start, position, (colour, _) in zip(
        marks, target_positions, label_positions, looks, strict=True
    ):
        label_at, back = low + position / scale, low + start / scale
        if np.abs(start - position).max() > 9:
            axes.plot(*np.stack([back, label_at]).T, color=colour, linewidth=0.8, zorder=4)
        axes.text(
            label_at[0],
            label_at[1],
            text,
            ha="center",
            va="center" if "\n" in text else "center_baseline",
            fontsize=SMALL,
            fontweight="bold",
            color=INK,
            zorder=5,
            bbox={"boxstyle": "round,pad=0.25", "facecolor": PAPER, "edgecolor": colour, "alpha": 0.9},
        )


LINE = 1.75 * SMALL


def column_height(entries: int) -> int:
    """Number of lines per legend column: equal for all columns, and limited."""
    return -(-entries // -(-entries // IN_A_COLUMN))


def column_widths(entries: list[str], numbered: bool, deep: int) -> list[float]:
    """Width of each legend column, in points."""
    parts = [entries[start : start + deep] for start in range(0, len(entries), deep)]
    before = 34 if numbered else 18
    widths = [before + 12 + max(points_wide(entry, SMALL + 0.5) for entry in part) for part in parts]
    return [max(widths[0], 150.0), *widths[1:]]


def explain_symbols(
    axes: Axes,
    entries: list[str],
    looks: list[Look],
    columns: list[float],
    deep: int,
    numbered: bool,
    others: tuple[int, int],
) -> None:
    """The legend: marker, number and name of each class, and the meaning of grey."""
    for index, (entry, (colour, marker)) in enumerate(zip(entries, looks, strict=True)):
        column, line = divmod(index, deep)
        x, y = sum(columns[:column]) + 6, (line + 0.5) * LINE
        axes.scatter(x, y, s=28, color=colour, marker=marker, linewidths=0)
        style = {"va": "center_baseline", "fontsize": SMALL + 0.5, "color": INK}
        if numbered:
            axes.text(x + 22, y, str(index + 1), ha="right", fontweight="bold", **style)
        axes.text(x + (28 if numbered else 12), y, entry, **style)
    images, classes = others
    if classes:
        y = (deep + 1) * LINE
        axes.scatter(6, y, s=22, color=FAINT, linewidths=0)
        words = f"{count_noun(classes, 'more class', 'more classes')} ({images:,})"
        axes.text(18, y, words, va="center_baseline", fontsize=SMALL + 0.5, color=MUTED)
