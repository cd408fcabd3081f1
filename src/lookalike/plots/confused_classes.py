"""The most confused pairs of classes, with their two most similar images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from lookalike.metrics.inputs import factorise
from lookalike.plots.knn_vote import nearest_neighbours
from lookalike.plots.sheets import show_framed
from lookalike.plots.style import DIFFERENT, INK, MUTED, TEXT, axes_at, blank_at, paper
from lookalike.plots.text import briefs, headline, percent
from lookalike.wording import count_noun

Pictures = Callable[[Sequence[int]], list[Image.Image]]
ROW = 0.86
PICTURE = 0.72
BAR = 2.1


@dataclass(frozen=True)
class ConfusedClasses:
    """Two classes that are confused.

    Attributes:
        one: a class.
        other: the other class.
        count: images of the two among whose nearest is one of the other class.
        of: images of both.
        rows: the two images, one of each class, that are most alike of those.
        similarity: of these two.
    """

    one: object
    other: object
    count: int
    of: int
    rows: tuple[int, int]
    similarity: float


def find_confused_classes(
    vectors: np.ndarray, labels: np.ndarray, k: int = 1, limit: int = 8
) -> list[ConfusedClasses]:
    """The pairs of classes with most images that have one of the other class among their `k` nearest.

    Of equally many, those with the larger share of their images come first, then the more similar ones.
    """
    rows, scores = nearest_neighbours(vectors, k)
    queries = np.repeat(np.arange(len(rows)), rows.shape[1])
    return confused_by_queries(queries, rows.ravel(), scores.ravel(), labels, limit)


def confused_by_queries(
    queries: np.ndarray, hits: np.ndarray, scores: np.ndarray, labels: np.ndarray, limit: int = 8
) -> list[ConfusedClasses]:
    """The pairs of classes that most queries confuse, in the order of `find_confused_classes`.

    Args:
        queries: a row for each hit, [H].
        hits: the row that it found, [H].
        scores: how alike the two are, [H].
        labels: class of every row.
        limit: pairs returned.
    """
    names, codes = factorise(labels, len(labels))
    wrong = codes[queries] != codes[hits]
    queries, hits, values = queries[wrong], hits[wrong], scores[wrong]
    low, high = (f(codes[queries], codes[hits]) for f in (np.minimum, np.maximum))
    sizes = np.bincount(codes, minlength=len(names))
    pairs, pair_index = np.unique(low * len(names) + high, return_inverse=True)
    pair_queries = np.unique(np.stack([pair_index, queries]), axis=1)[
        0
    ]  # each image counts once in a pair of classes
    counts = np.bincount(pair_queries, minlength=len(pairs))
    first, second = np.divmod(pairs, len(names))
    order = np.lexsort((-values, pair_index))
    best = order[np.searchsorted(pair_index[order], np.arange(len(pairs)))]
    totals = sizes[first] + sizes[second]
    ranked = np.lexsort((pairs, -values[best], -counts / np.maximum(totals, 1), -counts))[:limit]
    confused = []
    for pair in ranked.tolist():
        query, hit = int(queries[best[pair]]), int(hits[best[pair]])
        ends = (query, hit) if codes[query] == first[pair] else (hit, query)
        classes = names[first[pair]], names[second[pair]]
        confused.append(
            ConfusedClasses(*classes, int(counts[pair]), int(totals[pair]), ends, float(values[best[pair]]))
        )
    return confused


def confusable(
    vectors: np.ndarray,
    labels: np.ndarray,
    pictures: Pictures,
    k: Annotated[int, Ge(1), Le(100)] = 1,
    most: Annotated[int, Ge(1), Le(50)] = 8,
) -> Figure:
    """The pairs of classes that are confused most often, each with its two most similar images.

    Args:
        vectors: embeddings, [N, D].
        labels: class of each, [N].
        pictures: from row numbers to their images.
        k: how many nearest neighbours of each image are looked at.
        most: pairs shown.
    """
    confused = find_confused_classes(vectors, labels, k, most)
    title = (
        f"The {count_noun(len(confused), 'most confused pair', 'most confused pairs')} of classes"
        if len(confused) > 1
        else "The confused pair of classes"
        if confused
        else "No classes are confused"
    )
    neighbour_text = "as nearest neighbour" if k == 1 else f"among their {k} nearest"
    called = briefs([name for pair in confused for name in (pair.one, pair.other)], 205)
    explanation = f"Images with one of the other class {neighbour_text}, and the two most similar ones."
    figure = paper(7.6, max(0.1, ROW * len(confused) + 0.1))
    top = figure.get_figheight()
    headline(figure, title, explanation)
    for row, pair in enumerate(confused):
        bottom, largest = top - ROW * (row + 1), max(each.count for each in confused)
        draw_pair(figure, bottom, pair, called[2 * row : 2 * row + 2], pictures(pair.rows), largest)
    return figure


def draw_pair(
    figure: Figure,
    bottom: float,
    pair: ConfusedClasses,
    names: list[str],
    images: list[Image.Image],
    largest: int,
) -> None:
    """One row: two images, two names, and a bar."""
    for column, image in enumerate(images):
        axes = axes_at(figure, 0.15 + column * (PICTURE + 0.08), bottom, PICTURE, PICTURE)
        show_framed(axes, image)
    text = blank_at(figure, 1.8, bottom, 2.9, PICTURE)
    text.text(0, 0.25 * 72 * PICTURE, names[0], fontsize=TEXT, color=INK, va="center")
    text.text(0, 0.55 * 72 * PICTURE, names[1], fontsize=TEXT, color=INK, va="center")
    caption = f"similarity {pair.similarity:.3f}"
    text.text(0, 0.85 * 72 * PICTURE, caption, fontsize=TEXT - 1.5, color=MUTED, va="center")
    bar = blank_at(figure, 4.75, bottom, BAR + 0.6, PICTURE)
    middle, width = 36 * PICTURE, 72 * BAR * 0.5 * pair.count / largest
    bar.add_patch(Rectangle((0, middle - 8), width, 16, color=DIFFERENT, linewidth=0))
    share = f"{pair.count:,} of {pair.of:,} ({percent(pair.count / pair.of, 0)})"
    bar.text(width + 5, middle, share, fontsize=TEXT, color=INK, va="center")
