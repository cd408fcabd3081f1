"""Images in figures: a whole sheet below a heading, or one framed image."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from lookalike.plots.drawing import fit_image
from lookalike.plots.style import RULE, axes_at, paper
from lookalike.plots.text import headline

DPI = 144
NARROWEST = 5.2
"""Height of a heading, in inches."""


def sheet_figure(picture: Image.Image, title: str = "", remark: str = "") -> Figure:
    """A figure that shows an image pixel by pixel below an optional heading."""
    width, height = picture.width / DPI, picture.height / DPI
    figure = paper(max(width, NARROWEST) if title else width, height)
    if title:
        headline(figure, title, remark)
    axes = axes_at(figure, 0, 0, width, height)
    axes.set_axis_off()
    axes.imshow(np.asarray(picture.convert("RGB")), interpolation="none", aspect="auto")
    return figure


def show_framed(axes: Axes, image: Image.Image, pixels: int = 192) -> None:
    """The whole image, centred on square axes with a thin frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(RULE)
    small = fit_image(image, pixels)
    axes.imshow(np.asarray(small), interpolation="lanczos")
    across, down = (((size - pixels) / 2 - 0.5, (size + pixels) / 2 - 0.5) for size in small.size)
    axes.set(xlim=across, ylim=down[::-1])
