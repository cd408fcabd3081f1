"""The line below a figure that says which data and which model it shows."""

import numpy as np
import pytest
from looks import check_readable
from matplotlib.figure import Figure
from PIL import Image

from lookalike.plots.distance_matrix import draw_similarity
from lookalike.plots.image_uses import uses_histogram
from lookalike.plots.intervals import interval_bars
from lookalike.plots.sheets import sheet_figure
from lookalike.plots.similarity_histogram import pair_distances
from lookalike.plots.style import new_figure
from lookalike.plots.text import name_source

SHORT = "data/photos, split test · model runs/mine"
LONG = "data/" + "WWWWW and a very long name of a dataset " * 9 + "ending here · model runs/mine"
DOLLARS = r"data/$x$ and $\frac{1}{2}$, split $ · model runs/100$"


def figures():
    """A figure of each way to lay one out."""
    edges = np.linspace(-1, 1, 9)
    distances = {"edges": edges, "positive": np.arange(8), "negative": np.arange(8)[::-1], "threshold": 0.2}
    images = [Image.new("RGB", (20, 20))] * 4
    return {
        "laid out by itself": pair_distances(distances),
        "laid out by itself, with a remark below": interval_bars(
            ["a", "b"], [{"value": 0.5}] * 2, "map@r", [0], "Blue: x"
        ),
        "without a heading": uses_histogram(np.arange(9)),
        "axes in inches": draw_similarity(np.eye(4), images, np.array(["a", "a", "b", "b"])),
        "a picture": sheet_figure(Image.new("RGB", (900, 400), "red"), "A picture", "That has a heading."),
        "a narrow picture": sheet_figure(Image.new("RGB", (300, 80), "red")),
    }


@pytest.mark.parametrize("source", [SHORT, LONG, DOLLARS])
@pytest.mark.parametrize("name", list(figures()))
def test_the_source_is_below_everything_else(name, source):
    figure = figures()[name]
    height = figure.get_figheight()
    assert name_source(figure, source) is figure
    assert height < figure.get_figheight() < height + 0.6
    check_readable(figure)
    figure.draw_without_rendering()
    below = min(axes.get_tightbbox().ymin for axes in figure.axes)
    lines = [text for text in figure.texts if text.get_fontsize() == 8]
    assert lines and all(text.get_window_extent().ymax <= below for text in lines)
    assert figure.texts[-1].get_text().startswith("data/")


def test_without_a_source_nothing_changes():
    figure = new_figure(3, 2)
    name_source(figure, "")
    assert not figure.texts and figure.get_figheight() == 2


def test_pictures_stay_on_whole_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (100, 900, 3), dtype=np.uint8)
    figure = name_source(sheet_figure(Image.fromarray(pixels)), SHORT)
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert isinstance(figure, Figure)
    np.testing.assert_array_equal(np.asarray(canvas.buffer_rgba())[:100, :900, :3], pixels)
