"""The job `compare`: evaluations become one table, a chart, and a verdict that chance cannot explain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from lookalike.report.compare_table import Comparison


class Config(BaseModel):
    """The keys of `lookalike compare`; their defaults are in conf/compare.yaml."""

    runs: list[Path] = Field(
        description="evaluation folders, or run folders that have been evaluated; runs= may be omitted"
    )
    metric: list[str] = Field(
        min_length=1,
        description="metrics to compare by, per query or over all pairs; the table is sorted by the first",
    )
    out: Path | None = Field(description="folder for the table and chart; null only prints them")
    force: bool = Field(description="compare evaluations even if their protocols or queries differ")
    group: bool = Field(description="compare recipes: group runs that differ only in seed= and out=")
    level: Annotated[float, Field(gt=0.5, lt=1)] = Field(description="confidence level of the verdict")
    resamples: Annotated[int, Field(ge=100)] = Field(
        description="number of bootstrap resamples over identities"
    )
    seed: int = Field(ge=0, description="random seed of the bootstrap")


def main(config: Config) -> Path | None:
    """Print the table and the verdict; write them, if asked to."""
    from lookalike.files import refuse_existing
    from lookalike.report.comparing import compare_evaluations

    if config.out is not None:
        refuse_existing(config.out)
    comparison = compare_evaluations(
        config.runs,
        config.metric,
        force=config.force,
        group=config.group,
        resamples=config.resamples,
        level=config.level,
        seed=config.seed,
    )
    _show_comparison(comparison)
    if config.out is not None:
        write_comparison(config.out, comparison, {"job": "compare", **config.model_dump(mode="json")})
    return config.out


def write_comparison(folder: Path, comparison: "Comparison", metadata: dict[str, object]) -> None:
    """A folder with compare.csv, pairs.csv, compare.md, compare.html, charts, and config.yaml.

    Raises:
        LookalikeError: `folder` exists.
    """
    import yaml

    from lookalike.files import new_folder, write_text
    from lookalike.plots.intervals import interval_bars
    from lookalike.plots.letters import is_legible
    from lookalike.report.compare_page import write_compare_page
    from lookalike.report.compare_table import as_frame, as_markdown, pairs_frame

    with new_folder(folder) as temporary:
        as_frame(comparison).write_csv(temporary / "compare.csv")
        pairs_frame(comparison).write_csv(temporary / "pairs.csv")
        write_text(temporary / "config.yaml", yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True))
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


def _show_comparison(comparison: "Comparison") -> None:
    from lookalike.console import print_table
    from lookalike.report.compare_table import (
        basis_sentence,
        conclusion,
        format_difference,
        value_text,
        verdict,
    )

    first = comparison.metrics[0]
    columns = ["run", *(f"{metric} [95 %]" for metric in comparison.metrics), f"against the first ({first})"]
    rows = []
    for index, name in enumerate(comparison.names):
        test = comparison.test_against(first, index)
        verdict_text = (
            "" if test is None else f"{verdict(comparison, first, index)}: {format_difference(test)}"
        )
        rows.append(
            [
                name,
                *(value_text(comparison.values[metric][index]) for metric in comparison.metrics),
                verdict_text,
            ]
        )
    print_table(columns, rows)
    print("\n".join([conclusion(comparison), *basis_sentence(comparison)]))
