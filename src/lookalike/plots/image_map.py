"""A map of embeddings made of the images themselves."""

from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from matplotlib.figure import Figure
from PIL import Image

from lookalike.plots.points import heading
from lookalike.plots.projection import NAMES, Method, project
from lookalike.plots.sheets import sheet_figure
from lookalike.plots.tsne_map import choose_images, mosaic, right_neighbours

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
    """Each image at its position, moved so that none overlaps; see `tsne.draw_mosaic` for the frames.

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
    shown, classes = vectors[rows], len(set(names))
    right = right_neighbours(shown, names)
    picture = mosaic(project(shown, method, seed), pictures(rows.tolist()), names, side, right)
    meaning = (
        "the colour of its class"
        if right is None
        else "a colour that shows whether its nearest neighbour is right"
    )
    explanation = f"{NAMES[method]}, images moved apart so that none hides another. Each frame has {meaning}."
    return sheet_figure(picture, heading(len(rows), len(labels), classes), explanation)
