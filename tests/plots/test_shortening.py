"""That names fit where they are drawn, stay different, and show the part in which they differ."""

from itertools import product

import numpy as np
import polars as pl
import pytest
from looks import check_readable, readable_pictures
from PIL import Image

from lookalike.metrics.roc import roc_with_intervals
from lookalike.metrics.verification import Pairs
from lookalike.plots.class_size_chart import class_size_figure
from lookalike.plots.confused_classes import confusable
from lookalike.plots.confusion_matrix import confusion
from lookalike.plots.distance_matrix import draw_similarity
from lookalike.plots.drawing import fitted_each, font
from lookalike.plots.first_batch import first_batch
from lookalike.plots.hub_images import hubs
from lookalike.plots.intervals import interval_bars
from lookalike.plots.neighbours import gallery
from lookalike.plots.points import draw_points
from lookalike.plots.preview import preview
from lookalike.plots.roc_curves import det, roc
from lookalike.plots.saliency_maps import draw_saliency
from lookalike.plots.shortening import in_lines
from lookalike.plots.text import briefs, points_wide
from lookalike.plots.training_curves import curves, single_curves
from lookalike.plots.tsne_map import mosaic

START = "/data/experiments/of a whole year/with one long beginning/"
NAMES = {
    "wide letters": [
        "W" * length + end for length, end in zip(range(3, 60, 4), "abcdefghijklmno", strict=True)
    ],
    "cjk": [f"{'猫' * 20}{sign}{'犬' * 20}" for sign in "一二三四五六七八九十百千"],
    "200 characters": [f"{n} {'abc-def_' * 25}"[:200] for n in range(12)],
    "shared start": [f"{START}run {n}" for n in range(12)],
    "differ in the middle": [f"{START}{n} {START[::-1]}" for n in range(12)],
    "differ at the end": ["M" * 120 + f"{n:02}" for n in range(12)],
    "two groups": [f"{start}{n}" for start in ("A" * 90, "B" * 90) for n in range(6)],
    "dollars and signs": [f"$a_{n}$ \\frac{{1}}{{{n}}} {'%' * 60}" for n in range(12)],
    "short": list("abcdefghijkl"),
}


@pytest.fixture(params=NAMES)
def names(request):
    return NAMES[request.param][:12]


@pytest.mark.parametrize("lines", [1, 2])
@pytest.mark.parametrize("width", [70, 120, 300])
def test_names_fit_and_stay_different(names, width, lines):
    found = briefs(names, width, lines=lines)
    assert max(points_wide(text) for text in found) <= width
    assert max(text.count("\n") for text in found) < lines
    assert len(set(found)) == len(names)
    letters = font(13)
    pictures = fitted_each(names, width, letters, lines)
    assert max(letters.getlength(line) for text in pictures for line in text.split("\n")) <= width
    assert len(set(pictures)) == len(names)


def test_what_all_names_begin_with_is_left_out_only_where_it_must_be():
    assert briefs(["runs/a", "runs/b"], 200) == ["runs/a", "runs/b"]
    assert briefs([f"{START}a", f"{START}bcd"], 90) == ["…a", "…bcd"]
    assert briefs([f"{START}a"], 90)[0].endswith("/a")


def test_a_long_name_keeps_both_ends_and_uses_its_room():
    for width, lines in product((50, 100, 200), (1, 2, 3)):
        text = in_lines("begin" + "x" * 200 + "end", width, points_wide, lines)
        assert text.startswith("be") and text.endswith("nd") and "…" in text
        assert max(map(points_wide, text.split("\n"))) <= width and text.count("\n") < lines
        assert points_wide(text.replace("\n", "")) > 0.6 * width * lines


def test_a_break_is_at_the_end_of_a_word():
    assert in_lines("Alpro-Blueberry-Soyghurt", 86, points_wide) == "Alpro-Blueberry-\nSoyghurt"
    assert in_lines("a rather long name", 60, points_wide) == "a rather\nlong name"


def draw_figures(kind, names, pictures):
    """Figures of one kind with these names on them."""
    rng = np.random.default_rng(0)
    labels = np.repeat(names, 4)
    vectors = rng.normal(size=(len(labels), 8))
    pairs = {
        name: roc_with_intervals(Pairs.from_scores(rng.normal(0.5, 0.2, 40), rng.normal(0.1, 0.2, 90)))
        for name in names[:6]
    }
    history = pl.DataFrame(
        {"epoch": range(1, 9)}
        | {f"{key}_{name}": rng.uniform(0.1, 1, 8) for key in ("loss", "val", "lr") for name in names[:4]}
    )
    values = [{"value": 0.5, "low": 0.4, "high": 0.6}] * len(names)
    grey = [Image.new("RGB", (60, 40), "grey")] * 2
    makers = {
        "points": lambda: [draw_points(vectors[:, :2], labels), draw_points(vectors[:32, :2], labels[:32])],
        "confusion": lambda: [confusion(vectors, labels)],
        "confusable": lambda: [confusable(vectors, labels, pictures)],
        "hubs": lambda: [hubs(vectors, labels, pictures, k=3)],
        "similarity": lambda: [
            draw_similarity(rng.uniform(size=(n, n)), pictures(range(n)), labels[::step][:n])
            for n, step in ((12, 4), (12, 2), (3, 4))
        ],
        "roc": lambda: [roc(pairs), det(pairs)],
        "curves": lambda: [curves(history), *single_curves(history).values()],
        "compare": lambda: [interval_bars(names, values, "map@r", width=width) for width in (3, 4.4, 7.2)],
        "class_sizes": lambda: [class_size_figure(np.array([3, 4]), name) for name in names[:2]],
        "saliency": lambda: [draw_saliency(names[:2], grey, [rng.normal(size=(40, 60))] * 2, 0.5)],
    }
    return makers[kind]()


KINDS = ("points", "confusion", "confusable", "hubs", "similarity", "roc", "curves", "compare", "class_sizes")


@pytest.mark.parametrize("kind", [*KINDS, "saliency"])
def test_no_name_on_a_figure_is_cut_by_its_edge_or_lies_on_another(kind, names, pictures):
    for figure in draw_figures(kind, names, pictures):
        check_readable(figure)


def test_no_name_on_a_picture_is_cut_by_its_edge_or_lies_on_another(names):
    images = np.full((12, 40, 40, 3), 90, np.uint8)
    square = Image.new("RGB", (40, 40), "grey")
    hits = [(square, name, 0.5, right) for name, right in zip(names, [True, False, None] * 4, strict=True)]
    spots = np.random.default_rng(0).normal(size=(12, 2))
    with readable_pictures():
        gallery([(square, hits), (square, hits[::-1])], names[:2], 96)
    with readable_pictures():
        first_batch(images, names, "A title")
    with readable_pictures():
        preview(images, [images, images], names, "A title")
    with readable_pictures():
        mosaic(spots[:9], [square] * 9, names[:9], 700)
