"""The page of a comparison: who is right where the other is not."""

import shutil

import numpy as np
import pytest

from lookalike.report.compare_page import write_compare_page
from lookalike.report.comparing import compare_evaluations
from lookalike.report.disagreements import find_disagreements

LABELS = [f"<{number}>" for number in range(12) for _ in range(4)]


@pytest.fixture
def compare_two(evaluation):
    folders = [evaluation(LABELS, noise=0.3, name=name, seed=seed) for seed, name in enumerate(("a", "b"))]
    return compare_evaluations(folders, ["map@r", "recall@1"], force=True)


def first_right(found) -> dict[int, bool]:
    """By row, whether the nearest neighbour is of the query's class."""
    labels = found.embeddings.table.labels
    return {
        row["row"]: labels[row["neighbours"][0]] == labels[row["row"]]
        for row in found.per_query.iter_rows(named=True)
    }


def test_every_query_is_counted_where_it_belongs(compare_two):
    found = find_disagreements(
        tuple(compare_two.evaluations),
        tuple(table["row"] for table in compare_two.tables),
        "map@r",
        limit=100,
    )
    one, other = map(first_right, compare_two.evaluations)
    expected = [sum((one[row], other[row]) == pair for row in one) for pair in np.ndindex(2, 2)]
    assert [found.neither, found.only[1], found.only[0], found.both] == expected
    assert min(found.only) > 0
    for winner, shown in enumerate(found.shown):
        assert len(shown) == found.only[winner]
        gains = []
        for pair in shown:
            assert pair[0].row == pair[1].row
            assert [pair[place].hits[0].right for place in (winner, 1 - winner)] == [True, False]
            gains.append(pair[winner].value - pair[1 - winner].value)
        assert gains == sorted(gains, reverse=True)


def test_the_page_shows_both_sides_and_lists_what_it_cannot_read(compare_two, tmp_path):
    shown = find_disagreements(
        tuple(compare_two.evaluations), tuple(table["row"] for table in compare_two.tables), "map@r"
    ).shown
    gone = compare_two.evaluations[0].embeddings.table.file(shown[0][0][0].row)
    gone.unlink()
    write_compare_page(compare_two, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for here, there in (compare_two.names, compare_two.names[::-1]):
        assert f"What {here} gets right and {there} wrong" in page
    assert "1 of the pictures could not be read" in page
    assert gone.name in page
    assert "&lt;3&gt;" in page
    assert "<3>" not in page


def test_without_pictures_the_numbers_still_stand(compare_two, tmp_path):
    folders = [each.folder for each in compare_two.evaluations]
    for folder in folders:
        shutil.rmtree(folder / "embeddings")
    write_compare_page(compare_evaluations(folders, ["map@r"], force=True), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Side by side" in page
    assert "gets right" not in page
