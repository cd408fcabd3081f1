"""Images as in evaluation, each next to augmented versions of it."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from lookalike.data.images import ImageTable
from lookalike.data.table import Table
from lookalike.data.transforms import Resize
from lookalike.errors import DataError, list_problems
from lookalike.plots.drawing import fit_text, fitted_each, font
from lookalike.plots.first_batch import displayed_side, scale_image
from lookalike.plots.style import INK, MUTED, PAPER, RULE

log = logging.getLogger(__name__)
MARGIN, GAP, GAP_BETWEEN, TOP, LINE = 20, 4, 18, 68, 32


def preview(
    plain: np.ndarray, versions: Sequence[np.ndarray], labels: Sequence[object], title: str
) -> Image.Image:
    """One row per image: as in evaluation on the left, then its augmented versions, the label below.

    Args:
        plain: uint8 [N, H, W, 3].
        versions: each of the same shape.
        labels: [N].
        title: of the picture, such as the name of the augmentation.
    """
    side = displayed_side(plain.shape[1])
    left = MARGIN + side + GAP_BETWEEN
    width = left + len(versions) * (side + GAP) - GAP + MARGIN
    height = TOP + len(plain) * (side + LINE) + MARGIN // 2
    facts = (
        f"{plain.shape[2]} × {plain.shape[1]} px; left: as in evaluation; right: random versions as in "
        f"training"
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
    """A canvas for images and text."""

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


def preview_augmentation(
    table: Table,
    augment: Callable[..., Any],
    resize: Resize,
    *,
    images: int = 8,
    draws: int = 4,
    seed: int = 0,
    title: str = "",
) -> Image.Image:
    """Some images of a table, from as many classes as possible, and augmented versions of each.

    Args:
        table: the images.
        augment: a transform of training images.
        resize: of the images as they are in evaluation.
        images: number of images to show.
        draws: number of augmented versions of each.
        seed: of the selection and the augmentation.
        title: of the picture.

    Raises:
        DataError: none of the selected images can be read.
    """
    table = table.take(sample_per_class(table.labels, images, seed))
    rows = range(len(table))
    plain = ImageTable(table, resize, at_least=resize.at_least).__getitems__(rows)
    if plain.skipped:
        log.warning("%d cannot be read:%s", len(plain.skipped), list_problems(plain.skipped))
    if not len(plain.rows):
        raise DataError(f"{table.folder}: none of the images chosen can be read", plain.skipped)
    readable = table.take(plain.rows.numpy())
    changing = ImageTable(readable, augment, seed=seed, at_least=getattr(augment, "at_least", None))
    versions = []
    for epoch in range(1, draws + 1):
        changing.set_epoch(epoch)
        versions.append(changing.__getitems__(range(len(readable))).images.permute(0, 2, 3, 1).numpy())
    return preview(plain.images.permute(0, 2, 3, 1).numpy(), versions, readable.labels.tolist(), title)


def sample_per_class(labels: Any, count: int, seed: int) -> list[int]:
    """Rows of up to `count` random images: one of each class, then a second of each, and so on."""
    order = np.random.default_rng(seed).permutation(len(labels))
    counts: dict[object, int] = {}
    turns = []
    for row in order.tolist():
        label = labels[row]
        counts[label] = counts.get(label, 0) + 1
        turns.append((counts[label], len(turns), row))
    return [row for _, _, row in sorted(turns)[:count]]
