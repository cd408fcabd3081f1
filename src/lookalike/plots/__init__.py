"""Plots: data in, a matplotlib `Figure` out. Nothing here touches pyplot or its global state.

The functions below take what the Python API returns: `Embeddings`, an `Evaluation`, a table or a history.
Their names are those of `lookalike plot plot=…`. A notebook shows the figures; `savefig("a.pdf")` saves one.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from matplotlib.figure import Figure
    from PIL import Image

    from lookalike.data.table import Table
    from lookalike.embeddings import Embeddings
    from lookalike.metrics.roc import Roc
    from lookalike.model.embedder import EmbeddingModel

__all__ = [
    "class_sizes",
    "compare",
    "confusable",
    "confusion",
    "curves",
    "det",
    "distances",
    "hubs",
    "mosaic",
    "pca",
    "queries",
    "roc",
    "saliency",
    "similarity",
    "tsne",
    "umap",
    "uses",
]
PIXELS = 256
"""Longer side of an image as it is read for a plot."""


class Evaluated(Protocol):
    """What plots need of an `Evaluation`."""

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Name to `value`, and `low` and `high` where there is an interval."""
        ...

    @property
    def per_query(self) -> "pl.DataFrame":
        """One row per query."""
        ...

    @property
    def distances(self) -> dict[str, Any]:
        """Histogram of similarities."""
        ...

    def roc(self, seed: int = 0) -> "Roc":
        """The ROC curve of the evaluated pairs."""
        ...


def tsne(
    embeddings: "Embeddings",
    *,
    by: str = "label",
    perplexity: float = 30.0,
    most: int = 20000,
    named: int = 40,
    seed: int = 0,
) -> "Figure":
    """A map by t-SNE (van der Maaten and Hinton 2008) with a point for each image, coloured by class.

    Args:
        embeddings: vectors and their table.
        by: column of the table whose values are the classes.
        perplexity: approximate number of neighbours that count.
        most: maximum number of images; of more, a random sample is shown.
        named: number of classes with a colour and a name, the largest ones; the others are grey.
        seed: of the map and the sample.
    """
    from lookalike.embeddings import classes_of
    from lookalike.plots.points import tsne_points

    labels = classes_of(embeddings.table, by)
    return tsne_points(embeddings.vectors, labels, perplexity, most, named, seed)


def umap(
    embeddings: "Embeddings",
    *,
    by: str = "label",
    neighbours: int = 15,
    min_dist: float = 0.1,
    most: int = 100000,
    named: int = 40,
    seed: int = 0,
) -> "Figure":
    """A map by UMAP (McInnes, Healy and Melville 2018); needs `lookalike[explore]`.

    Args:
        embeddings: vectors and their table.
        by: column of the table whose values are the classes.
        neighbours: number of neighbours whose structure is preserved.
        min_dist: minimum distance between points.
        most: maximum number of images; of more, a random sample is shown.
        named: number of classes with a colour and a name, the largest ones; the others are grey.
        seed: of the map and the sample.
    """
    from lookalike.embeddings import classes_of
    from lookalike.plots.points import umap_points

    labels = classes_of(embeddings.table, by)
    return umap_points(embeddings.vectors, labels, neighbours, min_dist, most, named, seed)


def pca(
    embeddings: "Embeddings", *, by: str = "label", most: int = 100000, named: int = 40, seed: int = 0
) -> "Figure":
    """A map of the first two principal components; see `tsne`."""
    from lookalike.embeddings import classes_of
    from lookalike.plots.points import pca_points

    return pca_points(embeddings.vectors, classes_of(embeddings.table, by), most, named, seed)


def mosaic(
    embeddings: "Embeddings",
    *,
    by: str = "label",
    method: Literal["tsne", "umap", "pca"] = "tsne",
    most: int = 600,
    side: int = 2200,
    seed: int = 0,
) -> "Figure":
    """A map made of the images themselves, moved so that none overlap.

    Args:
        embeddings: vectors and their table.
        by: column of the table whose values are the classes.
        method: what makes the map.
        most: maximum number of images; of more, whole classes chosen at random are shown.
        side: pixels of the longer side.
        seed: of the map and the choice.
    """
    from lookalike.embeddings import classes_of
    from lookalike.plots.image_map import image_map

    labels = classes_of(embeddings.table, by)
    return image_map(embeddings.vectors, labels, _pictures(embeddings), method, most, side, seed)


def similarity(
    embeddings: "Embeddings",
    *,
    by: str = "label",
    classes: Sequence[str] | None = None,
    rows: Sequence[int] | None = None,
    num_classes: int = 3,
    per_class: int = 4,
    seed: int = 0,
) -> "Figure":
    """The matrix of cosine distances between some images.

    Args:
        embeddings: vectors and their table.
        by: column of the table whose values are the classes.
        classes: whose images are shown; if not given, `num_classes` chosen at random.
        rows: the images to show, in place of classes.
        num_classes: number of classes chosen at random, of those with the most images up to `per_class`.
        per_class: images of each class, chosen at random.
        seed: of the choices.
    """
    from lookalike.embeddings import classes_of
    from lookalike.plots.distance_matrix import similarity_matrix

    return similarity_matrix(
        embeddings.vectors,
        classes_of(embeddings.table, by),
        _pictures(embeddings),
        None if classes is None else list(classes),
        None if rows is None else list(rows),
        num_classes,
        per_class,
        seed,
    )


def confusion(
    embeddings: "Embeddings",
    reference: "Embeddings | None" = None,
    *,
    by: str = "label",
    k: int = 5,
    most: int = 30,
) -> "Figure":
    """The confusion matrix of a nearest-neighbour vote.

    Args:
        embeddings: vectors and their table.
        reference: whose images vote; the other images themselves if not given.
        by: column of both tables whose values are the classes.
        k: number of neighbours that vote.
        most: maximum number of classes; of more, those of the largest confusions are shown.
    """
    from lookalike.embeddings import classes_of
    from lookalike.plots.confusion_matrix import confusion as draw

    return draw(
        embeddings.vectors,
        classes_of(embeddings.table, by),
        None if reference is None else reference.vectors,
        None if reference is None else classes_of(reference.table, by),
        k,
        most,
    )


def confusable(embeddings: "Embeddings", *, by: str = "label", k: int = 1, most: int = 8) -> "Figure":
    """The pairs of classes that are confused most often, each with its two most similar images.

    Args:
        embeddings: vectors and their table.
        by: column of the table whose values are the classes.
        k: number of nearest neighbours of each image that are looked at.
        most: number of pairs shown.
    """
    from lookalike.embeddings import classes_of
    from lookalike.plots.confused_classes import confusable as draw

    return draw(embeddings.vectors, classes_of(embeddings.table, by), _pictures(embeddings), k, most)


def hubs(embeddings: "Embeddings", *, by: str = "label", k: int = 10, most: int = 10) -> "Figure":
    """The distribution of k-occurrences, and the images with the highest.

    Args:
        embeddings: vectors and their table.
        by: column of the table whose values are the classes.
        k: number of nearest neighbours of each image that are looked at.
        most: number of hubs shown.
    """
    from lookalike.embeddings import classes_of
    from lookalike.plots.hub_images import hubs as draw

    return draw(embeddings.vectors, classes_of(embeddings.table, by), _pictures(embeddings), k, most)


def class_sizes(table: "Table", *, by: str = "label", title: str = "") -> "Figure":
    """The class sizes of a table, and the share of the images in the largest classes."""
    import numpy as np

    from lookalike.embeddings import classes_of
    from lookalike.plots.class_size_chart import class_size_figure

    return class_size_figure(np.unique(classes_of(table, by), return_counts=True)[1], title)


def roc(
    results: Evaluated | Mapping[str, Evaluated], *, rates: Sequence[float] | None = None, seed: int = 0
) -> "Figure":
    """True accept rate over false accept rate, with 95 % intervals by bootstrap over identities.

    Args:
        results: an `Evaluation`, or several of the same images by name.
        rates: false accept rates that are marked; 0.001 and 0.01, where the pairs show them, if not given.
        seed: of the intervals.
    """
    from lookalike.plots.roc_curves import roc as draw

    return draw(_roc_curves(results, seed), None if rates is None else list(rates))


def det(
    results: Evaluated | Mapping[str, Evaluated], *, rates: Sequence[float] | None = None, seed: int = 0
) -> "Figure":
    """False reject rate over false accept rate, both on log axes; arguments as for `roc`."""
    from lookalike.plots.roc_curves import det as draw

    return draw(_roc_curves(results, seed), None if rates is None else list(rates))


def distances(result: Evaluated, *, density: bool = False) -> "Figure":
    """Similarities of pairs of the same class and of different classes, with the threshold.

    Args:
        result: an `Evaluation`.
        density: smooth curves in place of counts.
    """
    from lookalike.plots.similarity_histogram import pair_distances

    return pair_distances(result.distances, result.distances.get("far"), density)


def queries(
    result: Evaluated,
    embeddings: "Embeddings",
    *,
    order: Literal["worst", "best", "closest"] = "worst",
    count: int = 8,
    neighbours: int = 5,
    side: int = 144,
    threshold: float | None = None,
) -> "Figure":
    """Queries with their nearest neighbours, correct ones in blue, wrong ones in orange.

    Args:
        result: an `Evaluation` of these embeddings.
        embeddings: vectors and their table.
        order: the worst or best queries by MAP@R first, or those whose nearest neighbour is closest to the
            threshold.
        count: maximum number of queries.
        neighbours: hits of each, at most as many as the evaluation kept.
        side: pixels of a picture's side.
        threshold: similarity from which on two images are the same; that of the evaluation if not given.
    """
    from lookalike.plots.query_sheet import query_sheet

    limit = result.distances.get("threshold") if threshold is None else threshold
    labels, pictures = embeddings.table.labels, _pictures(embeddings)
    return query_sheet(result.per_query, labels, pictures, limit, order, count, neighbours, side)


def compare(results: Mapping[str, Evaluated], metric: str = "map@r", *, width: float = 7.2) -> "Figure":
    """One metric of several evaluations as bars, with intervals where they have them.

    Args:
        results: evaluations by name.
        metric: such as `recall@1`.
        width: inches.

    Raises:
        ValueError: an evaluation lacks the metric.
    """
    from lookalike.plots.intervals import interval_bars

    lacking = [name for name, result in results.items() if metric not in result.metrics]
    if lacking:
        known = ", ".join(results[lacking[0]].metrics)
        raise ValueError(f"metric {metric!r}: {lacking[0]} does not have it; it has {known}")
    return interval_bars(
        list(results), [result.metrics[metric] for result in results.values()], metric, width=width
    )


def curves(
    history: "pl.DataFrame | str | Path", *, best_metric: str = "map@r", best_epoch: int | None = None
) -> "Figure":
    """Loss, validation metrics and learning rates, epoch by epoch.

    Args:
        history: one row per epoch with columns as in history.csv, or that file.
        best_metric: the validation metric that chose the model.
        best_epoch: the epoch that was kept; the best by `best_metric` if not given.
    """
    import polars as pl

    from lookalike.plots.training_curves import curves as draw

    frame = history if isinstance(history, pl.DataFrame) else pl.read_csv(history)
    return draw(frame, best_metric, best_epoch)


def uses(counts: "Sequence[int] | np.ndarray", *, width: float = 4.6, height: float = 3.2) -> "Figure":
    """How often each image was used in training.

    Args:
        counts: uses of each image, [N].
        width: inches.
        height: inches.
    """
    import numpy as np

    from lookalike.plots.image_uses import uses_histogram

    return uses_histogram(np.asarray(counts), width, height)


def saliency(
    model: "EmbeddingModel",
    photos: "Sequence[str | Path | Image.Image]",
    *,
    window: float = 0.25,
    steps: int = 12,
) -> "Figure":
    """Which parts make two photos similar, by occluding parts of each.

    Args:
        model: in eval mode.
        photos: two images or files.
        window: side of the covered part, as a share of the image's; small ones show details.
        steps: positions of the window along each side; time grows with their square.
    """
    from lookalike.data.images import open_image
    from lookalike.plots.saliency_maps import saliency as draw

    named = [
        (Path(photo).name, open_image(Path(photo), at_least=2 * PIXELS))
        if isinstance(photo, str | Path)
        else (f"photo {number}", photo)
        for number, photo in enumerate(photos, 1)
    ]
    return draw(model, named, window, steps)


def _pictures(embeddings: "Embeddings") -> Any:
    """A function from row numbers to images."""
    from lookalike.data.thumbnails import Thumbnails

    return Thumbnails(embeddings.table, PIXELS).load


def _roc_curves(results: Evaluated | Mapping[str, Evaluated], seed: int) -> "dict[str, Roc]":
    named = results if isinstance(results, Mapping) else {"pairs": results}
    return {name: result.roc(seed) for name, result in named.items()}


def _show_in_notebooks() -> None:
    """Let a notebook show figures inline, which it otherwise does only after pyplot was imported."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is not None:
        shell.display_formatter.formatters["image/png"].for_type_by_name("matplotlib.figure", "Figure", _png)


def _png(figure: Any) -> bytes:
    import io

    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


_show_in_notebooks()
