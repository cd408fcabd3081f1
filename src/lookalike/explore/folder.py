"""The explorer's folder: the page, sheets of thumbnails if there are many, and the data as Parquet."""

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

from lookalike.data.checking import NOTHING
from lookalike.data.table import Table
from lookalike.errors import LookalikeError, Problem, list_problems
from lookalike.explore import sheets
from lookalike.explore.columns import boxes_of, page_columns, short_paths
from lookalike.explore.page import describe_columns, neighbour_arrays, pack, render
from lookalike.files import parse_json, replace_folder, write_text
from lookalike.plots.projection import principal_components
from lookalike.plots.tsne_map import tsne
from lookalike.ranking.exact import ExactSearch
from lookalike.version import __version__
from lookalike.wording import count_noun

log = logging.getLogger(__name__)
BLOCK = 4096


def lay_out_map(vectors: np.ndarray, layout: str, seed: int) -> np.ndarray:
    """Positions in the plane, float64 [N, 2]: by t-SNE, or the first two principal components.

    Fewer than 4 vectors, too few for t-SNE, are laid out by PCA.
    """
    if layout == "tsne" and len(vectors) >= 4:
        log.info("t-SNE of %s vectors; layout=pca is faster but separates classes less", f"{len(vectors):,}")
        return np.asarray(tsne(np.asarray(vectors, np.float32), seed), np.float64)
    return principal_components(vectors)[0]


def scale_positions(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions with the longer side from 0 to 1 and y downwards, float32 [N, 2]; and both extents, [2]."""
    low, extent = positions.min(axis=0), np.ptp(positions, axis=0)
    unit = (positions - low) / max(float(extent.max()), 1e-12)
    share = unit.max(axis=0)
    unit[:, 1] = share[1] - unit[:, 1]
    return unit.astype(np.float32), np.maximum(share, 0.05)


def nearest_rows(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` most similar rows of each row, excluding itself.

    Returns:
        rows int64 [N, k], -1 where there are no more; cosine similarities float32 [N, k].
    """
    exact = ExactSearch(vectors)
    rows = np.full((len(vectors), k), -1, np.int64)
    scores = np.zeros((len(vectors), k), np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = slice(start, min(start + BLOCK, len(vectors)))
        scores[block], rows[block] = exact.search(vectors[block], k, np.arange(block.start, block.stop))
    return rows, np.where(rows < 0, 0, np.clip(scores, -1, 1)).astype(np.float32)


MARK = "explore.json"
ONE_FILE = 10_000
"""Maximum number of images for thumbnails inside the page by default: about 15 MB."""


@dataclass(frozen=True)
class Options:
    """Settings of the map.

    Attributes:
        layout: tsne or pca.
        neighbours: number of nearest neighbours per image.
        thumbnail: longer side of a thumbnail in pixels.
        single: whether thumbnails are in the page; None decides by their number.
        originals: whether the page shows the original files if it can reach them.
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

    positions: np.ndarray
    rows: np.ndarray
    scores: np.ndarray


@dataclass
class _Pictures:
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
    """Write the folder and return its page, reusing an earlier layout of the same vectors.

    Args:
        vectors: float32 [N, D], each of length 1.
        table: the images, in the same order.
        out: an existing explorer folder is replaced; any other content is an error.
        title: of the page.
        options: of the map.
        further: more columns to colour by.

    Raises:
        LookalikeError: `out` has other content, or there are too few images.
    """
    options = options or Options()
    if len(vectors) < 2:
        raise LookalikeError(f"explore: {count_noun(len(vectors), 'image')}; a map needs at least 2")
    metadata = _layout_metadata(vectors, options)
    with replace_folder(out, MARK) as temporary:
        layout = _stored_layout(out, metadata) or _compute_layout(vectors, options)
        _write_files(temporary, out, layout, table, title, options, further or {})
        write_text(temporary / MARK, json.dumps(metadata, indent=2) + "\n")
    return out / "index.html"


def _layout_metadata(vectors: np.ndarray, options: Options) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(vectors, np.float32).tobytes()).hexdigest()
    return {"made_by": f"lookalike {__version__}", "vectors": digest, **asdict(options)}


def _compute_layout(vectors: np.ndarray, options: Options) -> Layout:
    rows, scores = nearest_rows(vectors, min(options.neighbours, len(vectors) - 1))
    return Layout(lay_out_map(vectors, options.layout, options.seed), rows, scores)


def _stored_layout(out: Path, metadata: dict[str, Any]) -> Layout | None:
    """The layout of an existing explorer of the same vectors with the same settings."""
    try:
        before = parse_json((out / MARK).read_text(encoding="utf-8"))
        if any(before.get(key) != metadata[key] for key in ("vectors", "layout", "neighbours", "seed")):
            return None
        frame = pl.read_parquet(out / "points.parquet", columns=["x", "y", "neighbors"])
        neighbours = frame["neighbors"].struct.unnest()
        rows, distances = (np.array(neighbours[name].to_list()) for name in ("ids", "distances"))
    except (OSError, ValueError, pl.exceptions.PolarsError):
        return None
    log.info("the layout in %s is reused", out)
    return Layout(
        frame.select("x", "y").to_numpy(), rows.astype(np.int64), (1 - distances).astype(np.float32)
    )


def _write_files(
    target: Path,
    out: Path,
    layout: Layout,
    table: Table,
    title: str,
    options: Options,
    further: Mapping[str, np.ndarray],
) -> None:
    """Write the page, its sheets and the Parquet into `target`, which will be renamed to `out`."""
    unit, extent = scale_positions(layout.positions)
    tiles = sheets.tile_order(unit)
    pictures = _draw_pictures(target, table, tiles, options)
    columns = page_columns(table, {"nearest": _nearest_is_same(table, layout.rows), **further})
    listed, codes = describe_columns(columns)
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
        "heights": pictures.heights,
        "extent": extent.tolist(),
    }
    arrays = {
        "x": unit[:, 0],
        "y": unit[:, 1],
        "tile": tiles.astype(np.uint32),
        "tile_width": pictures.sizes[:, 0],
        "tile_height": pictures.sizes[:, 1],
        **neighbour_arrays(layout.rows, layout.scores),
        **codes,
    }
    sentence = (
        f"{count_noun(len(table), 'image')} · "
        f"{count_noun(table.frame['label'].n_unique(), 'class', 'classes')}"
    )
    write_text(target / "index.html", render(title, sentence, pack(head, arrays), pictures.inside))
    as_parquet(layout, table.relative_to(out), pictures.pictures).write_parquet(target / "points.parquet")


def _draw_pictures(folder: Path, table: Table, tiles: np.ndarray, options: Options) -> _Pictures:
    """All pictures, on sheets for the page or, if they are many, in files."""
    single = len(table) <= ONE_FILE if options.single is None else options.single
    pictures = _Pictures(np.zeros((len(table), 2), np.uint16), [b""] * len(table))
    if not single:
        (folder / "sheets").mkdir()
    for number, sheet in enumerate(sheets.draw_sheets(table, tiles, options.thumbnail, options.progress)):
        pictures.sizes[sheet.rows] = sheet.sizes
        pictures.heights.append(sheet.height)
        pictures.problems += sheet.problems
        for row, picture in zip(sheet.rows.tolist(), sheet.pictures, strict=True):
            pictures.pictures[row] = picture
        if single:
            pictures.inside.append(sheet.webp)
        else:
            (folder / "sheets" / f"{number:04}.webp").write_bytes(sheet.webp)
    if pictures.problems:
        problem_text = list_problems(pictures.problems)
        unread = count_noun(len(pictures.problems), "image")
        log.warning("%s cannot be read, crossed out:%s", unread, problem_text)
    return pictures


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
            "x": layout.positions[:, 0].astype(np.float64),
            "y": layout.positions[:, 1].astype(np.float64),
            "neighbors": pl.Series(neighbors, dtype=kind),
            "image": pl.Series(
                [{"bytes": picture, "path": None} for picture in pictures],
                dtype=pl.Struct({"bytes": pl.Binary, "path": pl.String}),
            ),
        }
    )
    renamed = {name: f"{name}_of_data" for name in table.frame.columns if name in ours.columns}
    return ours.hstack(table.frame.rename(renamed))
