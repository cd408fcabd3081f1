"""The HTML page of a comparison: verdict, numbers, and queries on which the best two differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lookalike.data.thumbnails import Thumbnails
from lookalike.plots.intervals import interval_bars
from lookalike.report.compare_table import (
    Comparison,
    basis_sentence,
    conclusion,
    format_difference,
    value_text,
    verdict,
)
from lookalike.report.disagreements import Disagreements, find_disagreements
from lookalike.report.numbers import number
from lookalike.report.pictures import svg
from lookalike.report.template import fill_template, write_page

NARROW = 4.4
"""Width in inches of a chart at the width of a phone, to keep its text size."""


def write_compare_page(comparison: Comparison, out: Path) -> None:
    """Write the page as one self-contained file.

    Raises:
        LookalikeError: the page would be larger than 15 MB.
    """
    first, second = comparison.evaluations[:2]
    of_queries = [
        name for name in comparison.metrics if comparison.tables and name in comparison.tables[0].columns
    ]
    agreed = None
    if of_queries:
        rows = (comparison.tables[0]["row"], comparison.tables[1]["row"])
        agreed = find_disagreements((first, second), rows, of_queries[0])
    pictures = [
        Thumbnails(evaluation.embeddings.table) for evaluation in (first, second) if evaluation.embeddings
    ]
    for index, evaluation in enumerate(pictures if agreed else []):
        evaluation.load(rows_on_page(agreed, index))
    values = {
        "title": " and ".join(comparison.names)
        if len(comparison.names) == 2
        else f"{len(comparison.names)} runs",
        "conclusion": conclusion(comparison),
        "metrics": [number(metric, {}).name for metric in comparison.metrics],
        "measure": number((of_queries or comparison.metrics)[0], {}).name,
        "rows": [table_row(comparison, index) for index in range(len(comparison.names))],
        "basis": basis_sentence(comparison),
        "charts": draw_charts(comparison),
        "names": comparison.names[:2],
        "agreed": agreed,
        "pictures": pictures,
        "problems": sorted(
            {problem.path for evaluation in pictures for problem in evaluation.problems.values()}
        ),
    }
    write_page(out, fill_template("compare.html.j2", values), "compare fewer runs at once")


def table_row(comparison: Comparison, index: int) -> dict[str, Any]:
    """One run's line of the table."""
    first = comparison.metrics[0]
    test = comparison.test_against(first, index)
    return {
        "name": comparison.names[index],
        "cells": [value_text(comparison.values[metric][index]) for metric in comparison.metrics],
        "said": "" if test is None else f"{verdict(comparison, first, index)}: {format_difference(test)}",
    }


def draw_charts(comparison: Comparison) -> list[Markup]:
    """A bar chart with intervals for each metric."""
    figures = []
    for index, metric in enumerate(comparison.metrics):
        values = comparison.values[metric]
        figure = interval_bars(comparison.names, values, metric, comparison.leaders(metric), width=NARROW)
        words = ", ".join(
            f"{name} {value_text(value)}" for name, value in zip(comparison.names, values, strict=True)
        )
        figures.append(svg(figure, f"chart{'abcdefghijklmnopqrstuvwxyz'[index % 26]}", f"{metric}: {words}"))
    return figures


def rows_on_page(agreed: Disagreements | None, index: int) -> Sequence[int]:
    """The rows of one evaluation whose pictures are on the page."""
    if agreed is None:
        return []
    queries = [pair[index] for examples in agreed.shown for pair in examples]
    return sorted({row for query in queries for row in (query.row, *(hit.row for hit in query.hits))})
