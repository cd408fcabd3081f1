"""The confusion matrix of a nearest-neighbour vote."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookalike.metrics.inputs import factorise
from lookalike.plots.knn_vote import predict_classes
from lookalike.plots.style import INK, MUTED, RIGHT, RULE, WRONG, axes_at, ink_on, paper
from lookalike.plots.text import briefs, headline, percent, points_wide
from lookalike.wording import count_noun

Count = Annotated[int, Ge(1)]
SMALL = 7.5
NAME = 135
"""Maximum width of a class name, in points."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of images by true and predicted class.

    Attributes:
        names: of the classes, sorted, [C].
        counts: true class down, predicted class across, int64 [C, C].
    """

    names: np.ndarray
    counts: np.ndarray

    @classmethod
    def from_predictions(cls, true: np.ndarray, predicted: np.ndarray) -> "Confusion":
        """From the true and the predicted class of each image, [N] each."""
        names, codes = factorise([*true.tolist(), *predicted.tolist()])
        size = len(names)
        cells = np.bincount(codes[: len(true)] * size + codes[len(true) :], minlength=size * size)
        return cls(names, cells.reshape(size, size))

    @property
    def right(self) -> int:
        """Number of images that are predicted correctly."""
        return int(np.trace(self.counts))

    def most_confused(self, limit: int) -> np.ndarray:
        """Positions of the classes with the most confusions; confused classes are adjacent."""
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        rows, columns = np.nonzero(wrong)
        order = np.lexsort((columns, rows, -wrong[rows, columns]))
        selected: list[int] = []
        for row, other in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
            new = [code for code in (row, other) if code not in selected]
            if len(selected) + len(new) > limit:
                break
            if len(new) == 1:
                selected.insert(selected.index(row if new[0] == other else other) + 1, new[0])
            else:
                selected += new
        return np.array(selected, np.int64)


def confusion(
    vectors: np.ndarray,
    labels: np.ndarray,
    reference_vectors: np.ndarray | None = None,
    reference_labels: np.ndarray | None = None,
    k: Count = 5,
    most: Annotated[int, Ge(2)] = 30,
) -> Figure:
    """Count the images of each class by the class that a nearest-neighbour vote predicts.

    Args:
        vectors: embeddings of the images, [N, D].
        labels: class of each, [N].
        reference_vectors: those that vote, [M, D]; the images themselves, each without its own vote, if not
            given.
        reference_labels: their classes, [M].
        k: how many of the nearest vote, each weighted as in the metric knn@k.
        most: classes that are shown; of more, those of the largest confusions.
    """
    matrix = Confusion.from_predictions(
        labels, predict_classes(vectors, labels, reference_vectors, reference_labels, k)
    )
    voters = "other images" if reference_vectors is None else count_noun(len(reference_vectors), "reference")
    vote = "the nearest" if k == 1 else f"a vote of the {k} nearest"
    return draw_confusion(matrix, f"By {vote} of the {voters}.", most)


def draw_confusion(matrix: Confusion, explanation: str = "", limit: int = 30) -> Figure:
    """Correct counts in blue and wrong ones in orange, shaded by their share of the class.

    With more than `limit` classes, those of the largest confusions, and all others in one column.
    """
    size = len(matrix.names)
    images = int(matrix.counts.sum())
    share = matrix.right / max(images, 1)
    title = (
        f"{matrix.right:,} of {count_noun(images, 'image')} ({percent(share)}) assigned to the right class"
    )
    selected = np.arange(size) if size <= limit else matrix.most_confused(limit)
    remark = f"{explanation} Rows are true classes, columns are predicted classes."
    if len(selected) < size:
        remark += f" Of {size:,} classes, the {len(selected)} with the largest confusions are shown."
    if not len(selected):
        figure = paper(6.4, 0.1)
        classes = count_noun(size, "class", "classes")
        headline(figure, title, f"{explanation} None of {classes} is confused with another.")
        return figure
    cells = matrix.counts[np.ix_(selected, selected)]
    names = briefs(matrix.names[selected].tolist(), NAME, SMALL + 1)
    columns = names
    if len(selected) < size:
        rest = matrix.counts[selected].sum(axis=1) - cells.sum(axis=1)
        cells, columns = np.column_stack([cells, rest]), [*names, "all others"]
    return draw_cells(cells, matrix.counts[selected].sum(axis=1), names, columns, title, remark)


def draw_cells(
    cells: np.ndarray, totals: np.ndarray, names: list[str], columns: list[str], title: str, remark: str
) -> Figure:
    """A matrix of counts with class names along both axes."""
    widest = max(points_wide(f"{count:,}", SMALL) for count in cells.ravel()) + 6
    cell = max(0.6 - 0.012 * len(names), widest / 72, 0.25)
    left = (max(points_wide(name, SMALL + 1) for name in names) + 14) / 72
    below = (max(points_wide(name, SMALL + 1) for name in columns) + 14) / 72
    body = cell * cells.shape[1], cell * cells.shape[0]
    figure = paper(max(left + body[0] + 0.15, 4.6), below + body[1] + 0.1)
    headline(figure, title, remark)
    axes = axes_at(figure, left, below, *body)
    draw_matrix(axes, cells, totals)
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=SMALL + 1, color=INK)
    axes.set_yticks(range(len(names)), names, fontsize=SMALL + 1, color=INK)
    axes.tick_params(length=0, pad=4)
    axes.spines[:].set_visible(False)
    return figure


def draw_matrix(axes: Axes, cells: np.ndarray, totals: np.ndarray) -> None:
    """One square per cell; cells with a count of zero are empty."""
    height, width = cells.shape
    share = (cells / np.maximum(totals, 1)[:, None]) ** 0.6
    colours = np.where(np.eye(height, width, dtype=bool)[..., None], RIGHT(share), WRONG(share))[..., :3]
    colours[cells == 0] = 1.0
    axes.imshow(colours, aspect="auto", interpolation="none")
    axes.hlines(np.arange(height + 1) - 0.5, -0.5, width - 0.5, color=RULE, linewidth=0.6, clip_on=False)
    axes.vlines(np.arange(width + 1) - 0.5, -0.5, height - 0.5, color=RULE, linewidth=0.6, clip_on=False)
    for row, column in np.argwhere(cells):
        style = {"ha": "center", "va": "center_baseline", "fontsize": SMALL}
        axes.text(column, row, f"{cells[row, column]:,}", color=ink_on(colours[row, column]), **style)
    if width > height:
        axes.axvline(height - 0.5, color=MUTED, linewidth=1.2)
