"""A map of embeddings made of the images themselves."""

from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from matplotlib.figure import Figure
from PIL import Image

from lookalike.plots.places import NAMES, Method, placed
from lookalike.plots.points import heading
from lookalike.plots.sheets import as_figure
from lookalike.plots.tsne import FEW, choose_images, mosaic

Pictures = Callable[[Sequence[int]], list[Image.Image]]


def image_map(
    vectors: np.ndarray,
    labels: np.ndarray,
    pictures: Pictures,
    method: Method = "tsne",
    most: Annotated[int, Ge(4), Le(5000)] = 600,
    side: Annotated[int, Ge(400), Le(8000)] = 2200,
    seed: int = 0,
) -> Figure:
    """Each image at its place, framed in the colour of its class, moved so that none hides another.

    Args:
        vectors: embeddings, [N, D].
        labels: class of each, [N].
        pictures: from row numbers to their images.
        method: what makes the map: tsne, umap or pca.
        most: images shown; of more, whole classes by lot.
        side: pixels of the longer side.
        seed: of the map and the lot.
    """
    rows = choose_images(labels, most, seed)
    names = labels[rows].tolist()
    picture = mosaic(placed(vectors[rows], method, seed), pictures(rows.tolist()), names, side)
    classes = len(set(names))
    shared = "" if classes <= FEW else f" {classes:,} classes share {FEW} colours."
    said = f"{NAMES[method]}, images moved apart so that none hides another. A frame has its class's colour."
    return as_figure(picture, heading(len(rows), len(labels), classes), said + shared)
