"""Finding the box columns of a table under the names used by various tools."""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import polars as pl


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


PREFIXES = ("boundingbox", "bndbox", "bbox", "box", "bb", "roi", "crop", "rect", "face", "object", "obj")
TEXTS = (
    "bbox",
    "boundingbox",
    "bndbox",
    "box",
    "boxes",
    "bboxes",
    "roi",
    "rect",
    "bboxxyxy",
    "bboxxywh",
    "xyxy",
    "xywh",
    "bboxcxcywh",
    "cxcywh",
)
"""Names of columns that contain all four numbers."""
FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = tuple(
    (kind, tuple(names.split()))
    for kind, names in (
        ("xyxy", "x1 y1 x2 y2"),
        ("xyxy", "xmin ymin xmax ymax"),
        ("xyxy", "minx miny maxx maxy"),
        ("xyxy", "left top right bottom"),
        ("xyxy", "l t r b"),
        ("xyxy", "xtl ytl xbr ybr"),
        ("xyxy", "x0 y0 x1 y1"),
        ("xyxy", "startx starty endx endy"),
        ("xyxy", "xstart ystart xend yend"),
        ("xyxy", "tlx tly brx bry"),
        ("xyxy", "topleftx toplefty bottomrightx bottomrighty"),
        ("xyxy", "upperleftx upperlefty lowerrightx lowerrighty"),
        ("xyxy", "xleft ytop xright ybottom"),
        ("cxcywh", "xcenter ycenter width height"),
        ("cxcywh", "xcenter ycenter w h"),
        ("cxcywh", "xcentre ycentre width height"),
        ("cxcywh", "centerx centery width height"),
        ("cxcywh", "centerx centery w h"),
        ("cxcywh", "centrex centrey width height"),
        ("cxcywh", "cx cy w h"),
        ("cxcywh", "cx cy width height"),
        ("cxcywh", "xc yc w h"),
        ("cxcywh", "xc yc width height"),
        ("xywh", "left top width height"),
        ("xywh", "left top w h"),
        ("xywh", "l t w h"),
        ("xywh", "xmin ymin width height"),
        ("xywh", "xmin ymin w h"),
        ("xywh", "x1 y1 w h"),
        ("xywh", "x1 y1 width height"),
        ("xywh", "x0 y0 w h"),
        ("xywh", "topleftx toplefty width height"),
        ("xywh or cxcywh", "x y w h"),
        ("xywh or cxcywh", "x y width height"),
        ("xywh or cxcywh", "x y dx dy"),
    )
)
BOX = ("x1", "y1", "x2", "y2")
CERTAIN = {"x2", "y2", "xmin", "ymin", "xmax", "ymax", "xtl", "ytl", "xbr", "ybr", "xcenter", "ycenter"}
"""Names that indicate a box even if there are not four of them."""
OWN_COLUMNS = ("original_box", "found_box", "found_landmarks")
"""Columns that `detect` writes."""


@dataclass(frozen=True)
class BoxColumns:
    """The box columns of a table.

    Attributes:
        names: four columns of numbers, or one of texts or lists.
        kind: xyxy, xywh, cxcywh, several of them with `or`, or empty if the names do not tell.
    """

    names: tuple[str, ...]
    kind: str


def normalise_name(name: str) -> str:
    """A name in lower case, only letters and digits: `X_Min` becomes `xmin`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _stem(name: str) -> tuple[str, str]:
    """The prefix of a name, such as bbox, and the rest."""
    short = normalise_name(name)
    for prefix in PREFIXES:
        if short.startswith(prefix) and len(short) > len(prefix):
            return prefix, short.removeprefix(prefix)
    return "", short


def is_box_name(name: str) -> bool:
    """Whether a column with this name is a box, or one of its numbers."""
    prefix, rest = _stem(name)
    return (
        normalise_name(name) in TEXTS
        or rest in CERTAIN
        or bool(prefix and any(rest in them for _, them in FAMILIES))
    )


def _is_part(name: str) -> bool:
    return is_box_name(name) and normalise_name(name) not in TEXTS


def find_boxes(
    frame: pl.DataFrame, named: Mapping[str, object], taken: Set[str], wrong: list[str], prefix: str
) -> BoxColumns | None:
    """The columns of boxes, if there are any.

    Args:
        frame: the table.
        named: with `box` if the user gives it: a name, four names, or None for none.
        taken: columns that are used for something else.
        wrong: list to which problems are added.
        prefix: of the keys in messages.
    """
    names = [name for name in frame.columns if name not in taken and name not in OWN_COLUMNS]
    if "box" in named:
        provided = named["box"]
        if provided is None:
            return None
        chosen = tuple(map(str, provided)) if isinstance(provided, list | tuple) else (str(provided),)
        return BoxColumns(chosen, _kind_of(chosen))
    result = [*_quadruples(names), *_texts(frame, names)]
    none = f"'{prefix}columns={{box: null}}' for whole images"
    if len(result) > 1:
        keys = " or ".join(_box_key(one.names, prefix) for one in result)
        wrong.append(f"several columns may be the box: {keys}; or {none}")
    used = {one for each in result for one in each.names}
    half = [name for name in names if name not in used and (name in BOX or _is_part(name))]
    if result and half:
        wrong.append(
            f"the box is in {', '.join(sorted(used))}, and there is also {', '.join(half)}: keep one of "
            f"the two, or set "
            f"it: {_box_key(result[0].names, prefix)}"
        )
    elif not result:
        odd = [name for name in names if _looks_like_boxes(frame, name)]
        if half:
            wrong.append(
                f"{', '.join(half)} look like parts of a box, but not all four are present: set "
                f"them with "
                f"'{prefix}columns={{box: [left, top, right, bottom]}}'; or {none}"
            )
        elif odd:
            wrong.append(f"{odd[0]!r} looks like a box: {_box_key((odd[0],), prefix)} or {none}")
    return result[0] if len(result) == 1 else None


def _box_key(names: Sequence[str], prefix: str) -> str:
    message = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
    return f"'{prefix}columns={{box: {message}}}'"


def _kind_of(names: Sequence[str]) -> str:
    """The box format that the names imply."""
    if len(names) == 4:
        rest = tuple(_stem(name)[1] for name in names)
        return next((kind for kind, family in FAMILIES if family == rest), "")
    short = normalise_name(names[0])
    return next((kind for kind in ("cxcywh", "xyxy", "xywh") if short.endswith(kind)), "")


def _quadruples(names: Sequence[str]) -> list[BoxColumns]:
    """Four columns with names of one family and the same prefix."""
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        prefix, rest = _stem(name)
        groups.setdefault(prefix, {}).setdefault(rest, name)
    results = []
    for group in groups.values():
        for kind, family in FAMILIES:
            if all(one in group for one in family):
                results.append(BoxColumns(tuple(group.pop(one) for one in family), kind))
    return results


def _texts(frame: pl.DataFrame, names: Sequence[str]) -> list[BoxColumns]:
    """Columns with all four numbers."""
    return [
        BoxColumns((name,), _kind_of((name,)))
        for name in names
        if normalise_name(name) in TEXTS
        and (name == "bbox" or frame[name].null_count() < len(frame))
        and not frame[name].dtype.is_numeric()
    ]


def _looks_like_boxes(frame: pl.DataFrame, name: str) -> bool:
    """Whether a column with another name contains four numbers in brackets in every non-empty row."""
    column = frame[name]
    if column.dtype in (pl.List(pl.Float64), pl.List(pl.Int64)):
        return bool((column.drop_nulls().list.len() == 4).all()) and column.null_count() < len(column)
    if column.dtype != pl.String:
        return False
    filled = column.drop_nulls().str.strip_chars()
    filled = filled.filter(filled != "")
    four = r"^[\[({]\s*-?[\d.]+(\s*[,;\s]\s*-?[\d.]+){3}\s*[\])}]$"
    return bool(len(filled)) and bool(filled.str.contains(four).all())
