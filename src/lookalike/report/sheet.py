"""A contact sheet: one page with some images of every class, loaded lazily."""

import functools
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from PIL import Image
from rich.progress import track

from lookalike.data.checking import SPLITS
from lookalike.data.table import Table, write_problems
from lookalike.data.thumbnails import placeholder
from lookalike.errors import LookalikeError, Problem, list_problems
from lookalike.files import new_folder, write_text
from lookalike.plots.drawing import fit_image
from lookalike.report.template import fill_template
from lookalike.wording import count_noun

log = logging.getLogger(__name__)
THUMBS = "thumbs"
PAPER = "#ffffff"
QUALITY = 78
GAP = 4
"""Pixels between images."""
THREADS = 4
Item = TypeVar("Item")
Track = Callable[[Iterable[Item], int], Iterable[Item]]


@dataclass(frozen=True)
class Options:
    """How much to show.

    Attributes:
        per_class: images per class, evenly spaced over its rows.
        across: images per row in the picture of a class.
        thumbnail: longer side of an image in pixels.
        classes: maximum number of classes; of more, a random choice is shown.
        seed: of that choice.
    """

    per_class: int = 12
    across: int = 4
    thumbnail: int = 112
    classes: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Card:
    """A class on the page.

    Attributes:
        name: its label.
        file: its picture, beside the page.
        width, height: of the picture.
        images: number of images of the class.
        shown: number of images in the picture.
        splits: of its images.
        paths: of the shown images, in order, below `Sheet.start`.
    """

    name: str
    file: str
    width: int
    height: int
    images: int
    shown: int
    splits: tuple[str, ...]
    paths: tuple[str, ...]


def save_sheet(
    table: Table,
    out: Path,
    title: str,
    options: Options,
    metadata: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Path:
    """Write a folder with the page, its pictures, and a list of the images that cannot be read.

    Args:
        table: rows with labels.
        out: folder to write; it must not exist.
        title: of the page.
        options: how much to show.
        metadata: what made the folder, for its config.yaml.
        progress: show a progress bar.

    Returns:
        The page.

    Raises:
        LookalikeError: no image could be read, or `out` exists.
    """

    def progress_bar(classes: Iterable[Item], total: int) -> Iterable[Item]:
        return track(classes, "Making thumbnails", total=total, disable=not progress)

    with new_folder(out) as temporary:
        problems = write_sheet(table, temporary, title, options, progress_bar)
        values = dict(metadata or {"made_by": "lookalike.report.sheet.save_sheet"})
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        (temporary / "config.yaml").write_text(text, encoding="utf-8")
        if problems:
            write_problems(problems, temporary / "skipped.csv")
    if problems:
        log.warning("%s could not be read:%s", count_noun(len(problems), "image"), list_problems(problems))
    return out / "index.html"


def write_sheet(
    table: Table, folder: Path, title: str, options: Options, track: Track | None = None
) -> list[Problem]:
    """Write the page and its pictures into a folder, and return what could not be read.

    Args:
        table: rows with labels.
        folder: an existing empty folder.
        title: of the page.
        options: how much to show.
        track: shows the progress; called with the classes and their number.

    Raises:
        LookalikeError: no image could be read.
    """
    names, codes = np.unique(table.labels, return_inverse=True)
    sizes = np.bincount(codes, minlength=len(names))
    by_class = np.split(np.argsort(codes, kind="stable"), np.cumsum(sizes)[:-1])
    order = select_classes(sizes, options)
    start = common_start(table)
    (folder / THUMBS).mkdir(parents=True)
    problems: list[Problem] = []
    cards = []
    with ThreadPoolExecutor(THREADS) as pool:
        for index, number in enumerate(track(order, len(order)) if track else order):
            rows = by_class[number]
            selected_rows = rows[evenly_spaced(len(rows), options.per_class)].tolist()
            thumbnails = list(
                pool.map(functools.partial(thumbnail, table, options.thumbnail - GAP), selected_rows)
            )
            problems += [result for result in thumbnails if isinstance(result, Problem)]
            picture = join_thumbnails(thumbnails, options)
            file = f"{THUMBS}/{index:05}.webp"
            picture.save(folder / file, "WEBP", quality=QUALITY, method=4)
            splits = set(table.frame["split"][rows.tolist()])
            cards.append(
                Card(
                    name=str(names[number]),
                    file=file,
                    width=picture.width,
                    height=picture.height,
                    images=len(rows),
                    shown=len(selected_rows),
                    splits=tuple(split for split in SPLITS if split in splits),
                    paths=tuple(os.path.relpath(table.file(row), start) for row in selected_rows),
                )
            )
    if cards and len(problems) == sum(card.shown for card in cards):
        raise LookalikeError(f"none of the images could be read; the first: {problems[0]}")
    text = render_page(cards, title, start, folder, options, (len(table), len(names)), problems)
    write_text(folder / "index.html", text)
    log.info("%s classes, %d pictures, page of %.1f MB", f"{len(cards):,}", len(cards), len(text) / 1e6)
    return problems


def select_classes(sizes: np.ndarray, options: Options) -> list[int]:
    """Classes to show, the largest first; among equals in the order of their names."""
    selected = np.arange(len(sizes))
    if len(sizes) > options.classes:
        selected = np.sort(np.random.default_rng(options.seed).permutation(len(sizes))[: options.classes])
    return selected[np.argsort(-sizes[selected], kind="stable")].tolist()


def evenly_spaced(count: int, limit: int) -> np.ndarray:
    """Up to `limit` of `count` places, evenly spaced, the first among them."""
    return np.unique(np.arange(min(count, limit)) * count // min(count, limit))


def thumbnail(table: Table, side: int, row: int) -> Image.Image | Problem:
    """The picture of a row, its longer side `side` pixels; or why there is none."""
    from lookalike.data.images import open_image

    try:
        return fit_image(open_image(table.file(row), table.box(row), at_least=side), side)
    except (LookalikeError, OSError, ValueError) as error:
        return Problem(table.frame["path"][row], getattr(error, "reason", None) or str(error), row)


def join_thumbnails(pictures: Sequence[Image.Image | Problem], options: Options) -> Image.Image:
    """Pictures in rows, each in the middle of its square; a crossed-out one where there is none."""
    side, across = options.thumbnail, options.across
    canvas = Image.new("RGB", (across * side, -(-len(pictures) // across) * side), PAPER)
    for index, thumbnail in enumerate(pictures):
        picture = placeholder(side - GAP) if isinstance(thumbnail, Problem) else thumbnail
        row, column = divmod(index, across)
        left = column * side + (side - picture.width) // 2
        canvas.paste(picture, (left, row * side + (side - picture.height) // 2))
    return canvas


def common_start(table: Table) -> str:
    """The folder that holds all images."""
    parents = {os.path.dirname(path) for path in table.frame["path"]}  # noqa: PTH120 - once a row
    return os.path.commonpath([os.path.abspath(table.folder / parent) for parent in parents])  # noqa: PTH100


def render_page(
    cards: Sequence[Card],
    title: str,
    start: str,
    folder: Path,
    options: Options,
    of: tuple[int, int],
    problems: Sequence[Problem],
) -> str:
    """The page as text."""
    splits = [split for split in SPLITS if any(split in card.splits for card in cards)]
    values = {
        "title": title,
        "cards": cards,
        "images": of[0],
        "classes": of[1],
        "splits": splits,
        "start": Path(os.path.relpath(start, folder)).as_posix(),
        "side": options.thumbnail,
        "across": options.across,
        "problems": problems[:20],
        "more_problems": max(0, len(problems) - 20),
    }
    return fill_template("sheet.html.j2", values, "sheet").encode("utf-8", "replace").decode()
