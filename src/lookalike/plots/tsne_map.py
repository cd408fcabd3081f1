"""t-SNE map: similar images are close together."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from lookalike.machine import cores
from lookalike.plots.drawing import fit_image, fitted_each, font
from lookalike.plots.knn_vote import nearest_neighbours
from lookalike.plots.sheets import sheet_figure
from lookalike.plots.style import CLASSES, DIFFERENT, FAINT, INK, PAPER, SAME, SERIES

if TYPE_CHECKING:
    from openTSNE import TSNEEmbedding

FEW = len(CLASSES)
NAMED = 48
"""Minimum size of a tile, in pixels, for a legible class name below the image."""

WORTH_THREADS = 2000
"""Number of vectors above which threads are faster."""

PART = 50
"""Steps between two checks of the width of the map."""

WIDE = 0.7
"""Map area per point above which a tree is faster than a grid."""

ANGLE = 1.0
"""Barnes-Hut angle: the apparent width below which a branch of the tree counts as one point."""


def tsne(vectors: np.ndarray, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """Positions by t-SNE (van der Maaten and Hinton 2008), deterministic for a seed.

    Args:
        vectors: embeddings, [N, D], N at least 4.
        seed: of the optimisation.
        perplexity: how many neighbours count, about; fewer where there are few vectors.

    Returns:
        [N, 2], centred.

    Raises:
        ValueError: there are fewer than 4 vectors.
    """
    if len(vectors) < 4:
        raise ValueError(f"tsne: {len(vectors)} vectors; a map needs at least 4")
    from openTSNE import TSNEEmbedding, affinity, initialization

    rng = np.random.default_rng(seed)
    # Identical vectors have no neighbourhood of their own; a grain of noise gives them one.
    vectors = (vectors + rng.normal(scale=1e-6, size=vectors.shape)).astype(np.float64)
    threads = cores() if len(vectors) > WORTH_THREADS else 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        likeness = affinity.PerplexityBasedNN(
            vectors,
            perplexity=min(perplexity, (len(vectors) - 1) / 3),
            method="exact",
            n_jobs=threads,
            random_state=seed,
        )
        start = initialization.pca(vectors, random_state=seed)
        embedding = TSNEEmbedding(start, likeness, n_jobs=threads, random_state=seed)
        for exaggeration, steps in ((12, 250), *((1, PART) for _ in range(500 // PART))):
            _optimise(embedding, exaggeration, steps)
    positions = np.asarray(embedding)
    return positions - positions.mean(axis=0)


def _optimise(embedding: "TSNEEmbedding", exaggeration: float, steps: int) -> None:
    """Run gradient steps.

    What points far apart do to each other is computed in the way that takes less time. A grid (Linderman et
    al. 2019) takes longer the wider the map is, a tree (van der Maaten 2014) the more points there are.
    """
    wide = np.ptp(np.asarray(embedding), axis=0).max() ** 2 > WIDE * len(embedding)
    embedding.optimize(
        steps,
        inplace=True,
        exaggeration=exaggeration,
        momentum=0.8,
        negative_gradient_method="bh" if wide else "fft",
        theta=ANGLE,
    )


def tsne_thumbnails(
    vectors: np.ndarray,
    images: Sequence[Image.Image],
    labels: Sequence[object],
    positions: np.ndarray | None = None,
    side: int = 1800,
    seed: int = 0,
) -> Figure:
    """The map with each image at its position, moved so that none overlap.

    What a frame says stands above the map, see `draw_mosaic`.

    Args:
        vectors: embeddings, [N, D].
        images: N pictures of any size.
        labels: N class names.
        positions: positions [N, 2], computed from `vectors` if not given.
        side: pixels of the longer side at 144 dots an inch.
        seed: see `tsne`.
    """
    positions = tsne(vectors, seed) if positions is None else positions
    picture = mosaic(positions, images, labels, side, right_neighbours(vectors, labels))
    return sheet_figure(picture)


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Images at their positions on a transparent background.

    Attributes:
        picture: RGBA.
        corners: upper left corner of each tile, [N, 2].
        tile: side of a tile, pixels.
        colours: of the frame of each class; empty where there are more classes than colours.
    """

    picture: Image.Image
    corners: np.ndarray
    tile: int
    colours: dict[str, str]


def mosaic(
    positions: np.ndarray,
    images: Sequence[Image.Image],
    labels: Sequence[object],
    side: int = 1800,
    right: np.ndarray | None = None,
) -> Image.Image:
    """The picture behind `tsne_thumbnails`: `draw_mosaic` on paper, with what each frame means above it."""
    rendered = draw_mosaic(positions, images, labels, side, right)
    width, height = rendered.picture.size
    meanings = rendered.colours or ({RIGHT: SAME, WRONG: DIFFERENT} if right is not None else {})
    strip = name_classes(meanings, width) if meanings else None
    top = strip.height if strip else 0
    canvas = Image.new("RGB", (width, height + top), PAPER)
    if strip:
        canvas.paste(strip, (0, 0))
    canvas.paste(rendered.picture, (0, top), rendered.picture)
    return canvas


RIGHT, WRONG = "nearest image is of the same class", "of another class"


def draw_mosaic(
    positions: np.ndarray,
    images: Sequence[Image.Image],
    labels: Sequence[object],
    side: int = 1800,
    right: np.ndarray | None = None,
) -> Mosaic:
    """Each image at its position, moved so that none overlap.

    Up to 20 classes a frame has the colour of its class. Of more classes, colours would say nothing: each
    image has the name of its class below it, where there is room, and the frame says whether its nearest
    neighbour is right.

    Args:
        positions: positions, [N, 2].
        images: N pictures of any size.
        labels: N class names.
        side: pixels of the longer side.
        right: whether the nearest neighbour of each is of its class, [N]; all frames are grey without.
    """
    names = [str(label) for label in labels]
    classes = sorted(set(names))
    few = len(classes) <= FEW
    colours = (
        dict(zip(classes, SERIES if len(classes) <= len(SERIES) else CLASSES, strict=False)) if few else {}
    )
    width, height, tile, corners = layout(positions, side)
    edge = max(2, min(6, tile // 12))
    letters = font(max(9, min(13, tile // 7)))
    line = round(1.25 * letters.size) if not few and tile >= NAMED else 0
    called = fitted_each(names, tile, letters) if line else names
    verdicts = [FAINT] * len(names) if right is None else np.where(right, SAME, DIFFERENT).tolist()
    canvas = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(canvas)
    for (x, y), image, name, message, verdict in zip(
        corners.tolist(), images, names, called, verdicts, strict=True
    ):
        small = fit_image(image, tile - 2 * edge - line)
        left, upper = x + (tile - small.width) // 2, y + (tile - line - small.height) // 2
        box = (left - edge, upper - edge, left + small.width + edge - 1, upper + small.height + edge - 1)
        draw.rectangle(box, fill=colours.get(name, verdict))
        canvas.paste(small, (left, upper))
        if line:
            draw.rectangle((x, y + tile - line, x + tile - 1, y + tile - 1), fill=PAPER)
            across = x + (tile - letters.getlength(message)) / 2
            letters.write(draw, (across, y + tile - line), message, INK)
    return Mosaic(canvas, corners, tile, colours)


def right_neighbours(vectors: np.ndarray, labels: Sequence[object]) -> np.ndarray | None:
    """Whether the nearest other vector is of the same class; None if frames do not show it."""
    names = np.array([str(label) for label in labels], object)
    if len(vectors) < 2 or len(set(names.tolist())) <= FEW:
        return None
    rows, _ = nearest_neighbours(np.asarray(vectors), 1)
    return names[rows[:, 0]] == names


def layout(positions: np.ndarray, side: int) -> tuple[int, int, int, np.ndarray]:
    """Size of the image, side of a tile, and the upper left corners of the tiles, which do not overlap."""
    low, extent = positions.min(axis=0), np.maximum(np.ptp(positions, axis=0), 1e-9)
    ratio = np.clip(extent / extent.max(), 0.4, 1)
    tile = int(np.clip(np.sqrt(0.55 * ratio.prod() / len(positions)) * side, 12, side / 8))
    inner = ratio * side - tile
    unit = (positions - low) / extent
    unit[:, 1] = 1 - unit[:, 1]
    spread = push_apart(unit * inner, tile + 2)
    spread = np.round(spread - spread.min(axis=0)).astype(int) + 8
    width, height = (spread.max(axis=0) + tile + 8).tolist()
    return width, height, tile, spread


def push_apart(points: np.ndarray, distance: float, rounds: int = 200) -> np.ndarray:
    """Push points apart iteratively until squares of side `distance` do not overlap.

    Where they are too crowded for that after `rounds`, all of them spread, too, a little more in each round.
    """
    from scipy.spatial import KDTree

    points = points + np.random.default_rng(0).normal(scale=0.01, size=points.shape)
    while len(pairs := KDTree(points).query_pairs(distance, p=np.inf, output_type="ndarray")):
        gap = points[pairs[:, 0]] - points[pairs[:, 1]]
        axis = np.abs(gap).argmax(axis=1)  # the shorter way out is along the axis where they overlap least
        along = gap[np.arange(len(gap)), axis]
        push = (distance - np.abs(along) + 0.5) * np.where(along < 0, -1, 1) * 0.35
        moves = np.zeros_like(points)
        np.add.at(moves, (pairs[:, 0], axis), push)
        np.add.at(moves, (pairs[:, 1], axis), -push)
        rounds -= 1
        points = (points + np.clip(moves, -distance, distance)) * (1.0 if rounds > 0 else 1.003)
    return points


def name_classes(colours: dict[str, str], width: int) -> Image.Image:
    """A strip with the colour and name of each class, wrapped over several lines."""
    size = max(18, width // 60)
    letters, step = font(size), round(size * 1.7)
    spots, x, y = [], size, size // 2
    called = fitted_each(
        list(colours), min(width - 4 * size, (16 if len(colours) > 2 else 30) * size), letters
    )
    for text, colour in zip(called, colours.values(), strict=True):
        wide = round(2.6 * size + letters.getlength(text))
        if x > size and x + wide > width - size:
            x, y = size, y + step
        spots.append((x, y, text, colour))
        x += wide
    strip = Image.new("RGB", (width, y + 2 * step), PAPER)
    draw = ImageDraw.Draw(strip)
    for x, y, text, colour in spots:
        draw.rectangle((x, y + size // 8, x + size, y + size // 8 + size), fill=colour)
        letters.write(draw, (x + 1.4 * size, y), text, INK)
    return strip


def choose_images(labels: np.ndarray, limit: int = 1500, seed: int = 0) -> np.ndarray:
    """Rows to show where not all fit: whole classes, chosen by chance, each with at most a fair share.

    A few images of every class would show no groups; all images of some classes do.

    Returns:
        sorted row numbers, at most `limit`; all of them if they fit.
    """
    if len(labels) <= limit:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    share = max(limit // len(counts), 12)
    selected: list[np.ndarray] = []
    for number in rng.permutation(len(counts)):
        rows = np.flatnonzero(inverse == number)
        selected.append(rng.permutation(rows)[:share])
        if sum(map(len, selected)) >= limit:
            break
    return np.sort(np.concatenate(selected)[:limit])
