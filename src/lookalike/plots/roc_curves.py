"""ROC and DET curves as steps on log axes, with intervals."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from lookalike.metrics.roc import Roc
from lookalike.plots.style import DASHES, MUTED, RULE, SERIES, bare, explain_lines, name_axes, new_figure
from lookalike.plots.text import briefs, headline
from lookalike.wording import count_noun

Rate = Annotated[float, Gt(0), Lt(1)]
WIDTH, HEIGHT = 6.4, 4.2
NAME = 190
"""Maximum width of a name in the legend, in points."""
MAX_POINTS = 600
NOTHING = 1e-12
"""Where a rate of 0 is drawn on a log axis: far below the visible range."""


def roc(roc_curves: Mapping[str, Roc], at: list[Rate] | None = None) -> Figure:
    """True accept rate over false accept rate on a log axis.

    Bands are 95 % intervals by bootstrap over identities. Source: Fawcett 2006.

    Args:
        roc_curves: by the name of what they are of.
        at: false accept rates that are marked; 0.001 and 0.01, where the pairs show them, if not given.
    """
    figure = roc_figure(roc_curves, at)
    headline(
        figure,
        "ROC: same-class pairs accepted at each false accept rate",
        remark(roc_curves, "auc", "area under the curve"),
    )
    return figure


def roc_figure(
    roc_curves: Mapping[str, Roc], rates: list[Rate] | None = None, width: float = WIDTH
) -> Figure:
    """The curves of `roc` without a heading, `width` inches wide."""
    figure, axes = start_figure(width, ("false accept rate", "true accept rate"))
    names = curve_names(roc_curves, NAME - 72 * (WIDTH - width))
    marked, low = tick_marks(roc_curves, rates), finest_rate(roc_curves)
    for index, (name, curve) in enumerate(roc_curves.items()):
        far, tar = steps(curve, low, marked)
        colour = SERIES[index % len(SERIES)]
        axes.fill_between(*draw_band(curve, far), color=colour, alpha=0.16, linewidth=0, step="post")
        label = f"{names[name]}: AUC {with_interval(curve.areas['auc'], 4)}"
        style = {"linestyle": DASHES[index % 6], "color": colour, "linewidth": 1.8, "label": label}
        axes.plot(far, tar, drawstyle="steps-post", **style)
        axes.plot(marked, curve.interpolate_tar(marked), "o", color=colour, markersize=5, zorder=5)
    axes.set_xscale("log")
    axes.set(xlim=(low, 1), ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    finish_figure(axes, marked)
    return figure


def det(roc_curves: Mapping[str, Roc], at: list[Rate] | None = None) -> Figure:
    """False reject rate over false accept rate, both on log axes; lower is better.

    Source: Martin et al. 1997 (who scale both axes by the normal quantile instead). Arguments as for `roc`.
    """
    figure, axes = start_figure(WIDTH, ("false accept rate", "false reject rate"))
    headline(
        figure,
        "DET: same-class pairs rejected at each false accept rate",
        remark(roc_curves, "eer", "equal error rate (○)"),
    )
    names = curve_names(roc_curves, NAME)
    marked, low = tick_marks(roc_curves, at), finest_rate(roc_curves)
    lowest = min(0.5 / curve.positives for curve in roc_curves.values())
    for index, (name, curve) in enumerate(roc_curves.items()):
        equal = crossing(curve)
        far, tar = steps(curve, low, np.append(marked, equal))
        colour = SERIES[index % len(SERIES)]
        rates, least, most = draw_band(curve, far)
        below, above = (np.maximum(1 - rates, lowest) for rates in (most, least))
        axes.fill_between(rates, below, above, color=colour, alpha=0.16, linewidth=0, step="post")
        label = f"{names[name]}: EER {with_interval(curve.areas['eer'], 2, True)}"
        style = {"linestyle": DASHES[index % 6], "color": colour, "linewidth": 1.8, "label": label}
        axes.plot(far, np.maximum(1 - tar, NOTHING), drawstyle="steps-post", **style)
        missed = 1 - curve.interpolate_tar(marked)
        axes.plot(marked[missed > 0], missed[missed > 0], "o", color=colour, markersize=5, zorder=5)
        ring = {"markerfacecolor": "none", "markeredgecolor": colour, "zorder": 6}
        axes.plot(equal, max(equal, NOTHING), "o", markersize=8, **ring)
    axes.plot([low, 1], [low, 1], color=RULE, linewidth=1, zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlim=(low, 1), ylim=(max(lowest, least_missed(roc_curves) / 1.6), 1.15))
    log_percent(axes.yaxis)
    finish_figure(axes, marked)
    return figure


def start_figure(width: float, names: tuple[str, str]) -> tuple[Figure, Axes]:
    """A figure `width` inches wide with labelled axes."""
    figure = new_figure(width, HEIGHT * width / WIDTH + 0.3 * (width < WIDTH))
    axes = bare(figure.subplots())
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    name_axes(axes, *names)
    return figure, axes


def finish_figure(axes: Axes, marked: np.ndarray) -> None:
    """Log ticks in per cent, a legend above, and thin lines at the marked rates."""
    log_percent(axes.xaxis)
    for rate in marked:
        axes.axvline(rate, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    axes.minorticks_off()
    explain_lines(axes, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2)


def log_percent(axis: object) -> None:
    """Ticks at powers of ten, in per cent; no minor labels."""
    axis.set_major_locator(LogLocator(numticks=12))  # pyrefly: ignore
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{format_plain(100 * value)} %"))  # pyrefly: ignore


def format_plain(value: float) -> str:
    """A number without powers of ten: 0.00001."""
    return np.format_float_positional(float(f"{value:.3g}"), trim="-")


def curve_names(curves: Mapping[str, Roc], width: float) -> dict[str, str]:
    """Legend names of the curves, shortened to the given width."""
    return dict(zip(curves, briefs(list(curves), width), strict=True))


def tick_marks(curves: Mapping[str, Roc], position: list[float] | None) -> np.ndarray:
    """The rates to mark, without those that the pairs cannot resolve."""
    low = finest_rate(curves)
    return np.array([rate for rate in ((0.001, 0.01) if position is None else position) if rate >= low])


def finest_rate(curves: Mapping[str, Roc]) -> float:
    """The finest false accept rate that all curves can resolve."""
    return max(1 / curve.negatives for curve in curves.values())


def least_missed(curves: Mapping[str, Roc]) -> float:
    """The smallest false reject rate above 0."""
    return min((1 - curve.tar[curve.tar < 1]).min(initial=1.0) for curve in curves.values())


def thin_curve(far: np.ndarray, tar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """About `MAX_POINTS` points that look the same on a log axis: the last one of each small step of
    `far`.
    """
    is_shown = far > 0
    far, tar = far[is_shown], tar[is_shown]
    cells = np.round(np.log10(far) * MAX_POINTS / max(-np.log10(far[0]), 1e-9))
    last = np.append(cells[1:] != cells[:-1], True)
    return far[last], tar[last]


def steps(curve: Roc, low: float, marked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the curve from just below the rate `low`, thinned; exact at every marked rate.

    Between two corners the rate of the left one holds: no threshold gives anything between them. So they are
    to be joined by steps (`steps-post`), not by slopes, and a marker at any rate lies on the curve.
    """
    far, _ = thin_curve(curve.far, curve.tar)
    far = np.unique(np.concatenate([[0.99 * low, low], far[far > low], marked[marked >= low], [1.0]]))
    return far, curve.interpolate_tar(far)


def crossing(curve: Roc) -> float:
    """The intersection of the step curve with the diagonal of equal error rates."""
    missed = 1 - curve.tar
    after = int(np.argmax(missed <= curve.far))
    return float(min(missed[after - 1], curve.far[after])) if after else float(missed[0])


def draw_band(curve: Roc, far: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The interval at each of the rates `far`, straight on a log axis between those that were computed.

    At rate 1 all pairs are accepted and both ends are 1. The curve itself is never left out.
    """
    if not len(curve.rates):
        return curve.rates, curve.low, curve.high
    far = far[far >= curve.rates[0]]
    known = np.log(np.append(curve.rates, 1.0))
    low, high = (np.interp(np.log(far), known, np.append(end, 1.0)) for end in (curve.low, curve.high))
    tar = curve.interpolate_tar(far)
    return far, np.minimum(low, tar), np.maximum(high, tar)


def with_interval(value: Mapping[str, float], digits: int, percent: bool = False) -> str:
    """A value, and its interval in brackets where there is one."""
    factor, unit = (100, " %") if percent else (1, "")
    interval = (
        f" [{factor * value['low']:.{digits}f}, {factor * value['high']:.{digits}f}]"
        if "low" in value
        else ""
    )
    return f"{factor * value['value']:.{digits}f}{unit}{interval}"


def remark(curves: Mapping[str, Roc], subject: str, meaning: str) -> str:
    """The number of pairs, and the legend."""
    sizes = {(curve.positives, curve.negatives) for curve in curves.values()}
    text = ""
    if len(sizes) == 1:
        positives, negatives = sizes.pop()
        text = f"{count_noun(positives, 'pair')} of the same class and {negatives:,} of different ones. "
    bands = " Bands: 95 % intervals over identities." if any(len(c.rates) for c in curves.values()) else ""
    return f"{text}{subject.upper()}: {meaning}.{bands}"
