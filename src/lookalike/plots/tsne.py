"""A map of embeddings: what the model finds alike lies close together."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from lookalike.machine import cores
from lookalike.plots.drawing import contained, fitted_each, font
from lookalike.plots.labels import distinct
from lookalike.plots.sheets import as_figure
from lookalike.plots.style import CLASSES, INK, PAPER, SERIES

if TYPE_CHECKING:
    from openTSNE import TSNEEmbedding

FEW = len(CLASSES)
WORTH_THREADS = 2000
"""Vectors from which on threads gain more than they cost."""

PART = 50
"""Steps between two looks at how wide the map has become."""

WIDE = 0.7
"""Area of the map a point from which on a tree is faster than a grid."""

ANGLE = 1.0
"""How wide a branch of the tree may look from where it is taken as one point."""


def tsne(vectors: np.ndarray, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """Positions in the plane by t-SNE (van der Maaten & Hinton, 2008), the same for the same seed.

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
        places = TSNEEmbedding(start, likeness, n_jobs=threads, random_state=seed)
        for exaggeration, steps in ((12, 250), *((1, PART) for _ in range(500 // PART))):
            _move(places, exaggeration, steps)
    found = np.asarray(places)
    return found - found.mean(axis=0)


def _move(places: "TSNEEmbedding", exaggeration: float, steps: int) -> None:
    """Move the points so many steps.

    What points far apart do to each other is computed in the way that takes less time. A grid (Linderman et
    al. 2019) takes longer the wider the map is, a tree (van der Maaten 2014) the more points there are.
    """
    wide = np.ptp(np.asarray(places), axis=0).max() ** 2 > WIDE * len(places)
    places.optimize(
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
    places: np.ndarray | None = None,
    side: int = 1800,
    seed: int = 0,
) -> Figure:
    """The map with each image at its place, moved just so far that none hides another.

    Frames have the colour of the class. Up to nine classes are named; of more, several share a colour, those
    whose middles lie close together only where it cannot be helped.

    Args:
        vectors: embeddings, [N, D].
        images: N pictures of any size.
        labels: N class names.
        places: positions [N, 2], computed from `vectors` if not given.
        side: pixels of the longer side at 144 dots an inch.
        seed: see `tsne`.
    """
    places = tsne(vectors, seed) if places is None else places
    picture = mosaic(places, images, labels, side)
    return as_figure(picture)


def mosaic(
    places: np.ndarray, images: Sequence[Image.Image], labels: Sequence[object], side: int = 1800
) -> Image.Image:
    """The picture behind `tsne_thumbnails`."""
    names = sorted({str(label) for label in labels})
    few = len(names) <= FEW
    small = len(names) <= len(SERIES)
    colours = dict(zip(names, SERIES, strict=False)) if small else near_apart(places, labels, names)
    width, height, tile, corners = layout(places, side)
    frame = max(2, min(6, tile // 12))
    top = name_classes(colours, width).height if few else 0
    canvas = Image.new("RGB", (width, height + top), PAPER)
    draw = ImageDraw.Draw(canvas)
    for (x, y), image, label in zip(corners.tolist(), images, labels, strict=True):
        small = contained(image, tile - 2 * frame)
        left, upper = x + (tile - small.width) // 2, y + top + (tile - small.height) // 2
        box = (left - frame, upper - frame, left + small.width + frame - 1, upper + small.height + frame - 1)
        draw.rectangle(box, outline=colours[str(label)], width=frame)
        canvas.paste(small, (left, upper))
    if few:
        canvas.paste(name_classes(colours, width), (0, 0))
    return canvas


def near_apart(places: np.ndarray, labels: Sequence[object], names: Sequence[str]) -> dict[str, str]:
    """A colour for each class that its neighbours on the map do not have."""
    own = np.array([str(label) for label in labels], object)
    medians = np.array([np.median(places[own == name], axis=0) for name in names])
    return {name: colour for name, (colour, _) in zip(names, distinct(medians), strict=True)}


def layout(places: np.ndarray, side: int) -> tuple[int, int, int, np.ndarray]:
    """Size of the picture, side of a tile, and each tile's upper left corner, no two overlapping."""
    low, extent = places.min(axis=0), np.maximum(np.ptp(places, axis=0), 1e-9)
    ratio = np.clip(extent / extent.max(), 0.4, 1)
    tile = int(np.clip(np.sqrt(0.55 * ratio.prod() / len(places)) * side, 12, side / 8))
    inner = ratio * side - tile
    unit = (places - low) / extent
    unit[:, 1] = 1 - unit[:, 1]
    spread = apart(unit * inner, tile + 2)
    spread = np.round(spread - spread.min(axis=0)).astype(int) + 8
    width, height = (spread.max(axis=0) + tile + 8).tolist()
    return width, height, tile, spread


def apart(points: np.ndarray, distance: float, rounds: int = 200) -> np.ndarray:
    """Push points away from each other, a little a round, until squares of side `distance` do not overlap.

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
    """A strip with each class's colour and name, in as many lines as it takes."""
    size = max(18, width // 60)
    letters, step = font(size), round(size * 1.7)
    spots, x, y = [], size, size // 2
    called = fitted_each(list(colours), min(width - 4 * size, 16 * size), letters)
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


def choose_images(labels: np.ndarray, most: int = 1500, seed: int = 0) -> np.ndarray:
    """Rows to show where not all fit: whole classes, chosen by chance, each with at most a fair share.

    A few images of every class would show no groups; all images of some classes do.

    Returns:
        sorted row numbers, at most `most`; all of them if they fit.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    share = max(most // len(counts), 12)
    chosen: list[np.ndarray] = []
    for number in rng.permutation(len(counts)):
        rows = np.flatnonzero(inverse == number)
        chosen.append(rng.permutation(rows)[:share])
        if sum(map(len, chosen)) >= most:
            break
    return np.sort(np.concatenate(chosen)[:most])
