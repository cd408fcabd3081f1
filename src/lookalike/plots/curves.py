"""Curves of a training run: loss, learning rates, validation metrics."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from lookalike.plots.style import (
    DASHES,
    DIFFERENT,
    INK,
    MUTED,
    SERIES,
    TEXT,
    bare,
    explain_lines,
    name_axes,
    new_figure,
)

Panel = Callable[[Axes], None]


def curves(history: pl.DataFrame, best_metric: str = "map@r", best_epoch: int | None = None) -> Figure:
    """Every curve that the history has data for, side by side.

    Args:
        history: one row an epoch, with columns as in history.csv: epoch, loss, loss_<term>, lr_<group>,
            val_<metric>.
        best_metric: the validation metric that chose the model.
        best_epoch: the epoch that was kept; found from `best_metric` if not given.

    Raises:
        ValueError: the history has no epochs.
    """
    found = panels(history, best_metric, best_epoch)
    figure = new_figure(4.6 * len(found), 3.2)
    for axes, draw in zip(np.ravel(figure.subplots(1, len(found))), found.values(), strict=True):
        draw(axes)
    return figure


def single_curves(
    history: pl.DataFrame, best_metric: str = "map@r", best_epoch: int | None = None
) -> dict[str, Figure]:
    """The same curves, one figure each, by name: loss, validation, rates."""
    figures = {}
    for name, draw in panels(history, best_metric, best_epoch).items():
        figures[name] = new_figure(3.9, 2.9)
        draw(figures[name].subplots())
    return figures


def panels(history: pl.DataFrame, best_metric: str, best_epoch: int | None) -> dict[str, Panel]:
    """What can be drawn from this history, by name."""
    if history.is_empty() or "epoch" not in history.columns:
        raise ValueError("history: there is no epoch to draw")
    epochs = history["epoch"].to_numpy()
    losses, rates, scores = (series(history, prefix) for prefix in ("loss", "lr", "val"))
    if best_epoch is None:
        best_epoch = best_of(epochs, scores.get(best_metric))
    drawn: dict[str, Panel] = {}
    if losses:
        drawn["loss"] = lambda axes: draw_losses(axes, epochs, losses)
    if scores:
        drawn["validation"] = lambda axes: draw_scores(axes, epochs, scores, best_metric, best_epoch)
    if rates:
        drawn["rates"] = lambda axes: draw_rates(axes, epochs, rates)
    if not drawn:
        raise ValueError(f"history: no loss, lr_ or val_ column in {', '.join(history.columns)}")
    return drawn


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


def best_of(epochs: np.ndarray, values: np.ndarray | None) -> int | None:
    """The first epoch with the highest value; None without one."""
    if values is None or not np.isfinite(values).any():
        return None
    return int(epochs[np.nanargmax(np.where(np.isfinite(values), values, np.nan))])


def draw_losses(axes: Axes, epochs: np.ndarray, losses: dict[str, np.ndarray]) -> None:
    """The loss, and the terms it is the sum of."""
    bare(axes, "Training loss")
    for place, (name, values) in enumerate(losses.items()):
        whole = name == "loss"
        style = (
            {"color": INK, "linewidth": 2} if whole else {"color": SERIES[(place - 1) % 6], "linewidth": 1.4}
        )
        line(axes, epochs, values, "sum" if whole else name, DASHES[place % 6], **style)
    finish(axes, epochs, losses)


def draw_rates(axes: Axes, epochs: np.ndarray, rates: dict[str, np.ndarray]) -> None:
    """Learning rates, on a log axis where all are above zero."""
    bare(axes, "Learning rate")
    for place, (name, values) in enumerate(rates.items()):
        line(axes, epochs, values, name, DASHES[place % 6], color=SERIES[place % 6], linewidth=1.8)
    known = [value for values in rates.values() for value in values if math.isfinite(value)]
    if known and min(known) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(known) / min(known) < 50 else (1,)))
        axes.minorticks_off()
    axes.yaxis.set_major_formatter(FuncFormatter(short_rate))
    finish(axes, epochs, rates)


def short_rate(value: float, _: int = 0) -> str:
    """0.01, 0.003, 1e-4."""
    return (
        f"{value:.3g}"
        if value >= 0.001 or value == 0
        else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    )


def draw_scores(
    axes: Axes, epochs: np.ndarray, scores: dict[str, np.ndarray], metric: str, best: int | None
) -> None:
    """Validation metrics, with the chosen epoch marked."""
    bare(axes, "On validation identities")
    for place, (name, values) in enumerate(scores.items()):
        line(axes, epochs, values, name, DASHES[place % 6], color=SERIES[place % 6], linewidth=1.8)
    if all(np.nanmax(np.abs(values), initial=0) <= 1 for values in scores.values()):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    if best is not None:
        mark_best(axes, epochs, scores.get(metric), best)
    finish(axes, epochs, scores)


def mark_best(axes: Axes, epochs: np.ndarray, values: np.ndarray | None, best: int) -> None:
    """A hairline at the epoch that was kept, and a ring on its score."""
    axes.axvline(best, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    late = best > (epochs[0] + epochs[-1]) / 2
    axes.annotate(
        f"kept: epoch {best}",
        (best, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(4 if late else -4, 2),
        textcoords="offset points",
        ha="right" if late else "left",
        va="bottom",
        fontsize=TEXT,
        color=MUTED,
    )
    at = np.flatnonzero(epochs == best)
    if values is not None and len(at) and math.isfinite(values[at[0]]):
        ring = {"markerfacecolor": "none", "markeredgecolor": DIFFERENT, "markeredgewidth": 2}
        axes.plot([best], [values[at[0]]], "o", markersize=9, zorder=5, **ring)


def line(axes: Axes, epochs: np.ndarray, values: np.ndarray, name: str, dashes: Any, **style: Any) -> None:
    """One curve; with few epochs each is a dot too, so that one epoch alone is seen."""
    finite = np.where(np.isfinite(values), values, np.nan)
    marker: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(epochs) <= 12 else {}
    axes.plot(epochs, finite, label=name.replace("$", r"\$"), linestyle=dashes, **marker, **style)


def finish(axes: Axes, epochs: np.ndarray, drawn: dict[str, np.ndarray]) -> None:
    """Whole epochs below, a legend for two lines or more, and a word where no value is a number."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    name_axes(axes, "epoch")
    if not any(np.isfinite(values).any() for values in drawn.values()):
        axes.text(0.5, 0.5, "no value is a number", transform=axes.transAxes, ha="center", color=MUTED)
    elif len(drawn) > 1 or "loss" not in drawn:
        explain_lines(axes, columns=1 if len(drawn) <= 4 else 2, loc="best")
