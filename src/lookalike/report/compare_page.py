"""The page of a comparison: the verdict, the numbers, and the queries on which the best two differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lookalike.data.thumbnails import Thumbnails
from lookalike.plots.intervals import interval_bars
from lookalike.report.compare_table import basis, conclusion, signed, value_text, verdict
from lookalike.report.comparing import Compared
from lookalike.report.disagreements import Disagreements, disagreements
from lookalike.report.numbers import number
from lookalike.report.pictures import svg
from lookalike.report.template import filled, write_page

NARROW = 4.4
"""Inches of a chart that fills a phone, so that its letters stay as large as those beside it."""


def write_compare_page(found: Compared, out: Path) -> None:
    """Write the page as one file that needs no other.

    Raises:
        LookalikeError: the page would be larger than 15 MB.
    """
    first, second = found.evaluations[:2]
    of_queries = [name for name in found.metrics if found.tables and name in found.tables[0].columns]
    agreed = None
    if of_queries:
        asked = (found.tables[0]["row"], found.tables[1]["row"])
        agreed = disagreements((first, second), asked, of_queries[0])
    pictures = [Thumbnails(each.embeddings.table) for each in (first, second) if each.embeddings]
    for place, each in enumerate(pictures if agreed else []):
        each.load(shown_rows(agreed, place))
    values = {
        "title": " and ".join(found.names) if len(found.names) == 2 else f"{len(found.names)} runs",
        "conclusion": conclusion(found),
        "metrics": [number(metric, {}).name for metric in found.metrics],
        "measure": number((of_queries or found.metrics)[0], {}).name,
        "rows": [table_row(found, place) for place in range(len(found.names))],
        "basis": basis(found),
        "charts": charts(found),
        "names": found.names[:2],
        "agreed": agreed,
        "pictures": pictures,
        "problems": sorted({problem.path for each in pictures for problem in each.problems.values()}),
    }
    write_page(out, filled("compare.html.j2", values), "compare fewer runs at once")


def table_row(found: Compared, place: int) -> dict[str, Any]:
    """One run's line of the table."""
    first = found.metrics[0]
    test = found.against(first, place)
    return {
        "name": found.names[place],
        "cells": [value_text(found.values[metric][place]) for metric in found.metrics],
        "said": "" if test is None else f"{verdict(found, first, place)}: {signed(test)}",
    }


def charts(found: Compared) -> list[Markup]:
    """A bar chart with intervals for each metric."""
    drawn = []
    for place, metric in enumerate(found.metrics):
        values = found.values[metric]
        figure = interval_bars(found.names, values, metric, found.leaders(metric), width=NARROW)
        words = ", ".join(
            f"{name} {value_text(value)}" for name, value in zip(found.names, values, strict=True)
        )
        drawn.append(svg(figure, f"chart{'abcdefghijklmnopqrstuvwxyz'[place % 26]}", f"{metric}: {words}"))
    return drawn


def shown_rows(agreed: Disagreements | None, place: int) -> Sequence[int]:
    """The rows of one evaluation whose pictures stand on the page."""
    if agreed is None:
        return []
    queries = [pair[place] for shown in agreed.shown for pair in shown]
    return sorted({row for each in queries for row in (each.row, *(hit.row for hit in each.hits))})
