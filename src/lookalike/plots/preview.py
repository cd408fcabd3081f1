"""Images as evaluation sees them, each beside what training makes of it."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from lookalike.plots.drawing import fit_text, fitted_each, font
from lookalike.plots.first_batch import displayed_side, scale_image
from lookalike.plots.style import INK, MUTED, PAPER, RULE

MARGIN, GAP, GAP_BETWEEN, TOP, LINE = 20, 4, 18, 68, 32


def preview(
    plain: np.ndarray, versions: Sequence[np.ndarray], labels: Sequence[object], title: str
) -> Image.Image:
    """A line an image: as in evaluation on the left, then each random change, its label below.

    Args:
        plain: uint8 [N, H, W, 3].
        versions: each of the same shape.
        labels: [N].
        title: what changes them.
    """
    side = displayed_side(plain.shape[1])
    left = MARGIN + side + GAP_BETWEEN
    width = left + len(versions) * (side + GAP) - GAP + MARGIN
    height = TOP + len(plain) * (side + LINE) + MARGIN // 2
    facts = (
        f"{plain.shape[2]} × {plain.shape[1]} px; left: as in evaluation; right: in training, each time anew"
    )
    least = max(font(13).getlength(facts), font(17, bold=True).getlength(title))
    picture = _Paper(max(width, math.ceil(least) + 2 * MARGIN), height, side)
    picture.head(title, facts)
    called = fitted_each(labels, picture.picture.width - 2 * MARGIN, picture.letters)
    for line, (image, label) in enumerate(zip(plain, called, strict=True)):
        top = TOP + line * (side + LINE)
        picture.image(image, MARGIN, top)
        for column, images in enumerate(versions):
            picture.image(images[line], left + column * (side + GAP), top)
        picture.label(label, top + side + 3)
    return picture.picture


class _Paper:
    """A sheet to put images and words on."""

    def __init__(self, width: int, height: int, side: int):
        self.picture, self.side = Image.new("RGB", (width, height), PAPER), side
        self.draw = ImageDraw.Draw(self.picture)
        self.letters, self.large = font(13), font(17, bold=True)

    def head(self, title: str, facts: str) -> None:
        width = self.picture.width - 2 * MARGIN
        self.large.write(self.draw, (MARGIN, 12), fit_text(title, width, self.large), INK)
        self.letters.write(self.draw, (MARGIN, 37), fit_text(facts, width, self.letters), MUTED)

    def image(self, pixels: np.ndarray, left: int, top: int) -> None:
        picture = scale_image(pixels, self.side)
        inset = (self.side - picture.width) // 2, (self.side - picture.height) // 2
        self.picture.paste(picture, (left + inset[0], top + inset[1]))
        self.draw.rectangle((left - 1, top - 1, left + self.side, top + self.side), outline=RULE)

    def label(self, text: str, top: int) -> None:
        self.letters.write(self.draw, (MARGIN, top), text, INK)
