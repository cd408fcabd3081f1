"""A distance matrix of some images, with the images along both axes."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_types import Ge
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from lookalike.metrics.inputs import unit_vectors
from lookalike.plots.drawing import fit_image
from lookalike.plots.labels import distinct_colours
from lookalike.plots.style import INK, NEAR_TO_FAR, PAPER, axes_at, ink_on, paper
from lookalike.plots.text import briefs, headline, points_wide

Pictures = Callable[[Sequence[int]], list[Image.Image]]
MAX_IMAGES = 48
NUM_CLASSES, PER_CLASS = 3, 4
PIXELS = 128
GAP = 0.06


def similarity_matrix(
    vectors: np.ndarray,
    labels: np.ndarray,
    pictures: Pictures,
    classes: list[str] | None = None,
    rows: list[Annotated[int, Ge(0)]] | None = None,
    num_classes: Annotated[int, Ge(1)] = NUM_CLASSES,
    per_class: Annotated[int, Ge(1)] = PER_CLASS,
    seed: int = 0,
) -> Figure:
    """Cosine distances (1 − similarity) between some images: 0 is equal, 1 unrelated, 2 opposite.

    Args:
        vectors: embeddings, [N, D].
        labels: class of each, [N].
        pictures: from row numbers to their images.
        classes: whose images are shown; if not given, `num_classes` by lot.
        rows: the very images to show, in place of classes.
        num_classes: how many classes are drawn by lot, of those with the most images up to `per_class`.
        per_class: images of each class, by lot.
        seed: of the lots.

    Raises:
        ValueError: a class or row that is not there, more images than can be read, or arguments of a lot
            that is not drawn.
    """
    if rows is not None and classes is not None:
        raise ValueError("classes and rows both select images; give one of them")
    if classes is not None and num_classes != NUM_CLASSES:
        raise ValueError(
            f"num_classes={num_classes}: classes= selects the classes, so none are chosen at random"
        )
    if rows is not None and (num_classes, per_class, seed) != (NUM_CLASSES, PER_CLASS, 0):
        raise ValueError("num_classes, per_class and seed choose images at random, but rows= selects them")
    if rows is None:
        rows = choose_rows(labels, classes, num_classes, per_class, seed)
    elif max(rows, default=0) >= len(labels):
        raise ValueError(f"rows: there is no row {max(rows)}, the last one is {len(labels) - 1}")
    if not 2 <= len(rows) <= MAX_IMAGES:
        raise ValueError(
            f"{len(rows)} images: between 2 and {MAX_IMAGES} can be shown; change classes or per_class"
        )
    unit = unit_vectors(vectors[rows]).astype(np.float64)
    return draw_similarity(1 - unit @ unit.T, pictures(rows), labels[rows])


def choose_rows(
    labels: np.ndarray, classes: Sequence[str] | None, num_classes: int, per_class: int, seed: int
) -> list[int]:
    """Rows of some classes, class by class.

    Raises:
        ValueError: a class that is not there.
    """
    rng = np.random.default_rng(seed)
    names, counts = np.unique(labels, return_counts=True)
    by_name = {str(name): name for name in names.tolist()}
    missing = [name for name in classes or () if name not in by_name]
    if missing:
        few = ", ".join(list(by_name)[:10])
        raise ValueError(
            f"classes: there is no class {missing[0]!r}; there are {few}{', …' * (len(names) > 10)}"
        )
    if classes is None:
        lot = rng.permutation(len(names))
        best = np.lexsort((lot, -np.minimum(counts, per_class)))[:num_classes]
        classes = [str(name) for name in names[np.sort(best)].tolist()]
    rows = (rng.permutation(np.flatnonzero(labels == by_name[name]))[:per_class] for name in classes)
    return [int(row) for class_rows in rows for row in np.sort(class_rows)]


def draw_similarity(distances: np.ndarray, images: Sequence[Image.Image], labels: np.ndarray) -> Figure:
    """The matrix; squares of one class are outlined.

    Args:
        distances: [n, n].
        images: n of them.
        labels: n classes; equal ones side by side make a block.
    """
    count = len(images)
    cell = float(np.clip(6.4 / count, 0.36, 0.8))
    runs = class_blocks(labels)
    names = briefs([labels[start] for start, _ in runs], 120, 9, lines=2 if cell * min_run(runs) > 0.4 else 1)
    looks = distinct_colours(np.arange(2 * len({str(name) for name in labels})).reshape(-1, 2))
    colours = dict(zip(dict.fromkeys(map(str, labels)), (colour for colour, _ in looks), strict=True))
    side = cell + GAP
    left = (max(points_wide(name, 9) for name in names) + 16) / 72
    body = cell * count
    figure = paper(left + side + body + 0.85, side + body + 0.12)
    top = figure.get_figheight()
    headline(figure, "Distances between images", remark(distances, labels))
    axes = axes_at(figure, left + side, top - side - body, body, body)
    draw_cells(axes, distances, runs, cell)
    across, down = (
        axes_at(figure, left + side, top - cell, body, cell),
        axes_at(figure, left, top - side - body, cell, body),
    )
    for axes_of_images, vertical in ((across, False), (down, True)):
        line_up_images(axes_of_images, images, [colours[str(label)] for label in labels], vertical)
    for name, (start, stop) in zip(names, runs, strict=True):
        down.text(-0.58, (start + stop) / 2 - 0.5, name, ha="right", va="center", fontsize=9, color=INK)
    draw_scale(axes_at(figure, left + side + body + 0.16, top - side - body, 0.14, body), distances)
    return figure


def remark(distances: np.ndarray, labels: np.ndarray) -> str:
    """A sentence with the mean distance within and between classes."""
    same = labels[:, None] == labels[None]
    pairs = np.triu(np.ones(same.shape, bool), 1)
    words = "Cosine distance, 1 − similarity: blue is near, green is far."
    for mask, subject in ((same & pairs, "of the same class"), (~same & pairs, "of two classes")):
        if mask.any():
            words += f" Mean {subject}: {distances[mask].mean():.2f}."
    return words


def class_blocks(labels: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each run of equal labels."""
    cuts = [0, *(row for row in range(1, len(labels)) if labels[row] != labels[row - 1]), len(labels)]
    return list(pairwise(cuts))


def min_run(runs: list[tuple[int, int]]) -> int:
    """Length of the shortest run."""
    return min(stop - start for start, stop in runs)


def draw_cells(axes: Axes, distances: np.ndarray, runs: list[tuple[int, int]], cell: float) -> None:
    """Colour and value of each cell, and an outline around the within-class blocks."""
    count = len(distances)
    high = top_of(distances)
    axes.imshow(distances, cmap=NEAR_TO_FAR, vmin=0, vmax=high, aspect="auto", interpolation="none")
    axes.set_axis_off()
    size = float(np.clip(16 * cell, 6, 9.5))
    for (row, column), distance in np.ndenumerate(distances):
        colour = NEAR_TO_FAR(max(distance, 0) / high)[:3]
        style = {"ha": "center", "va": "center_baseline", "fontsize": size, "color": ink_on(colour)}
        axes.text(column, row, f"{abs(round(distance, 2)):.2f}", **style)
    for edge in np.arange(0.5, count - 1):
        axes.axhline(edge, color=PAPER, linewidth=0.6)
        axes.axvline(edge, color=PAPER, linewidth=0.6)
    for start, stop in runs:
        box = Rectangle((start - 0.5, start - 0.5), stop - start, stop - start, fill=False)
        box.set(edgecolor=INK, linewidth=1.8, clip_on=False, zorder=5)
        axes.add_patch(box)


def top_of(distances: np.ndarray) -> float:
    """Upper end of the colour scale: the largest distance, rounded up."""
    return float(max(np.ceil(distances.max() * 10 - 1e-9) / 10, 0.1))


def line_up_images(axes: Axes, images: Sequence[Image.Image], colours: Sequence[str], vertical: bool) -> None:
    """The images along an axis, each framed in the colour of its class."""
    axes.set_axis_off()
    count = len(images)
    axes.set(xlim=(-0.5, 0.5) if vertical else (-0.5, count - 0.5))
    axes.set(ylim=(count - 0.5, -0.5) if vertical else (0.5, -0.5))
    for index, (image, colour) in enumerate(zip(images, colours, strict=True)):
        x, y = (0, index) if vertical else (index, 0)
        axes.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, color=colour, linewidth=0))
        picture = fit_in_square(image)
        axes.imshow(np.asarray(picture), extent=(x - 0.4, x + 0.4, y + 0.4, y - 0.4), aspect="auto", zorder=3)


def fit_in_square(image: Image.Image, side: int = PIXELS) -> Image.Image:
    """The whole image, padded to a white square."""
    inner = fit_image(image, side)
    square = Image.new("RGB", (side, side), PAPER)
    square.paste(inner, ((side - inner.width) // 2, (side - inner.height) // 2))
    return square


def draw_scale(axes: Axes, distances: np.ndarray) -> None:
    """The colour bar."""
    high = top_of(distances)
    ramp = np.linspace(0, high, 256)[:, None]
    axes.imshow(ramp, cmap=NEAR_TO_FAR, extent=(0, 1, high, 0), aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([0, high], ["0 near", f"{high:.1f} far"], fontsize=8.5, color=INK)
    axes.yaxis.tick_right()
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)
