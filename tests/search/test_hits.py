"""What notebooks show: pictures with labels, none of which can break out of its place."""

import re

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lookalike.data.table import Table
from lookalike.embeddings import Embeddings
from lookalike.errors import Problem
from lookalike.search.hits import Hit, Hits, SearchResults

HOSTILE = [
    "<script>document.title='hit'</script>",
    '"><img src=x onerror="document.title=\'hit\'">',
    "' & cat",
]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hits")
    names = ['a"b.png', "<b>c.png", "gone.png"]
    for name in names[:2]:
        Image.new("RGB", (200, 100), "red").save(folder / name)
    return Table(pl.DataFrame({"path": names, "label": HOSTILE, "split": "test"}), folder)


@pytest.fixture(scope="module")
def notebook_html(table):
    hits = [Hit(str(table.file(row)), label, 0.9 - row / 10, row) for row, label in enumerate(HOSTILE)]
    vectors = np.eye(3, dtype=np.float32)
    return {
        "hits": Hits(hits, table, str(table.file(1))),
        "found": SearchResults([Hits(hits, table), Hits()] * 15),
        "without a table": Hits(hits),
        "embeddings": Embeddings(vectors, table, "5<p>ace", [Problem("x", "gone")]),
    }


@pytest.mark.parametrize("name", ["hits", "found", "without a table", "embeddings"])
def test_everything_is_escaped(notebook_html, name):
    text = notebook_html[name]._repr_html_()
    assert "&lt;script&gt;" in text and "&lt;img src=x" in text
    assert set(re.findall(r"<(\w+)", text)) <= {"div", "p", "figure", "img", "figcaption", "b", "span"}
    assert set(re.findall(r'<img src="([^;]*);', text)) == {"data:image/webp"}


def test_what_is_said(notebook_html):
    assert (
        "Embeddings: 3 × 3, 3 classes, space 5&lt;p&gt;ace, 1 images left out"
        in notebook_html["embeddings"]._repr_html_()
    )
    assert "0.900" in notebook_html["hits"]._repr_html_() and ">query<" in notebook_html["hits"]._repr_html_()
    assert "no hits" in Hits()._repr_html_() and "and 10 more" in notebook_html["found"]._repr_html_()
    assert Hits([1, 2]) == [1, 2], "a list as before"


def test_results_print_as_a_table_and_become_a_frame_or_plain_values():
    first = Hits(
        [Hit("a.jpg", "cat", 0.912345, 7, (1, 2, 3, 4)), Hit("b b.jpg", "dog", 0.5, 2)], query="q.jpg"
    )
    results = SearchResults([first, Hits(), Hits([Hit("c.jpg", "dog", -0.25, 0)])])
    assert str(results).splitlines() == [
        "query  rank  similarity  label  path",
        "q.jpg  1     0.9123      cat    a.jpg",
        "q.jpg  2     0.5000      dog    b b.jpg",
        "2      1     -0.2500     dog    c.jpg",
    ]
    assert str(first).splitlines() == [
        "query  rank  similarity  label  path",
        "q.jpg  1     0.9123      cat    a.jpg",
        "q.jpg  2     0.5000      dog    b b.jpg",
    ]
    frame = results.to_frame()
    assert frame.columns == ["query", "rank", "similarity", "label", "path", "row", "box", "likely"]
    assert frame["similarity"].to_list() == [0.912345, 0.5, -0.25] and frame["row"].to_list() == [7, 2, 0]
    assert frame["box"].to_list() == [[1, 2, 3, 4], None, None]
    plain = results.to_dict()
    assert plain[0]["query"] == "q.jpg" and plain[0]["hits"][0] == vars(first[0])
    assert plain[1] == {"query": None, "hits": [], "likely": None}
    numbers = SearchResults([Hits([Hit("a.jpg", 2**40, 1.0, 0)])])
    assert numbers.to_frame()["label"].to_list() == [2**40]


def test_without_hits_there_is_an_empty_frame_of_the_same_columns():
    for empty in (Hits(), SearchResults(), SearchResults([Hits()])):
        assert str(empty) == "no hits"
        assert empty.to_frame().height == 0 and empty.to_frame().width == 8


def test_a_notebook_shows_figures(monkeypatch):
    """IPython asks its formatters by type; ours is told to it when plots are imported in a notebook."""
    import sys
    from types import SimpleNamespace

    from matplotlib.figure import Figure

    from lookalike import plots

    told = {}
    png = SimpleNamespace(for_type_by_name=lambda module, name, show: told.update({f"{module}.{name}": show}))
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"image/png": png}))
    monkeypatch.setitem(
        sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0))
    )
    plots._show_in_notebooks()
    assert told["matplotlib.figure.Figure"](Figure()).startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    plots._show_in_notebooks()


@pytest.mark.browser
def test_in_chromium_they_are_pictures_and_nothing_runs(notebook_html, browser, tmp_path):
    page_file = tmp_path / "notebook.html"
    body = "".join(each._repr_html_() for each in notebook_html.values())
    page_file.write_text(f"<!doctype html><meta charset=utf-8><title>fine</title>{body}", encoding="utf-8")
    page, trouble = browser.new_page(), []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("request", lambda request: trouble.append(request.url) if ":" in request.url[:5] else None)
    page.goto(page_file.as_uri())
    assert page.title() == "fine" and page.locator("script").count() == 0
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.locator("figcaption b").first.inner_text() == "query"
    assert page.locator("figcaption b").nth(1).inner_text() == HOSTILE[0]
    page.screenshot(path=tmp_path / "notebook.png")
    assert [each for each in trouble if not each.startswith(("file:", "data:"))] == []
