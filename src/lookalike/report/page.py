"""The report page: one HTML file."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from markupsafe import Markup

from lookalike.data.thumbnails import Thumbnails, webp_uri
from lookalike.errors import LookalikeError, Problem
from lookalike.metrics.records import direction_of, limits_of
from lookalike.metrics.roc import Roc
from lookalike.plots.confused_classes import ConfusedClasses
from lookalike.plots.image_uses import uses_histogram
from lookalike.plots.query_selection import ChosenQueries, choose_queries
from lookalike.plots.roc_curves import roc_figure
from lookalike.plots.shortening import shared_start
from lookalike.plots.similarity_histogram import distance_histogram
from lookalike.plots.training_curves import best_value, series, single_curves
from lookalike.plots.tsne_map import choose_images, draw_mosaic, right_neighbours, tsne
from lookalike.report import facts, numbers
from lookalike.report.classes import Hub, confused_classes, find_hubs
from lookalike.report.pictures import svg
from lookalike.report.read import Evaluation, Run
from lookalike.report.template import fill_template, write_page

log = logging.getLogger(__name__)
LISTED = 20
ROC_WIDTH = 4.9
"""Inches: as wide as the histogram beside it, so that both have type of one size."""

SHORT = 12
"""Letters of a label that fit below a picture."""


@dataclass(frozen=True)
class Options:
    """Amounts to show.

    Attributes:
        worst, best: number of queries of each kind.
        neighbours: number of hits per query.
        map_images: maximum number of images on the map; 0 for no map.
        thumbnail: longer side of a picture in pixels.
        seed: of the map, and of the selection of its images.
    """

    worst: int = 8
    best: int = 4
    neighbours: int = 5
    map_images: int = 1500
    thumbnail: int = 128
    seed: int = 0


@dataclass(frozen=True)
class Spot:
    """An image on the map: its position in percent of the map's size, label and file."""

    left: float
    top: float
    label: str
    path: str


@dataclass(frozen=True)
class Map:
    """The map of embeddings.

    Attributes:
        tile: width and height of an image, in percent of those of the map.
        colours: class to the colour of its frames; empty if frames show correctness.
        right: share of images whose nearest neighbour on the map is of their class, if frames show it.
    """

    uri: str
    width: int
    height: int
    images: int
    classes: int
    of: int
    of_classes: int
    tile: tuple[float, float]
    spots: list[Spot]
    colours: dict[str, str]
    right: float | None


def write_report(
    run: Run | None,
    evaluation: Evaluation | None,
    out: Path,
    options: Options | None = None,
    roc: Roc | None = None,
) -> Path:
    """Write the page as one self-contained file.

    Args:
        run: the training run.
        evaluation: its evaluation.
        out: the .html file; one that exists is replaced.
        options: how much to show.
        roc: of the evaluated pairs, where it is to be drawn.

    Raises:
        LookalikeError: there is neither a run nor an evaluation, or the page would be larger than 15 MB.
    """
    page = render(run, evaluation, options or Options(), roc)
    write_page(out, page, "show fewer or smaller pictures (thumbnail=, map_images=)")
    log.info("%s: %.1f MB", out, out.stat().st_size / 1e6)
    return out


def render(run: Run | None, evaluation: Evaluation | None, options: Options, roc: Roc | None) -> str:
    """The page as text."""
    if run is None and evaluation is None:
        raise LookalikeError("report: needs a run or an evaluation")
    embeddings = evaluation.embeddings if evaluation else None
    labels = embeddings.table.labels if embeddings else np.empty(0)
    classes = len(set(labels.tolist()))
    metrics = evaluation.metrics if evaluation else {}
    metric_numbers = numbers.list_numbers(metrics)
    pictures = Thumbnails(embeddings.table, options.thumbnail) if embeddings else None
    selected = query_examples(evaluation, labels, pictures, options)
    drawn_map = draw_map(embeddings.vectors, labels, pictures, options) if embeddings and pictures else None
    values = {
        "title": facts.title(run, evaluation),
        "sentence": facts.summary_sentence(run, evaluation, len(labels), classes),
        "shared_start": start_of(labels),
        "headlines": numbers.headline_numbers(metric_numbers),
        "numbers": metric_numbers,
        "spreads": numbers.distance_spreads(metrics),
        "protocol": metrics.get("protocol"),
        "chosen": selected,
        "measure": numbers.number(selected.measure, {}).name if selected else "",
        "pictures": pictures,
        "confused": load_confused_classes(evaluation, labels, pictures, options),
        "hubs": load_hubs(evaluation, labels, pictures, options),
        "histogram": draw_histogram(evaluation),
        "roc": draw_roc(roc) if roc else None,
        "curves": [*draw_curves(run), *draw_uses(run)],
        "map": drawn_map,
        "facts": facts.fact_lists(run, evaluation, len(labels), classes),
        "configs": list_configs(run, evaluation),
        "promise": facts.promise(run, evaluation),
        "worth_knowing": facts.worth_knowing(run, evaluation),
        "skipped": skipped_images(run, evaluation, pictures),
        "listed": LISTED,
    }
    return fill_template("page.html.j2", values)


def start_of(labels: np.ndarray) -> int:
    """How many characters all labels begin with, where some are too long for their place; else 0."""
    names = sorted({str(label) for label in labels.tolist()})
    return shared_start(names) if max(map(len, names), default=0) > SHORT else 0


def query_examples(
    evaluation: Evaluation | None, labels: np.ndarray, pictures: Thumbnails | None, options: Options
) -> ChosenQueries | None:
    """The queries to show, their pictures loaded."""
    if not evaluation or evaluation.per_query is None or not pictures:
        return None
    selected = choose_queries(evaluation.per_query, labels, options.worst, options.best, options.neighbours)
    if selected:
        sections = {
            row
            for query in selected.worst + selected.best
            for row in (query.row, *(hit.row for hit in query.hits))
        }
        pictures.load(sorted(sections))
    return selected


def load_confused_classes(
    evaluation: Evaluation | None, labels: np.ndarray, pictures: Thumbnails | None, options: Options
) -> list[ConfusedClasses]:
    """The most confused pairs of classes, with their pictures."""
    if not evaluation or evaluation.per_query is None or not pictures:
        return []
    confused = confused_classes(evaluation.per_query, labels, options.worst)
    pictures.load(row for pair in confused for row in pair.rows)
    return confused


def load_hubs(
    evaluation: Evaluation | None, labels: np.ndarray, pictures: Thumbnails | None, options: Options
) -> list[Hub]:
    """The hub images, loaded."""
    if not evaluation or evaluation.per_query is None or not pictures:
        return []
    hubs = find_hubs(evaluation.per_query, labels, options.worst)
    pictures.load(hub.row for hub in hubs)
    return hubs


def draw_roc(roc: Roc) -> Markup:
    """The ROC curve."""
    alt = (
        f"ROC curve with 95 % band: area {roc.areas['auc']['value']:.4f}, equal error rate "
        f"{roc.areas['eer']['value']:.4f}, over {roc.positives:,} same and {roc.negatives:,} different pairs."
    )
    return svg(roc_figure({"ROC": roc}, width=ROC_WIDTH), "roc", alt)


def draw_histogram(evaluation: Evaluation | None) -> Markup | None:
    """The histogram of similarities."""
    if not evaluation or not evaluation.distances:
        return None
    distances = evaluation.distances
    far = distances.get("far", numbers.false_accept_rate(evaluation.metrics))
    totals = [sum(distances[name]) for name in ("positive", "negative")]
    threshold = numbers.format_value(numbers.as_float(distances.get("threshold")), False)
    alt = (
        f"Histogram of the cosine similarity of {totals[0]:,.0f} pairs of the same class and "
        f"{totals[1]:,.0f} of different classes; threshold {threshold}."
    )
    return svg(distance_histogram(distances, far), "pairs", alt)


def draw_curves(run: Run | None) -> list[Markup]:
    """Loss, validation metrics and learning rates, as far as the history has them."""
    if not run or run.history is None:
        return []
    metric = run.summary.get("best_metric") or run.config.get("best_metric") or "map@r"
    try:
        figures = single_curves(run.history, metric, run.summary.get("best_epoch") or None)
    except ValueError as error:
        log.warning("%s", error)
        return []
    return [
        svg(figure, name, describe_history(run, run.history, name, metric))
        for name, figure in figures.items()
    ]


def draw_uses(run: Run | None) -> list[Markup]:
    """The histogram of image uses."""
    if not run or run.uses is None:
        return []
    uses = run.uses.to_numpy()
    alt = (
        f"Histogram of how often each of {facts.count_noun(len(uses), 'training image')} was used: mean "
        f"{uses.mean():.3g}, standard deviation {uses.std():.3g}, {np.count_nonzero(uses == 0):,} never."
    )
    return [svg(uses_histogram(uses, 3.9, 2.9), "uses", alt)]


def describe_history(run: Run, history: pl.DataFrame, name: str, metric: str) -> str:
    """Alternative text of a curve."""
    epochs = facts.count_noun(len(history), "epoch")
    if name == "loss" and "loss" in history.columns:
        first, last = (numbers.as_float(history["loss"][index]) for index in (0, -1))
        if not np.isfinite([first, last]).all():
            return f"Training loss over {epochs}; that of the first or the last is not finite."
        return f"Training loss over {epochs}: from {first:.3g} to {last:.3g}."
    if name == "validation":
        scores = series(history, "val").get(metric)
        best = run.summary.get("best_epoch") or best_value(history["epoch"].to_numpy(), scores, metric)
        lower = direction_of(metric) == "lower"
        top, share = "–", limits_of(metric) == (0.0, 1.0)
        if scores is not None and np.isfinite(scores).any():
            top = numbers.format_value(float(np.nanmin(scores) if lower else np.nanmax(scores)), share)
        extreme = "lowest" if lower else "highest"
        return f"Validation metrics over {epochs}: {metric} is {extreme} at {top}; epoch {best} was kept."
    return f"Learning rates over {epochs}."


def draw_map(vectors: np.ndarray, labels: np.ndarray, pictures: Thumbnails, options: Options) -> Map | None:
    """The t-SNE map, drawn with the images."""
    if len(labels) < 4 or options.map_images < 4:
        return None
    rows = choose_images(labels, options.map_images, options.seed)
    log.info("drawing a map of %d images", len(rows))
    num_classes, named = np.asarray(vectors[rows]), labels[rows].tolist()
    right = right_neighbours(num_classes, named)
    sampled = draw_mosaic(tsne(num_classes, options.seed), pictures.load(rows), named, right=right)
    width, height = sampled.picture.size
    spots = [
        Spot(round(100 * x / width, 3), round(100 * y / height, 3), str(label), str(pictures.path(row)))
        for (x, y), label, row in zip(sampled.corners.tolist(), named, rows.tolist(), strict=True)
    ]
    return Map(
        uri=webp_uri(sampled.picture),
        width=width,
        height=height,
        images=len(rows),
        classes=len(set(named)),
        of=len(labels),
        of_classes=len(set(labels.tolist())),
        tile=(round(100 * sampled.tile / width, 3), round(100 * sampled.tile / height, 3)),
        spots=spots,
        colours=sampled.colours,
        right=None if right is None else float(right.mean()),
    )


def list_configs(run: Run | None, evaluation: Evaluation | None) -> list[tuple[str, str]]:
    """The config files as text."""
    config_list = [
        ("Training", run.config if run else {}),
        ("Evaluation", evaluation.config if evaluation else {}),
    ]
    return [
        (name, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        for name, config in config_list
        if config
    ]


def skipped_images(
    run: Run | None, evaluation: Evaluation | None, pictures: Thumbnails | None
) -> list[tuple[str, list[Problem]]]:
    """Images that were left out, by where that happened."""
    by_source = [
        ("in training", run.skipped if run else []),
        ("in evaluation", evaluation.skipped if evaluation else []),
        ("for this page", list(pictures.problems.values()) if pictures else []),
    ]
    return [(source, problems) for source, problems in by_source if problems]
