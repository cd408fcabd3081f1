"""Bars with intervals: one metric of several evaluations."""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Le
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lookalike.metrics.records import direction_of, is_share
from lookalike.plots.style import DIFFERENT, INK, MUTED, RULE, SAME, TEXT, bare, new_figure
from lookalike.plots.text import MARGIN, briefs, footnote, headline, wrap_text

SHARE = 0.36
"""Share of the figure's width available for names."""


def interval_bars(
    names: Sequence[str],
    values: Sequence[dict[str, float]],
    metric: str,
    leaders: Sequence[int] = (),
    remark: str = "",
    width: Annotated[float, Ge(3), Le(30)] = 7.2,
) -> Figure:
    """One horizontal bar per evaluation, top to bottom, with its interval as a line.

    Args:
        names: of the evaluations.
        values: `value`, and `low` and `high` where there is an interval.
        metric: what they measure, for the title.
        leaders: places of those that nothing beats: drawn in another colour.
        remark: a line below the chart.
        width: inches.
    """
    lines = wrap_text(remark, 72 * width - 2 * MARGIN, TEXT - 1)
    figure = new_figure(width, 0.75 + 0.42 * len(names))
    sure = ", with its 95 % interval" if any("low" in value for value in values) else ""
    lower = "; lower is better" if direction_of(metric) == "lower" else ""
    headline(figure, f"{metric} of each run{sure}{lower}")
    axes = bare(figure.subplots())
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    share = is_share(metric)

    def format_value(value: float) -> str:
        return f"{100 * value:.1f} %" if share else f"{value:.4g}"

    rows = range(len(names))
    heights = [value["value"] for value in values]
    colours = [SAME if row in leaders else "#a9b4bd" for row in rows]
    axes.barh(rows, heights, color=colours, height=0.62, linewidth=0)
    ends = [max(value["value"], value.get("high", value["value"])) for value in values]
    room = 0.012 * max([*ends, 1e-9])
    for row, (value, end) in enumerate(zip(values, ends, strict=True)):
        if "low" in value:
            axes.plot(
                [value["low"], value["high"]], [row, row], color=INK, linewidth=1.6, solid_capstyle="butt"
            )
            for edge in (value["low"], value["high"]):
                axes.plot([edge, edge], [row - 0.14, row + 0.14], color=INK, linewidth=1.6)
        axes.text(end + room, row, format_value(value["value"]), va="center", fontsize=TEXT, color=INK)
    axes.set_yticks(rows, briefs(names, SHARE * 72 * width, lines=2))
    for row, label in enumerate(axes.get_yticklabels()):
        label.set_color(INK if row in leaders else MUTED)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    lowest = min(0.0, *(value.get("low", value["value"]) for value in values))
    axes.set_xlim(lowest, max(max(ends) * 1.13, 1e-3))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6 if width > 5 else 3))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{100 * value:.3g} %" if share else f"{value:.3g}")
    )
    if remark:
        footnote(figure, lines, TEXT - 1, MUTED if leaders else DIFFERENT)
    return figure
