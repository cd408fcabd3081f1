"""The job `compare`: a table and a chart of evaluations, and which differences are significant."""

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
    """Print the table and the verdict; with `out`, also write them."""
    from lookalike.files import refuse_existing
    from lookalike.report.compare_folder import save_comparison
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
        save_comparison(comparison, config.out, {"job": "compare", **config.model_dump(mode="json")})
    return config.out


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
