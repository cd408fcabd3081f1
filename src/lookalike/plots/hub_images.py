"""Hubs: images that are neighbours of very many others, and images that are neighbours of none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from PIL import Image

from lookalike.metrics.inputs import factorise
from lookalike.plots.image_uses import ticks_from_zero
from lookalike.plots.knn_vote import nearest_neighbours
from lookalike.plots.sheets import show_framed
from lookalike.plots.style import DIFFERENT, INK, MUTED, SAME, TEXT, axes_at, bare, blank_at, name_axes, paper
from lookalike.plots.text import briefs, headline
from lookalike.wording import count_noun

Pictures = Callable[[Sequence[int]], list[Image.Image]]
PICTURE = 0.95
STEP = 1.16
DEEP = 1.62


@dataclass(frozen=True, eq=False)
class HitCounts:
    """How often each image is among the nearest neighbours of another (k-occurrence).

    Attributes:
        counts: by how many images each is found, int64 [N].
        wrong: how many of these are of another class, int64 [N].
        k: how many nearest neighbours of each image were looked at.
    """

    counts: np.ndarray
    wrong: np.ndarray
    k: int

    @property
    def skewness(self) -> float:
        """0 where all are found alike; above about 1 there are hubs (Radovanović et al. 2010)."""
        spread = self.counts.std()
        return float((((self.counts - self.counts.mean()) / spread) ** 3).mean()) if spread else 0.0


def count_hits(vectors: np.ndarray, labels: np.ndarray, k: int = 10) -> HitCounts:
    """Count by how many images each image is found among their `k` nearest."""
    _, codes = factorise(labels, len(vectors))
    rows, _ = nearest_neighbours(vectors, k)
    other = codes[rows] != codes[:, None]
    counts, wrong = (np.bincount(rows, minlength=len(codes)) for rows in (rows.ravel(), rows[other]))
    return HitCounts(counts, wrong, rows.shape[1])


def hubs(
    vectors: np.ndarray,
    labels: np.ndarray,
    pictures: Pictures,
    k: Annotated[int, Ge(1), Le(1000)] = 10,
    most: Annotated[int, Ge(1), Le(30)] = 10,
) -> Figure:
    """The distribution of k-occurrences, and the images with the highest.

    Args:
        vectors: embeddings, [N, D].
        labels: class of each, [N].
        pictures: from row numbers to their images.
        k: how many nearest neighbours of each image are looked at.
        most: hubs shown.
    """
    counts = count_hits(vectors, labels, k)
    never = np.count_nonzero(counts.counts == 0)
    order = np.lexsort((np.arange(len(labels)), -counts.counts))[:most]
    across = 5
    lines = -(-len(order) // across)
    figure = paper(3.9 + across * STEP, max(3.0, lines * DEEP) + 0.1)
    top = figure.get_figheight()
    most_found = int(counts.counts.max())
    several = int(np.count_nonzero(counts.counts == most_found))
    subject = "One image is" if several == 1 else f"{count_noun(several, 'image')} are each"
    title = f"{subject} found by {count_noun(most_found, 'other')}, {never:,} of {len(labels):,} by none"
    explanation = (
        f"How often each image is among the {counts.k} nearest of another: {counts.counts.mean():.3g} times "
        "on "
        f"average. Skewness {counts.skewness:.2f}: above about 1 there are hubs."
    )
    headline(figure, title, explanation)
    height = max(3.0, lines * DEEP) - 0.62
    draw_counts(axes_at(figure, 0.72, top - height - 0.06, 2.75, height), counts)
    called = briefs(labels[order].tolist(), 72 * STEP - 8, TEXT - 1.5)
    for index, (row, image) in enumerate(zip(order.tolist(), pictures(order.tolist()), strict=True)):
        line, column = divmod(index, across)
        left, bottom = 3.8 + column * STEP, top - line * DEEP - PICTURE - 0.06
        draw_hub(figure, left, bottom, image, called[index], counts.counts[row], counts.wrong[row])
    return figure


def draw_counts(axes: Axes, hit_counts: HitCounts) -> None:
    """Histogram of k-occurrences on a log axis; images that no query finds are in another colour."""
    bare(axes)
    counts = np.bincount(hit_counts.counts)
    step = max(1, -(-len(counts) // 36))
    cells = np.add.reduceat(counts, np.arange(0, len(counts), step))
    left = np.arange(len(cells)) * step - 0.5
    colours = [DIFFERENT if step == 1 and index == 0 else SAME for index in range(len(cells))]
    axes.bar(left, cells, 0.92 * step, align="edge", color=colours)
    axes.set_yscale("log")
    axes.set(xlim=(-0.5 - 0.02 * len(counts), len(counts) + 0.5), ylim=(0.7, 1.5 * cells.max()))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.minorticks_off()
    axes.set_xticks(ticks_from_zero(*axes.get_xlim()))
    name_axes(axes, "number of images that have it as a neighbour", "images")


def draw_hub(
    figure: Figure, left: float, bottom: float, image: Image.Image, name: str, count: int, wrong: int
) -> None:
    """A hub image, its class, and the number of queries that find it: wrongly, and in total."""
    axes = axes_at(figure, left, bottom, PICTURE, PICTURE)
    show_framed(axes, image)
    words = blank_at(figure, left, bottom - 0.6, STEP, 0.6)
    words.text(0, 9, name, fontsize=TEXT - 1.5, color=INK, va="center")
    words.text(0, 21, f"found by {count:,}", fontsize=TEXT - 1.5, color=INK, va="center")
    words.text(
        0, 33, f"{wrong:,} wrongly", fontsize=TEXT - 1.5, color=DIFFERENT if wrong else MUTED, va="center"
    )
