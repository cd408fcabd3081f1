"""The folder of a comparison: tables, charts, a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lookalike.files import new_folder, write_text
from lookalike.plots.intervals import interval_bars
from lookalike.plots.letters import is_legible
from lookalike.report.compare_page import write_compare_page
from lookalike.report.compare_table import Comparison, as_frame, as_markdown, pairs_frame


def save_comparison(
    comparison: Comparison, folder: str | Path, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write compare.csv, pairs.csv, compare.md, compare.html, charts, and config.yaml.

    Args:
        comparison: what `lookalike.compare` returns.
        folder: must not exist.
        metadata: what made it, for config.yaml.

    Raises:
        LookalikeError: `folder` exists.
    """
    values = dict(metadata or {"made_by": "lookalike.report.compare_folder.save_comparison"})
    with new_folder(folder) as temporary:
        as_frame(comparison).write_csv(temporary / "compare.csv")
        pairs_frame(comparison).write_csv(temporary / "pairs.csv")
        write_text(temporary / "config.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
        remark = (
            f"blue: no other one is better ({100 * comparison.level:g} %, {comparison.identities} identities)"
        )
        pictures = []
        for metric in comparison.metrics:
            name = f"{metric.replace('@', '_at_')}.png"
            chart = interval_bars(
                comparison.names, comparison.values[metric], metric, comparison.leaders(metric), remark
            )
            with is_legible(chart):
                chart.savefig(temporary / name)
            pictures.append(f"![{metric} with intervals]({name})")
        write_text(temporary / "compare.md", as_markdown(comparison) + "\n" + "\n\n".join(pictures) + "\n")
        write_compare_page(comparison, temporary / "compare.html")
