"""The explorer's folder: the page, sheets of pictures where they are many, and the same data as Parquet."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lookalike import __version__
from lookalike.data.checking import NOTHING
from lookalike.data.table import Table
from lookalike.errors import LookalikeError, Problem, listing
from lookalike.explore import near, sheets
from lookalike.explore.columns import boxes_of, columns_of, short_paths
from lookalike.explore.page import described, near_arrays, pack, render
from lookalike.files import replaced_folder, write_text

log = logging.getLogger(__name__)
MARK = "explore.json"
ONE_FILE = 10_000
"""Up to so many images the page holds its pictures, unless asked otherwise: about 15 MB."""


@dataclass(frozen=True)
class Options:
    """How the map is made.

    Attributes:
        layout: tsne or pca.
        neighbours: nearest images of each image.
        thumbnail: pixels of the longer side of a picture.
        single: whether the pictures are in the page; None decides by their number.
        originals: whether the page shows the image files themselves where it can reach them.
        seed: of the layout.
        progress: show progress bars.
    """

    layout: str = "tsne"
    neighbours: int = 10
    thumbnail: int = 64
    single: bool | None = None
    originals: bool = True
    seed: int = 0
    progress: bool = True


@dataclass(frozen=True)
class Layout:
    """What is computed once for some vectors: positions [N, 2], neighbours [N, k] and similarities [N, k]."""

    places: np.ndarray
    rows: np.ndarray
    scores: np.ndarray


@dataclass
class _Drawn:
    """Pictures as they come: sheets that go into the page, heights of all sheets, and each row's own."""

    sizes: np.ndarray
    pictures: list[bytes]
    inside: list[bytes] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def write_explorer(
    vectors: np.ndarray,
    table: Table,
    out: Path,
    title: str,
    options: Options | None = None,
    further: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write the folder and return its page. What an earlier one there had computed for these vectors is used.

    Args:
        vectors: float32 [N, D], each of length 1.
        table: the images, in the same order.
        out: an explorer's folder that is there gives way; anything else is refused.
        title: what the page is called.
        options: how the map is made.
        further: more numbers or classes of each image to colour by.

    Raises:
        LookalikeError: `out` holds something else, or there are too few images.
    """
    options = options or Options()
    if len(vectors) < 2:
        raise LookalikeError(f"explore: {len(vectors)} images; a map needs at least 2")
    about = _about(vectors, options)
    with replaced_folder(out, MARK) as beside:
        layout = _stored(out, about) or _computed(vectors, options)
        _fill(beside, out, layout, table, title, options, further or {})
        write_text(beside / MARK, json.dumps(about, indent=2) + "\n")
    return out / "index.html"


def _about(vectors: np.ndarray, options: Options) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(vectors, np.float32).tobytes()).hexdigest()
    return {"made_by": f"lookalike {__version__}", "vectors": digest, **asdict(options)}


def _computed(vectors: np.ndarray, options: Options) -> Layout:
    rows, scores = near.nearest(vectors, min(options.neighbours, len(vectors) - 1))
    return Layout(near.lay_out(vectors, options.layout, options.seed), rows, scores)


def _stored(out: Path, about: dict[str, Any]) -> Layout | None:
    """The layout of an explorer that was made of the same vectors in the same way."""
    try:
        before = json.loads((out / MARK).read_text(encoding="utf-8"))
        if any(before.get(key) != about[key] for key in ("vectors", "layout", "neighbours", "seed")):
            return None
        frame = pl.read_parquet(out / "points.parquet", columns=["x", "y", "neighbors"])
        found = frame["neighbors"].struct.unnest()
        rows, apart = (np.array(found[name].to_list()) for name in ("ids", "distances"))
    except (OSError, ValueError, pl.exceptions.PolarsError):
        return None
    log.info("the layout in %s is used again", out)
    return Layout(frame.select("x", "y").to_numpy(), rows.astype(np.int64), (1 - apart).astype(np.float32))


def _fill(
    beside: Path,
    out: Path,
    layout: Layout,
    table: Table,
    title: str,
    options: Options,
    further: Mapping[str, np.ndarray],
) -> None:
    """Write the page, its sheets and the Parquet into `beside`, which will be renamed to `out`."""
    unit, extent = near.scaled(layout.places)
    tiles = sheets.tile_order(unit)
    drawn = _draw(beside, table, tiles, options)
    columns = columns_of(table, {"nearest": _nearest_is_same(table, layout.rows), **further})
    listed, codes = described(columns)
    paths, folder, root = short_paths(table)
    head = {
        "file": re.sub(r"[^\w.-]+", "-", title).strip("-.") or "lookalike",
        "root": root,
        "paths": paths,
        "boxes": boxes_of(table),
        "nothing": NOTHING,
        "originals": _from(out, folder) if options.originals else None,
        "columns": listed,
        "k": layout.rows.shape[1],
        "side": options.thumbnail,
        "per_side": sheets.PER_SIDE,
        "heights": drawn.heights,
        "extent": extent.tolist(),
    }
    arrays = {
        "x": unit[:, 0],
        "y": unit[:, 1],
        "tile": tiles.astype(np.uint32),
        "tile_width": drawn.sizes[:, 0],
        "tile_height": drawn.sizes[:, 1],
        **near_arrays(layout.rows, layout.scores),
        **codes,
    }
    sentence = f"{len(table):,} images · {table.frame['label'].n_unique():,} classes"
    write_text(beside / "index.html", render(title, sentence, pack(head, arrays), drawn.inside))
    as_parquet(layout, table.relative_to(out), drawn.pictures).write_parquet(beside / "points.parquet")


def _draw(beside: Path, table: Table, tiles: np.ndarray, options: Options) -> _Drawn:
    """All pictures, on sheets for the page or, if they are many, in files."""
    single = len(table) <= ONE_FILE if options.single is None else options.single
    drawn = _Drawn(np.zeros((len(table), 2), np.uint16), [b""] * len(table))
    if not single:
        (beside / "sheets").mkdir()
    for number, sheet in enumerate(sheets.draw_sheets(table, tiles, options.thumbnail, options.progress)):
        drawn.sizes[sheet.rows] = sheet.sizes
        drawn.heights.append(sheet.height)
        drawn.problems += sheet.problems
        for row, picture in zip(sheet.rows.tolist(), sheet.pictures, strict=True):
            drawn.pictures[row] = picture
        if single:
            drawn.inside.append(sheet.webp)
        else:
            (beside / "sheets" / f"{number:04}.webp").write_bytes(sheet.webp)
    if drawn.problems:
        said = listing(drawn.problems)
        log.warning("%d images cannot be read, and are crossed out:%s", len(drawn.problems), said)
    return drawn


def _from(out: Path, folder: str) -> str:
    """The folder of the images as seen from the page."""
    return Path(os.path.relpath(folder, os.path.realpath(out))).as_posix()


def _nearest_is_same(table: Table, rows: np.ndarray) -> np.ndarray:
    labels = table.labels
    first = rows[:, 0]
    return np.where(labels[first] == labels, "same label", "another label")


def as_parquet(layout: Layout, table: Table, pictures: list[bytes]) -> pl.DataFrame:
    """The map as a table that embedding-atlas opens: x, y, neighbors {ids, distances}, image, all columns.

    Distances are 1 − cosine similarity. A column of the data with one of these names is called `…_of_data`.
    """
    neighbors = [
        {
            "ids": [row for row in rows if row >= 0],
            "distances": [1 - score for score in scores[: np.sum(rows >= 0)]],
        }
        for rows, scores in zip(layout.rows, layout.scores.astype(np.float64), strict=True)
    ]
    kind = pl.Struct({"ids": pl.List(pl.Int64), "distances": pl.List(pl.Float64)})
    ours = pl.DataFrame(
        {
            "x": layout.places[:, 0].astype(np.float64),
            "y": layout.places[:, 1].astype(np.float64),
            "neighbors": pl.Series(neighbors, dtype=kind),
            "image": pl.Series(
                [{"bytes": picture, "path": None} for picture in pictures],
                dtype=pl.Struct({"bytes": pl.Binary, "path": pl.String}),
            ),
        }
    )
    taken = {name: f"{name}_of_data" for name in table.frame.columns if name in ours.columns}
    return ours.hstack(table.frame.rename(taken))
