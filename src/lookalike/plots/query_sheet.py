"""Queries with their hits: the worst, the best, and those closest to the threshold."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
import polars as pl
from annotated_types import Ge, Le
from matplotlib.figure import Figure
from PIL import Image

from lookalike.errors import DataError
from lookalike.plots.neighbours import gallery
from lookalike.plots.query_selection import Query, choose_queries, closest_to_threshold
from lookalike.plots.sheets import sheet_figure
from lookalike.wording import count_noun

Pictures = Callable[[Sequence[int]], list[Image.Image]]
Which = Literal["worst", "best", "closest"]
NAMES = {"map@r": "MAP@R", "average_precision": "average precision", "map": "average precision"}


def query_sheet(
    per_query: pl.DataFrame,
    labels: np.ndarray,
    pictures: Pictures,
    threshold: float | None = None,
    which: Which = "worst",
    count: Annotated[int, Ge(1), Le(100)] = 8,
    neighbours: Annotated[int, Ge(1), Le(20)] = 5,
    side: Annotated[int, Ge(32), Le(512)] = 144,
) -> Figure:
    """A row for each query: its picture, then its nearest neighbours, right ones blue, wrong ones orange.

    Args:
        per_query: row, neighbours, scores, and a column a metric.
        labels: of the evaluated rows, [N].
        pictures: from row numbers to their images.
        threshold: similarity from which on two images are the same; for `closest`.
        which: the `worst` or `best` by MAP@R, or those whose nearest neighbour is `closest` to the threshold.
        count: queries at most.
        neighbours: hits of each, at most as many as the evaluation kept.
        side: pixels of a picture's side.

    Raises:
        DataError: there are no such queries, or no threshold to be close to.
    """
    queries, title, remark = select_queries(per_query, labels, threshold, which, count, neighbours)
    if not queries:
        raise DataError(f"no query to show: none of the {len(per_query)} queries has a relevant image")
    rows = sorted({row for query in queries for row in (query.row, *(hit.row for hit in query.hits))})
    images = dict(zip(rows, pictures(rows), strict=True))
    sheet = gallery(
        [
            (images[each.row], [(images[hit.row], hit.label, hit.score, hit.right) for hit in each.hits])
            for each in queries
        ],
        [each.label for each in queries],
        side,
        [decide(each) for each in queries] if which == "closest" else (),
    )
    return sheet_figure(sheet, title, remark)


def select_queries(
    per_query: pl.DataFrame,
    labels: np.ndarray,
    threshold: float | None,
    choice: Which,
    count: int,
    neighbours: int,
) -> tuple[list[Query], str, str]:
    """The queries, and what they are called.

    Raises:
        DataError: there is no threshold to be close to.
    """
    if choice == "closest":
        if threshold is None:
            raise DataError("which=closest: this evaluation has no threshold; give one with threshold=0.5")
        queries = closest_to_threshold(per_query, labels, threshold, count, neighbours)
        wrong = sum(not decide(query)[1] for query in queries)
        marked = f"{wrong} of {len(queries)} {'is' if wrong == 1 else 'are'} wrong"
        marked += " (✗ below the query)" * (wrong > 0)
        explanation = f"Nearest neighbours closest to the threshold of {threshold:.3f}; {marked}."
        return queries, f"The {phrase_count(len(queries), 'least sure', 'decision')}", explanation
    picked = choose_queries(
        per_query, labels, count if choice == "worst" else 0, count if choice == "best" else 0, neighbours
    )
    if picked is None:
        return [], "", ""
    queries = picked.worst if choice == "worst" else picked.best
    values = [query.value for query in queries] or [0.0]
    measure = NAMES.get(picked.measure, picked.measure)
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    spread = low if low == high else f"from {low} to {high}"
    explanation = f"{measure} {spread}, of {count_noun(picked.judged, 'query', 'queries')}"
    wrong = f"; the nearest neighbour of {picked.wrong_first:,} is of another class."
    return (
        queries,
        f"The {phrase_count(len(queries), 'hardest' if choice == 'worst' else 'best', 'query', 'queries')}",
        explanation + wrong,
    )


def phrase_count(number: int, kind: str, one: str, many: str = "") -> str:
    """`hardest query` of one, `8 hardest queries` of several."""
    counted, noun = count_noun(number, one, many).split(" ", 1)
    return f"{kind} {noun}" if number == 1 else f"{counted} {kind} {noun}"


def decide(query: Query) -> tuple[str, bool]:
    """What the threshold says of a query and its nearest neighbour, and whether it is right."""
    same = query.value >= 0
    return f"called {'same' if same else 'different'}", same == (bool(query.hits) and query.hits[0].right)
