"""Curves of a training run: losses, validation metrics, learning rates; stages, if several."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from lookalike.metrics.records import sign_of
from lookalike.plots.style import (
    DASHES,
    DIFFERENT,
    INK,
    MUTED,
    RULE,
    SERIES,
    TEXT,
    bare,
    explain_lines,
    name_axes,
    new_figure,
)
from lookalike.plots.text import briefs

Panel = Callable[[Axes], None]
VALIDATION = "validation"
LINE = 12
"""Line height of small text, in points."""
LEGEND_LINE = 15
NAME = 84
"""Maximum width of a name in a legend, in points."""
FEW = 4
"""Maximum number of curves that are named inside the plot."""


@dataclass(frozen=True)
class Frame:
    """Common parts of all panels.

    Attributes:
        epochs: across.
        stages: name, begin and end of each stage in epochs; empty where there is one only.
        marked: whether one of them says which epoch was kept.
    """

    epochs: np.ndarray
    stages: list[tuple[str, float, float]]
    marked: bool

    def begin(self, axes: Axes, title: str) -> None:
        """Plain axes, with space above for one line of small text each for stages and mark."""
        bare(axes, title, pad=10 + LINE * (bool(self.stages) + self.marked))

    def end(self, axes: Axes, series: dict[str, np.ndarray]) -> None:
        """Integer epochs, stages, a legend from two curves on, and a note where all values are NaN."""
        if len(self.epochs) == 1:
            axes.set(xlim=(self.epochs[0] - 0.5, self.epochs[0] + 0.5), xticks=self.epochs)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        name_axes(axes, "epoch")
        self._name_stages(axes)
        if not any(np.isfinite(values).any() for values in series.values()):
            axes.text(0.5, 0.5, "all values are NaN", transform=axes.transAxes, ha="center", color=MUTED)
        elif len(series) > 1 or "loss" not in series:
            name_lines(axes, len(series))

    def _name_stages(self, axes: Axes) -> None:
        """A thin line at the end of each stage, with the names above the axes."""
        low, high = axes.get_xlim()
        for index, (name, begin, end) in enumerate(self.stages):
            begin, end = max(begin, low), min(end, high)
            roomy = index == 0 and (end - begin) / (high - low) > 0.15
            axes.annotate(
                f"stage {name}" if roomy else name,
                ((begin + end) / 2, 1),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=TEXT - 1,
                color=MUTED,
            )
            if index:
                axes.axvline(begin, color=RULE, linewidth=1.2, zorder=0)


def curves(history: pl.DataFrame, best_metric: str = "map@r", best_epoch: int | None = None) -> Figure:
    """All curves that the history has data for, side by side.

    Args:
        history: one row an epoch, with columns as in history.csv: epoch, stage, loss, loss_<term>, val_loss,
            val_<metric>, lr_<group>.
        best_metric: the validation metric that chose the model.
        best_epoch: the epoch that was kept; found from `best_metric` if not given.

    Raises:
        ValueError: the history has no epochs.
    """
    drawn_panels = panels(history, best_metric, best_epoch)
    figure = new_figure(4.6 * len(drawn_panels), 3.2)
    for axes, draw in zip(
        np.ravel(figure.subplots(1, len(drawn_panels))), drawn_panels.values(), strict=True
    ):
        draw(axes)
    return make_room(figure)


def single_curves(
    history: pl.DataFrame, best_metric: str = "map@r", best_epoch: int | None = None
) -> dict[str, Figure]:
    """The curves as one figure each, by name: loss, validation, rates."""
    figures = {}
    for name, draw in panels(history, best_metric, best_epoch).items():
        figures[name] = new_figure(3.9, 2.9)
        draw(figures[name].subplots())
        make_room(figures[name])
    return figures


def panels(history: pl.DataFrame, best_metric: str, best_epoch: int | None) -> dict[str, Panel]:
    """The panels that this history has data for, by name."""
    if history.is_empty() or "epoch" not in history.columns:
        raise ValueError("history: there are no epochs to draw")
    epochs = history["epoch"].to_numpy()
    losses, rates, scores = (series(history, prefix) for prefix in ("loss", "lr", "val"))
    if "loss" in scores:
        losses[VALIDATION] = scores.pop("loss")
    for name in [name for name in scores if "loss" in name]:  # of one term, or in place of the loss
        losses[f"{VALIDATION} {name.removeprefix('loss_')}"] = scores.pop(name)
    if best_epoch is None:
        chosen = losses.get(VALIDATION) if best_metric == "loss" else scores.get(best_metric)
        best_epoch = best_value(epochs, chosen, best_metric)
    frame = Frame(epochs, stages(history), marked=bool(scores) and best_epoch is not None)
    panels: dict[str, Panel] = {}
    if losses:
        panels["loss"] = lambda axes: draw_losses(axes, frame, losses)
    if scores:
        panels["validation"] = lambda axes: draw_scores(axes, frame, scores, best_metric, best_epoch)
    if rates:
        panels["rates"] = lambda axes: draw_rates(axes, frame, rates)
    if not panels:
        raise ValueError(f"history: no loss, lr_ or val_ column in {', '.join(history.columns)}")
    return panels


def stages(history: pl.DataFrame) -> list[tuple[str, float, float]]:
    """Name, begin and end of each stage, in epochs; none where there is one stage or no such column."""
    if "stage" not in history.columns:
        return []
    parts: list[tuple[str, float, float]] = []
    for epoch, stage in history.select("epoch", "stage").drop_nulls().rows():
        name = f"{stage:g}" if isinstance(stage, int | float) else str(stage)
        if parts and parts[-1][0] == name:
            parts[-1] = (name, parts[-1][1], epoch + 0.5)
        else:
            parts.append((name, epoch - 0.5, epoch + 0.5))
    return parts if len(parts) > 1 else []


def series(history: pl.DataFrame, prefix: str) -> dict[str, np.ndarray]:
    """Columns `prefix` and `prefix_<name>` as floats, by <name> (the bare one by `prefix`); gaps are NaN."""
    names = [name for name in history.columns if name == prefix or name.startswith(f"{prefix}_")]
    return {
        name.removeprefix(f"{prefix}_"): history[name]
        .cast(pl.Float64, strict=False)
        .fill_null(np.nan)
        .to_numpy()
        for name in names
    }


def best_value(epochs: np.ndarray, values: np.ndarray | None, metric: str) -> int | None:
    """The first epoch with the best value of a metric; None without one, or where no value is better."""
    sign = sign_of(metric)
    if not sign or values is None or not np.isfinite(values).any():
        return None
    return int(epochs[np.nanargmax(np.where(np.isfinite(values), sign * values, np.nan))])


def draw_losses(axes: Axes, frame: Frame, losses: dict[str, np.ndarray]) -> None:
    """The loss, its terms, and the loss on the validation identities."""
    both = any(name.startswith(VALIDATION) for name in losses)
    frame.begin(axes, "Loss" if both else "Training loss")
    names = {"loss": "training" if both else "sum"}
    called = briefs([names.get(name, name) for name in losses], NAME)
    for index, (name, values) in enumerate(losses.items()):
        colour = INK if name == "loss" else SERIES[(index - 1) % 6]
        width = 2 if name == "loss" or name.startswith(VALIDATION) else 1.4
        dashes = DASHES[index % 6]
        plot_line(axes, frame.epochs, values, called[index], dashes, color=colour, linewidth=width)
    frame.end(axes, losses)


def draw_rates(axes: Axes, frame: Frame, rates: dict[str, np.ndarray]) -> None:
    """Learning rates, on a log axis where all are above zero."""
    frame.begin(axes, "Learning rate")
    called = briefs(list(rates), NAME)
    for index, (name, values) in enumerate(zip(called, rates.values(), strict=True)):
        plot_line(axes, frame.epochs, values, name, DASHES[index % 6], color=SERIES[index % 6], linewidth=1.8)
    finite = [value for values in rates.values() for value in values if math.isfinite(value)]
    if finite and min(finite) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(finite) / min(finite) < 50 else (1,)))
        axes.minorticks_off()
    axes.yaxis.set_major_formatter(FuncFormatter(short_rate))
    frame.end(axes, rates)


def short_rate(value: float, _: int = 0) -> str:
    """0.01, 0.003, 1e-4."""
    return (
        f"{value:.3g}"
        if value >= 0.001 or value == 0
        else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    )


def draw_scores(
    axes: Axes, frame: Frame, scores: dict[str, np.ndarray], metric: str, best: int | None
) -> None:
    """Validation metrics, with the chosen epoch marked."""
    frame.begin(axes, "On validation identities")
    called = briefs(list(scores), NAME)
    for index, (name, values) in enumerate(zip(called, scores.values(), strict=True)):
        plot_line(axes, frame.epochs, values, name, DASHES[index % 6], color=SERIES[index % 6], linewidth=1.8)
    if all(np.nanmax(np.abs(values), initial=0) <= 1 for values in scores.values()):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    if best is not None:
        mark_best(axes, frame, scores.get(metric), best)
    frame.end(axes, scores)


def mark_best(axes: Axes, frame: Frame, values: np.ndarray | None, best: int) -> None:
    """A thin line at the best epoch, and a ring on its score."""
    epochs = frame.epochs
    axes.axvline(best, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    late = best > (epochs[0] + epochs[-1]) / 2
    axes.annotate(
        f"kept: epoch {best}",
        (best, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(4 if late else -4, 2 + LINE * bool(frame.stages)),
        textcoords="offset points",
        ha="right" if late else "left",
        va="bottom",
        fontsize=TEXT,
        color=MUTED,
    )
    best_index = np.flatnonzero(epochs == best)
    if values is not None and len(best_index) and math.isfinite(values[best_index[0]]):
        ring = {"markerfacecolor": "none", "markeredgecolor": DIFFERENT, "markeredgewidth": 2}
        axes.plot([best], [values[best_index[0]]], "o", markersize=9, zorder=5, **ring)


def name_lines(axes: Axes, count: int) -> None:
    """A legend inside the plot, or below it if it would hide too much."""
    if count <= FEW:
        explain_lines(axes, loc="best")
    else:
        explain_lines(
            axes, 2, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=3.8, columnspacing=1
        )


def make_room(figure: Figure) -> Figure:
    """Increase the height of the figure by the longest legend below a plot."""
    names = [len(legend.get_texts()) for axes in figure.axes if (legend := axes.get_legend())]
    lines = -(-max(names, default=0) // 2) if max(names, default=0) > FEW else 0
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * lines / 72)
    return figure


def plot_line(
    axes: Axes, epochs: np.ndarray, values: np.ndarray, name: str, dashes: Any, **style: Any
) -> None:
    """One curve; with few epochs each is marked, so that a single epoch is visible."""
    finite = np.where(np.isfinite(values), values, np.nan)
    marker: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(epochs) <= 12 else {}
    axes.plot(epochs, finite, label=name, linestyle=dashes, **marker, **style)
