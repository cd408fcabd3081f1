"""Metrics of several models of one dataset, such as those of the epochs of a run, in their order."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lookalike.metrics.records import BEFORE, direction_of, is_share, sign_of
from lookalike.plots.letters import is_legible
from lookalike.plots.style import DIFFERENT, MUTED, SAME, TEXT, bare, name_axes, new_figure
from lookalike.plots.text import briefs, headline

Values = Mapping[str, Mapping[str, Mapping[str, float]]]
MOST_PANELS, COLUMNS = 12, 3
NOT_SHOWN = (BEFORE, "positive_", "negative_")
NAME = 70
"""Points that the name of a model has below the axis."""


def over_models(models: Values) -> Figure:
    """A panel for each metric with a better direction: its value over the models, with the interval.

    Args:
        models: name to metric to `value`, and `low` and `high` where there is an interval. Where all names
            are numbers, they are epochs.

    Raises:
        ValueError: no metric with a better direction is measured for all models.
    """
    metrics = _panel_metrics(models)
    if not metrics:
        raise ValueError("no metric with a direction is available for all models")
    columns = min(COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = new_figure(3.6 * columns, 2.5 * rows + 0.4)
    subject = "epoch" if _are_epochs(models) else "model"
    sure = ", 95 % interval" if any("low" in values[metrics[0]] for values in models.values()) else ""
    headline(figure, f"Each {subject} on the same images{sure}; ring: the best")
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for panel, metric in zip(axes, metrics, strict=False):
        _draw_metric(panel, models, metric)
    for panel in axes[len(metrics) :]:
        panel.set_axis_off()
    return figure


def save_over_models(models: Values, file: Path) -> None:
    """Write the figure as a PNG file."""
    figure = over_models(models)
    with is_legible(figure):
        figure.savefig(file)


def _panel_metrics(models: Values) -> list[str]:
    """One of each kind, such as recall@1 of all recall@k; none twice under two names."""
    first, *others = models.values()
    chosen: dict[str, str] = {}
    curves: list[list[float]] = []
    for metric in first:
        kind = metric.split("@")[0] if not metric.endswith("@r") else metric
        if metric.startswith(NOT_SHOWN) or not sign_of(metric) or kind in chosen:
            continue
        if not all(metric in values for values in others):
            continue
        curve = [values[metric]["value"] for values in models.values()]
        if curve not in curves:
            chosen[kind] = metric
            curves.append(curve)
    return list(chosen.values())[:MOST_PANELS]


def _are_epochs(models: Values) -> bool:
    return all(name.isdigit() for name in models)


def _draw_metric(axes: Axes, models: Values, metric: str) -> None:
    is_epochs = _are_epochs(models)
    across = [int(name) for name in models] if is_epochs else list(range(len(models)))
    entries = [values[metric] for values in models.values()]
    heights = np.array([entry["value"] for entry in entries])
    lower = ", lower is better" if direction_of(metric) == "lower" else ""
    bare(axes, f"{metric}{lower}")
    if all("low" in entry for entry in entries):
        low, high = ([entry[end] for entry in entries] for end in ("low", "high"))
        if is_epochs:
            axes.fill_between(across, low, high, color=SAME, alpha=0.15, linewidth=0)
        else:
            axes.vlines(across, low, high, color=MUTED, linewidth=1.2)
    style = {"marker": "o", "markersize": 3.5, "color": SAME, "linewidth": 1.8}
    axes.plot(across, heights, linestyle="-" if is_epochs else "none", **style)
    best = int(np.argmax(sign_of(metric) * heights))
    ring = {"markerfacecolor": "none", "markeredgecolor": DIFFERENT, "markeredgewidth": 2}
    axes.plot([across[best]], [heights[best]], "o", markersize=9, zorder=5, **ring)
    if is_share(metric):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    if is_epochs:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        name_axes(axes, "epoch")
    else:
        axes.set_xlim(-0.5, len(models) - 0.5)
        axes.set_xticks(across, briefs(list(models), NAME), fontsize=TEXT - 1)
        for label in axes.get_xticklabels() if len(models) > 3 else []:
            label.set(rotation=30, ha="right", rotation_mode="anchor")
