"""Boxes of a user's table as x1 y1 x2 y2 in pixels.

They may be in one column or four; corners, corner and size, or centre and size; in pixels, or as fractions,
percent or thousandths of the image.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from lookalike.data.box_columns import FAMILIES, BoxColumns, normalise_name
from lookalike.data.box_units import SCALES, pixel_doubt, possible_scales
from lookalike.data.checking import BOX, NOTHING, is_missing_text, shorten_middle
from lookalike.data.decode import image_size
from lookalike.errors import DataError, ImageError
from lookalike.files import parse_json

log = logging.getLogger(__name__)
Kind = Literal["xyxy", "xywh", "cxcywh"]
Relative = bool | Literal[100, 1000]
KINDS: tuple[Kind, ...] = ("xyxy", "xywh", "cxcywh")
MEANINGS = {
    "xyxy": "left top right bottom",
    "xywh": "left top width height",
    "cxcywh": "centre, width and height",
}
LOOKED_AT = 300
"""Number of rows whose images are used to detect the box format."""
AGAINST = 0.1
"""Share of the rows, and at least two rows, that must contradict a box format to exclude it."""
Column = dict[int, str]


@dataclass(frozen=True)
class BoxRules:
    """Box format given by the user; None to detect it from the table.

    Attributes:
        kind: what the four numbers are.
        relative: False for pixels, True for fractions of the image, 100 for percent, 1000 for thousandths.
    """

    kind: Kind | None = None
    relative: Relative | None = None


def with_boxes(
    frame: pl.DataFrame, boxes: BoxColumns | None, rules: BoxRules, file: Path, folder: Path
) -> tuple[pl.DataFrame, Column]:
    """The table with columns x1 y1 x2 y2 in place of its own box columns, and the problems of some boxes.

    Raises:
        DataError: the box format is ambiguous; the message names the keys that set it.
    """
    if boxes is None:
        if rules.kind or rules.relative is not None:
            raise DataError(
                f"{file}: source.box and source.relative set the format of boxes, but no box columns were "
                f"found. "
                "Name them: 'source.columns={box: [x1, y1, x2, y2]}'"
            )
        return frame, {}
    four, wrong, kind = _four_columns(frame, boxes) if len(boxes.names) == 4 else _one_column(frame, boxes)
    bad = pl.Series([row in wrong for row in range(len(four))], dtype=pl.Boolean)
    four = four.select(pl.when(~bad).then(pl.all()))
    whole = four.select(pl.all_horizontal(pl.all().is_finite())).to_series().fill_null(False)
    sizes = _Sizes(frame["path"].to_list(), folder)
    numbers = four.filter(whole).to_numpy()
    rows = whole.arg_true().to_list()
    subject = ", ".join(boxes.names)
    scale = _scale(numbers, rules.relative, f"{file}: {subject}")
    kind = rules.kind or _chosen_kind(
        kind, numbers / (scale or 1), rows, None if scale else sizes, f"{file}: {subject}"
    )
    corners = _corners(four, kind)
    if scale:
        corners = _in_pixels(corners, sizes, scale)
    elif rules.relative is None:
        _refuse_other_units(corners.filter(whole), rows, sizes, f"{file}: {subject}")
        wrong |= _tiny(corners, four)
    bad = pl.Series([row in wrong for row in range(len(four))], dtype=pl.Boolean)
    unit = "pixels" if not scale else "fractions of the image" if scale == 1 else SCALES[scale]
    log.info(
        "%s: boxes in %s are read as %s (source.box=%s), in %s", file, subject, MEANINGS[kind], kind, unit
    )
    return frame.drop(boxes.names).hstack(corners.select(pl.when(~bad).then(pl.all()))), wrong


class _Sizes:
    """Width and height of the image of each row, read on demand; NaN if it cannot be read."""

    def __init__(self, paths: list[str | None], folder: Path):
        self.paths, self.folder = paths, folder
        self.known: dict[str, tuple[float, float]] = {}

    def of(self, rows: list[int]) -> np.ndarray:
        """Sizes of some rows, [N, 2]."""
        return np.array([self._size(self.paths[row]) for row in rows], np.float64).reshape(-1, 2)

    def _size(self, path: str | None) -> tuple[float, float]:
        if path is None or "\0" in path:
            return (np.nan, np.nan)
        if path not in self.known:
            try:
                self.known[path] = image_size(self.folder / path)
            except ImageError:
                self.known[path] = (np.nan, np.nan)
        return self.known[path]


def _four_columns(frame: pl.DataFrame, boxes: BoxColumns) -> tuple[pl.DataFrame, Column, str]:
    """Numbers of four columns, and the rows where one of them is not a number."""
    wrong, columns = dict[int, str](), []
    for name, ours in zip(boxes.names, BOX, strict=True):
        column = frame[name]
        if column.dtype == pl.String:
            text = column.str.strip_chars()
            numbers = text.cast(pl.Float64, strict=False)
            provided = (text != "").fill_null(False) & ~is_missing_text(text)
            for row in (provided & numbers.is_null()).arg_true():
                wrong.setdefault(int(row), f"{name} {shorten_middle(text[row])!r}: must be a number")
            column = numbers
        elif not (column.dtype.is_numeric() or column.dtype == pl.Null):
            raise DataError(f"column {name} must hold numbers, not {column.dtype}")
        columns.append(column.cast(pl.Float64).alias(ours))
    return pl.DataFrame(columns), wrong, boxes.kind


def _one_column(frame: pl.DataFrame, boxes: BoxColumns) -> tuple[pl.DataFrame, Column, str]:
    """Numbers of a column that holds all four, as text or list; rows that cannot be parsed; and the box
    format that its keys imply.
    """
    rows, wrong, kinds = [], dict[int, str](), set[str]()
    (name,) = boxes.names
    for row, value in enumerate(frame[name].to_list()):
        numbers, kind = _parse_box(value)
        if numbers is None:
            text = shorten_middle("" if value is None else str(value))
            wrong[row] = f"{name} {text!r}: must be four numbers, as '10 20 110 220'"
        rows.append(numbers or (None,) * 4)
        kinds |= {kind} if numbers else set()
    frame = pl.DataFrame(rows, schema=dict.fromkeys(BOX, pl.Float64), orient="row")
    message = kinds.pop() if len(kinds) == 1 else ""
    return frame, wrong, boxes.kind or message


def _parse_box(value: object) -> tuple[list[float] | None, str]:
    """Four numbers and the box format that their keys imply; an empty list for no box; None if neither."""
    if isinstance(value, Mapping):
        return _of_keys(value)
    text = "" if value is None else str(value).strip()
    if text.startswith("{"):
        try:
            result = parse_json(text.replace("'", '"'))
        except (ValueError, RecursionError):
            result = None
        if isinstance(result, dict):
            return _of_keys(result)
    words = re.split(r"[\s,;]+", text.strip("[](){}").strip())
    if len(words) == 1 and words[0].lower() in ("", *NOTHING):
        return [], ""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None, ""
    return (numbers if len(numbers) == 4 else None), ""


def _of_keys(result: Mapping[str, object]) -> tuple[list[float] | None, str]:
    """The numbers of a JSON object such as `{"left": 1, "top": 2, "width": 3, "height": 4}`."""
    short = {normalise_name(str(key)): value for key, value in result.items()}
    for kind, family in FAMILIES:
        values = [short.get(name) for name in family]
        if all(isinstance(value, int | float) for value in values):
            return [float(value) for value in values if isinstance(value, int | float)], kind
    return None, ""


def _scale(numbers: np.ndarray, relative: Relative | None, subject: str) -> int:
    """The number that stands for the full width of an image; 0 if numbers are pixels.

    Raises:
        DataError: some boxes are fractions and others are not.
    """
    if relative is not None or not len(numbers):
        return int(relative or 0)
    inside = np.all((numbers >= -1e-3) & (numbers <= 1 + 1e-3), axis=1)
    if inside.all():
        return 1
    if inside.mean() > 0.5:
        raise DataError(
            f"{subject}: {inside.sum():,} of {len(inside):,} boxes are between 0 and 1, like fractions of "
            f"the image; the largest number is {numbers.max():g}. Add source.relative=true if all of them "
            "are fractions, or source.relative=false if they are pixels"
        )
    return 0


def _refuse_other_units(corners: pl.DataFrame, rows: list[int], sizes: "_Sizes", subject: str) -> None:
    """Reject boxes whose numbers are unlikely to be pixels.

    Raises:
        DataError: names the keys that set the unit.
    """
    some = _sample(len(rows))
    numbers = corners.to_numpy()
    doubt = pixel_doubt(numbers[some], sizes.of([rows[one] for one in some]))
    if doubt is None:
        return
    others = [f"source.relative={scale} if they are {SCALES[scale]}" for scale in possible_scales(numbers)]
    keys = [*others, "source.relative=false if they are pixels (boxes are then clipped to their images)"]
    raise DataError(f"{subject}: {doubt}. Add {', '.join(keys[:-1])}{' or ' if others else ''}{keys[-1]}")


def _sample(count: int) -> np.ndarray:
    """Evenly spaced rows, at most `LOOKED_AT`."""
    return np.linspace(0, count - 1, min(LOOKED_AT, count)).astype(int)


def _chosen_kind(
    kind: str, numbers: np.ndarray, rows: list[int], sizes: "_Sizes | None", subject: str
) -> Kind:
    """The box format: from the column names, or the only format that is consistent with the images.

    Raises:
        DataError: several formats are consistent.
    """
    options = [one for one in KINDS if one in kind.split(" or ")] if kind else list(KINDS)
    if len(options) == 1 or not len(numbers):
        return options[0]
    some = _sample(len(rows))
    size = np.ones((len(some), 2)) if sizes is None else sizes.of([rows[one] for one in some])
    slack = 0.002 if sizes is None else 1.5
    good = {one: _agrees(numbers[some], one, size, slack) for one in options}
    enough = max(2, AGAINST * len(some))
    left = [one for one in options if (~good[one]).sum() < enough]
    if len(left) == 1 and good[left[0]].all():
        return left[0]
    keys = " or ".join(f"source.box={one} ({MEANINGS[one]})" for one in left or options)
    first = " ".join(f"{number:g}" for number in numbers[0])
    raise DataError(f"{subject}: the box format is ambiguous ({first} fits several). Add {keys}")


def _agrees(numbers: np.ndarray, kind: Kind, size: np.ndarray, slack: float) -> np.ndarray:
    """Which boxes would be inside their images in this format, as far as the image sizes are known."""
    a, b, c, d = numbers.T
    if kind == "xyxy":
        x1, y1, x2, y2 = a, b, c, d
    elif kind == "xywh":
        x1, y1, x2, y2 = a, b, a + c, b + d
    else:
        x1, y1, x2, y2 = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    over = (x2 > size[:, 0] + slack) | (y2 > size[:, 1] + slack)
    return (x1 < x2) & (y1 < y2) & (x1 > -slack) & (y1 > -slack) & ~over


def _corners(four: pl.DataFrame, kind: Kind) -> pl.DataFrame:
    a, b, c, d = map(pl.col, BOX)
    if kind == "xywh":
        return four.select(x1=a, y1=b, x2=a + c, y2=b + d)
    if kind == "cxcywh":
        return four.select(x1=a - c / 2, y1=b - d / 2, x2=a + c / 2, y2=b + d / 2)
    return four


def _in_pixels(corners: pl.DataFrame, sizes: _Sizes, scale: int) -> pl.DataFrame:
    """Fractions of `scale` as pixels; no box if the image cannot be read, whose row is left out later."""
    size = sizes.of(list(range(len(corners))))
    size = size / scale
    frame = corners.with_columns(w=pl.Series(size[:, 0]), h=pl.Series(size[:, 1]))
    frame = frame.with_columns(pl.col("w", "h").fill_nan(None))
    x, y = pl.col("x1", "x2"), pl.col("y1", "y2")
    return frame.with_columns((x * pl.col("w")).round(3), (y * pl.col("h")).round(3)).select(BOX)


def _tiny(corners: pl.DataFrame, four: pl.DataFrame) -> Column:
    """Boxes smaller than a pixel, such as fractions among pixels."""
    x1, y1, x2, y2 = map(pl.col, BOX)
    small = ((x2 - x1) < 1) & ((y2 - y1) < 1) & (x2 > x1) & (y2 > y1) & (x2 <= 1) & (y2 <= 1)
    rows = corners.select(small.fill_null(False)).to_series().arg_true()
    message = "is smaller than a pixel; fractions of the image need source.relative=true"
    return {
        row: f"box {' '.join(f'{number:g}' for number in four.row(row))} {message}" for row in rows.to_list()
    }
