"""The first training batch as an image: what the model sees, and with which labels."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from lookalike.plots.drawing import fit_text, fitted_each, font
from lookalike.plots.sheets import sheet_figure
from lookalike.plots.style import INK, MUTED, PAPER, RULE
from lookalike.wording import count_noun

MAX_IMAGES = 128
SMALLEST, LARGEST = 72, 128
SHAPE, WIDEST = 4 / 3, 1400


def batch_preview(batch_images: np.ndarray, batch_labels: Sequence[object]) -> Figure:
    """A training batch as the model sees it, as a figure; see `first_batch`."""
    return sheet_figure(first_batch(batch_images, batch_labels, "A training batch, as augmented"))


def first_batch(images: np.ndarray, labels: Sequence[object], title: str = "") -> Image.Image:
    """Images grouped by class with the class name below, in the shape of a screen.

    Args:
        images: uint8, [B, H, W, 3]; small ones are enlarged in whole pixels, large ones made smaller. Of more
            than 128 the classes are shown that fit.
        labels: the name of each image's class, [B].
        title: the first line; how many images and classes are shown is said by itself.

    Raises:
        ValueError: there are no images, or other than one label for each.
    """
    if not len(images) or len(labels) != len(images):
        raise ValueError(
            f"first_batch: {len(images)} images with {len(labels)} labels; it needs one for each"
        )
    groups = rows_by_class(labels)
    sheet = Sheet(images.shape[1], [len(rows) for _, rows in groups])
    count = sum(len(rows) for _, rows in groups)
    among = f"{count} of {len(images)}"
    shown_images = f"{among} images" if count < len(images) else count_noun(count, "image")
    classes = count_noun(len(groups), "class", "classes")
    sheet.head(title, f"{shown_images}, {classes}, {images.shape[2]} × {images.shape[1]} px")
    widths = [sheet.name_width(len(rows)) for _, rows in groups]
    called = fitted_each([name for name, _ in groups], min(widths), sheet.letters)
    for number, (name, (_, rows)) in enumerate(zip(called, groups, strict=True)):
        sheet.group(number, [images[row] for row in rows], name)
    return sheet.picture


def rows_by_class(labels: Sequence[object]) -> list[tuple[str, list[int]]]:
    """Class names with the rows of their images, in order of appearance; at most 128 images."""
    rows: dict[object, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    groups, left = [], MAX_IMAGES
    for label, members in rows.items():
        if not left:
            break
        groups.append((str(label), members[:left]))
        left -= len(groups[-1][1])
    return groups


class Sheet:
    """The canvas: cells as wide as the largest class, in columns that give the shape of a screen."""

    def __init__(self, side: int, sizes: Sequence[int]):
        self.side, self.gap = displayed_side(side), 16
        self.letters, self.large = font(13), font(17, bold=True)
        self.line, self.top = 22, 60
        max_size = max(sizes)
        self.across = max_size if max_size * self.side <= WIDEST else math.ceil(math.sqrt(SHAPE * max_size))
        deep = -(-max(sizes) // self.across)
        self.cell = (self.across * (self.side + 2) - 2, deep * (self.side + 2) - 2 + self.line)
        step = (self.cell[0] + self.gap, self.cell[1] + self.gap)
        self.columns = min(
            range(1, len(sizes) + 1),
            key=lambda columns: abs(
                np.log(columns * step[0] / (-(-len(sizes) // columns) * step[1]) / SHAPE)
            ),
        )
        self.columns = max(self.columns, min(len(sizes), -(-420 // step[0])))
        lines = -(-len(sizes) // self.columns)
        size = (self.columns * step[0] + self.gap, self.top + lines * step[1] + self.gap // 2)
        self.picture = Image.new("RGB", size, PAPER)
        self.draw = ImageDraw.Draw(self.picture)

    def head(self, title: str, facts: str) -> None:
        """Title and description at the top."""
        width = self.picture.width - 2 * self.gap
        self.large.write(self.draw, (self.gap, 10), fit_text(title, width, self.large), INK)
        self.letters.write(self.draw, (self.gap, 33), fit_text(facts, width, self.letters), MUTED)

    def group(self, number: int, images: Sequence[np.ndarray], name: str) -> None:
        """The images of a class with its name below."""
        line, column = divmod(number, self.columns)
        left = self.gap + column * (self.cell[0] + self.gap)
        top = self.top + line * (self.cell[1] + self.gap)
        for index, image in enumerate(images):
            down, across = divmod(index, self.across)
            x, y = left + across * (self.side + 2), top + down * (self.side + 2)
            picture = scale_image(image, self.side)
            inset = (self.side - picture.width) // 2, (self.side - picture.height) // 2
            self.picture.paste(picture, (x + inset[0], y + inset[1]))
            self.draw.rectangle((x - 1, y - 1, x + self.side, y + self.side), outline=RULE)
        below = top + -(-len(images) // self.across) * (self.side + 2) + 2
        self.letters.write(self.draw, (left, below), name, INK)

    def name_width(self, images: int) -> int:
        """Width of the name below `count` images, in pixels."""
        return max(self.side, min(images, self.across) * (self.side + 2))


def displayed_side(side: int) -> int:
    """Display size of an image: small images are enlarged by an integer factor, large ones are reduced."""
    return min(LARGEST, side * max(1, -(-SMALLEST // side)))


def scale_image(image: np.ndarray, side: int) -> Image.Image:
    """The longer side resized to `side` pixels, enlarged by an integer factor so that pixels are visible."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    factor = side / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    filter = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS
    return picture.resize(size, filter)
