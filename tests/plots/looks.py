"""Whether all text of a figure or picture can be read: inside its edges, and none on top of another."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import ImageDraw

SLACK = 1.0
"""Pixels that two boxes may share, since letters do not fill theirs."""


def texts_on_figure(figure: Figure) -> dict[str, Bbox]:
    """Every text that is drawn, with its place in the picture, pixels; ticks outside the axes are not."""
    canvas = FigureCanvasAgg(figure)
    seen: list[Text] = []
    draw = Text.draw

    def note_text(self, renderer, *more, **named):
        if self.get_visible() and self.get_text().strip():
            seen.append(self)
        return draw(self, renderer, *more, **named)

    Text.draw = note_text
    try:
        canvas.draw()
    finally:
        Text.draw = draw
    renderer = canvas.get_renderer()
    return {
        f"{number} {text.get_text()!r}": text.get_window_extent(renderer)
        for number, text in enumerate(dict.fromkeys(seen))
    }


def check_readable(figure: Figure) -> None:
    """Fail where a text of the figure is cut by its edge or overlaps another one."""
    boxes = texts_on_figure(figure)
    assert boxes, "nothing is written on this figure"
    width, height = figure.get_size_inches() * figure.dpi
    cut = [
        name
        for name, box in boxes.items()
        if box.x0 < -SLACK or box.y0 < -SLACK or box.x1 > width + SLACK or box.y1 > height + SLACK
    ]
    assert not cut, f"cut by the edge: {cut[:5]}"
    check_apart({name: (box.x0, box.y0, box.x1, box.y1) for name, box in boxes.items()})


def check_apart(boxes: dict[str, tuple[float, float, float, float]]) -> None:
    """Fail where two boxes, x0 y0 x1 y1, overlap."""
    lying = [
        (one, other)
        for (one, a), (other, b) in combinations(boxes.items(), 2)
        if min(a[2], b[2]) - max(a[0], b[0]) > SLACK and min(a[3], b[3]) - max(a[1], b[1]) > SLACK
    ]
    assert not lying, f"on top of each other: {lying[:5]}"


@contextmanager
def readable_pictures() -> Iterator[None]:
    """Fail where a text that is drawn inside the block on a picture is cut or overlaps another one on it."""
    drawn: dict[int, tuple[ImageDraw.ImageDraw, dict[str, tuple[float, float, float, float]]]] = {}
    write = ImageDraw.ImageDraw.text

    def note_text(self, xy, text, *more, **named):
        if text.strip():
            boxes = drawn.setdefault(id(self), (self, {}))[1]
            boxes[f"{len(boxes)} {text!r}"] = self.textbbox(
                xy, text, font=named["font"], anchor=named.get("anchor")
            )
        return write(self, xy, text, *more, **named)

    ImageDraw.ImageDraw.text = note_text
    try:
        yield
    finally:
        ImageDraw.ImageDraw.text = write
    assert drawn, "nothing was written"
    for paper, boxes in drawn.values():
        width, height = paper.im.size
        cut = [n for n, (x0, y0, x1, y1) in boxes.items() if x0 < 0 or y0 < 0 or x1 > width or y1 > height]
        assert not cut, f"cut by the edge: {cut[:5]}"
        check_apart(boxes)
