"""Cars196 (Krause et al., 2013): photos of 196 car models."""

import math
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any

import polars as pl

from lookalike.data.checking import BOX
from lookalike.errors import DataError, Problem
from lookalike.prepare.boxes import corners_from_one
from lookalike.prepare.download.locating import find_archive, find_piece
from lookalike.prepare.sources import matlab
from lookalike.prepare.sources.annotations import FROM, ROW, ParsedTable, check_public_table, join_labels
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

ZIP = Archive("CARS196.zip", "http://ftp.cs.stanford.edu/cs/cvgl/CARS196.zip")
SET_FACTS: dict[str, Any] = {
    "name": "cars196",
    "title": "Cars196",
    "licence": "research, see its page",
    "size": "2 GB",
    "page": "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
}
SET = PublicSet(
    **SET_FACTS,
    pieces=(Piece("cars_annos.mat", (ZIP,)), Piece("car_ims", (ZIP,))),
    counts={"train": (8_054, 98), "test": (8_131, 98)},
)
DEVKIT = PublicSet(
    **SET_FACTS,
    pieces=(
        Piece("cars_train_annos.mat", (Archive("car_devkit.tgz"),)),
        Piece("cars_meta.mat", (Archive("car_devkit.tgz"),)),
        Piece("cars_test_annos_withlabels.mat", (Archive("cars_test_annos_withlabels.mat"),)),
        Piece(
            "cars_train",
            (Archive("cars_train.tgz", size=979_269_282, checksum="md5:065e5b463ae28d29e77c1b4b166cfe61"),),
        ),
        Piece(
            "cars_test",
            (Archive("cars_test.tgz", size=977_350_468, checksum="md5:4ce7ebf6a94d07f1952d94dd34c4d501"),),
        ),
    ),
    login="The authors' server no longer offers these files; copies are on Kaggle.",
    counts=SET.counts,
)
OFFICIAL = {"train": (8_144, 196), "test": (8_041, 196)}
LISTS = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
TESTED = {0: "train", 1: "test"}
TRAINED = 98
WORDS = {str: "text", int: "a whole number", float: "a number"}
TYPES = {str: pl.String, int: pl.Int64, float: pl.Float64}
Annotated = tuple[pl.DataFrame, list[Problem]]
CORNERS = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]


def table(raw: Raw, official_split: bool = False, boxes: bool = True) -> ParsedTable:
    """The first 98 classes are for training, the other 98 for testing; labels are model names.

    Reads `cars_annos.mat` with `car_ims/`, or the devkit with `cars_train/` and `cars_test/`. The published
    boxes count pixels from 1, the last one inclusive; here they are x1 y1 x2 y2 from 0 with x2, y2 exclusive.

    Args:
        raw: where its files are.
        official_split: use the classification split by image, where both halves contain every class.
        boxes: keep the boxes, so that images are cropped to them; most published results use whole images.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    folder, frame, wrong = _read_devkit(raw) if _has_devkit(raw.root(SET)) else _read_whole_set(raw)
    if not official_split:
        by_class = pl.when(pl.col("class") <= TRAINED).then(pl.lit("train")).otherwise(pl.lit("test"))
        frame = frame.with_columns(split=by_class)
    frame = corners_from_one(frame, CORNERS) if boxes else frame.drop(CORNERS)
    columns = ["path", "label", "split", FROM, ROW, *(BOX if boxes else ())]
    public_set = replace(SET, counts=OFFICIAL) if official_split else SET
    return check_public_table(frame.select(columns), folder, public_set, wrong)


def _has_devkit(root: Path) -> bool:
    if find_piece(root, "cars_annos.mat") or find_archive(root, ZIP.file):
        return False
    first = DEVKIT.pieces[0]
    return find_piece(root, first.holds) is not None or find_archive(root, first.archives[0].file) is not None


def _read_whole_set(raw: Raw) -> tuple[Path, pl.DataFrame, list[Problem]]:
    paths = raw.open(SET)
    file = paths["cars_annos.mat"]
    (content,) = matlab.read(file)
    frame, wrong = _read_annotations(file, content, {"relative_im_path": str, "test": int})
    split = pl.col("test").replace_strict(TESTED, default=None, return_dtype=pl.String)
    frame = frame.with_columns(split=split, path="relative_im_path")
    return paths["car_ims"].parent, *_name_labels(frame, wrong, file, content)


def _read_devkit(raw: Raw) -> tuple[Path, pl.DataFrame, list[Problem]]:
    paths, root = raw.open(DEVKIT), raw.root(SET)
    files = [paths[name] for name in (*LISTS.values(), "cars_meta.mat")]
    *contents, names = matlab.read(*files)
    frames, wrong = [], []
    for split, file, content in zip(LISTS, files, contents, strict=False):
        images = paths[f"cars_{split}"]
        images = images / images.name if (images / images.name).is_dir() else images
        path = pl.concat_str(pl.lit(f"{images.relative_to(root).as_posix()}/"), pl.col("fname"))
        frame, bad = _read_annotations(file, content, {"fname": str})
        frames.append(frame.with_columns(split=pl.lit(split), path=path))
        wrong += bad
    return root, *_name_labels(pl.concat(frames), wrong, files[-1], names)


def _read_annotations(file: Path, content: dict[str, Any], more: dict[str, type]) -> Annotated:
    """The rows of the struct array `annotations`; invalid ones are listed."""
    rows = content.get("annotations")
    rows = [rows] if isinstance(rows, dict) else rows
    kinds = dict.fromkeys(CORNERS, float) | {"class": int} | more
    if rows is None or not len(rows) or not isinstance(rows[0], dict):
        raise DataError(f"{file}: has no struct array 'annotations'; it contains {_keys(content)}")
    lacking = [name for name in kinds if name not in rows[0]]
    if lacking:
        raise DataError(f"{file}: annotations have no field {', '.join(lacking)}; they have {_keys(rows[0])}")
    table_rows, wrong = [], []
    for row, values in enumerate(rows):
        converted = {name: _convert_value(kind, values[name]) for name, kind in kinds.items()}
        bad = [
            f"{name}={values[name]!r:.40}: must be {WORDS[kinds[name]]}"
            for name in kinds
            if converted[name] is None
        ]
        if bad:
            wrong.append(Problem(file.name, ", ".join(bad), row))
        else:
            table_rows.append((*converted.values(), file.name, row))
    if not table_rows:
        raise DataError(f"{file}: no annotation is valid", wrong)
    schema = {name: TYPES[kind] for name, kind in kinds.items()} | {FROM: pl.String, ROW: pl.Int64}
    return pl.DataFrame(table_rows, schema=schema, orient="row"), wrong


def _convert_value(kind: type, value: Any) -> Any:
    """The value of a field as this kind; None if it is another."""
    if kind is str:
        return value if isinstance(value, str) else None
    if not isinstance(value, Real) or not math.isfinite(value):
        return None
    return kind(value) if kind(value) == value else None


def _keys(content: dict[str, Any]) -> str:
    return ", ".join(name for name in content if not name.startswith("__"))


def _name_labels(frame: pl.DataFrame, wrong: list[Problem], file: Path, content: dict[str, Any]) -> Annotated:
    """The class names as labels."""
    names = content.get("class_names")
    if names is None or isinstance(names, str):
        raise DataError(f"{file}: has no class_names; it contains {_keys(content)}")
    numbered = [(number, str(name), file.name, number - 1) for number, name in enumerate(names, 1)]
    frame, bad = join_labels(
        frame, pl.DataFrame(numbered, schema=["class", "label", FROM, ROW], orient="row"), "class"
    )
    return frame, wrong + bad
