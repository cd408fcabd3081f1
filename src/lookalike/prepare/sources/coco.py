"""COCO's JSON: images, categories, and annotations with boxes (Lin et al., 2014)."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lookalike.errors import DataError
from lookalike.prepare.naming import SPLIT_NAMES
from lookalike.prepare.objects import AnnotatedObject, Box, ObjectsResult, objects_table, unannotated_images
from lookalike.prepare.sources.annotations import read_json

log = logging.getLogger(__name__)


def table(file: Path | dict[str, str], root: Path | None = None, label: str | None = None) -> ObjectsResult:
    """One row per annotation: the image, its category, and its box, converted from x y width height.

    Args:
        file: the JSON; or one for each split, as `{train: train.json, val: val.json}`.
        root: folder that file names are relative to; by default that of the JSON file, or one beside it that
        contains the images.
        label: annotation field to use as the label, such as identity; by default the category name.

    Raises:
        DataError: a file is not COCO JSON, its images are missing, or no annotation can be used.
    """
    files = _files(file)
    images, objects = dict[str, None](), list[AnnotatedObject]()
    folder = None
    for split, one in files.items():
        content = _content(one)
        paths = _paths(content, one)
        folder = folder or _root(root, one, list(paths.values()))
        images |= dict.fromkeys(paths.values())
        names = {_key(each): str(each.get("name", each.get("id"))) for each in content["categories"]}
        objects += [
            _object(each, row, one.name, split, paths, names, label)
            for row, each in enumerate(content["annotations"])
        ]
    if folder is None:
        raise DataError("source.file={}: name at least one file")
    result, problems = objects_table(objects, folder, next(iter(files.values())).name)
    return result, [*problems, *unannotated_images(images, objects)]


def _files(file: Path | Mapping[str, str]) -> dict[str | None, Path]:
    if not isinstance(file, Mapping):
        return {None: Path(file).expanduser()}
    strange = [name for name in file if name.lower() not in SPLIT_NAMES]
    if strange:
        raise DataError(f"source.file={{{strange[0]}: …}}: must be train, val or test")
    return {SPLIT_NAMES[name.lower()]: Path(one).expanduser() for name, one in file.items()}


def _content(file: Path) -> dict[str, list[dict[str, Any]]]:
    content = read_json(file)
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in parts):
        raise DataError(f"{file}: is not COCO JSON, which has the lists images, annotations and categories")
    if not all(isinstance(one, dict) for part in parts for one in content[part]):
        raise DataError(f"{file}: is not COCO JSON: an entry of its lists is not an object")
    return content


def _key(entry: Mapping[str, Any], name: str = "id") -> str:
    return str(entry.get(name))


def _paths(content: Mapping[str, Sequence[Mapping[str, Any]]], file: Path) -> dict[str, str]:
    paths: dict[str, str] = {}
    for one in content["images"]:
        name = one.get("file_name")
        if not isinstance(name, str) or not name:
            raise DataError(f"{file}: image {_key(one)} has no file_name")
        if _key(one) in paths:
            raise DataError(f"{file}: two images have the id {_key(one)}")
        paths[_key(one)] = name.replace("\\", "/")
    return paths


def _root(root: Path | None, file: Path, paths: Sequence[str]) -> Path:
    """Find the folder that file names are relative to.

    Raises:
        DataError: it is none of the usual folders.
    """
    if root is not None:
        if not root.expanduser().is_dir():
            raise DataError(f"source.root={root}: there is no such folder")
        return root.expanduser()
    last = file.stem.rpartition("_")[2]
    nearest = (file.parent, file.parent.parent)
    folders = [*nearest, *(one / name for one in nearest for name in ("images", last, f"images/{last}"))]
    for folder in folders:
        if paths and (folder / paths[0]).is_file():
            if folder != file.parent:
                log.info("%s: images are in %s", file, folder)
            return folder
    first = paths[0] if paths else "its images"
    raise DataError(
        f"{file}: {first} is not below {file.parent}; give the folder of its file names: source.root=…"
    )


def _object(
    one: Mapping[str, Any],
    row: int,
    file: str,
    split: str | None,
    paths: Mapping[str, str],
    names: Mapping[str, str],
    label: str | None,
) -> AnnotatedObject:
    path = paths.get(_key(one, "image_id"), "")
    value = names.get(_key(one, "category_id")) if label is None else one.get(label)
    box, wrong = _box(one.get("bbox"))
    if not path:
        wrong = f"image_id {_key(one, 'image_id')} is not among the images"
    elif value is None and label is not None:
        wrong = f"has no field {label!r}; it has {', '.join(map(str, one))}"
    elif value is None:
        wrong = f"category_id {_key(one, 'category_id')} is not among the categories"
    elif isinstance(value, dict | list | bool | float):
        wrong = f"{label} is {value!r:.40}: labels are text or integers"
    elif one.get("iscrowd"):
        wrong = "is a crowd, not a single object (iscrowd)"
    return AnnotatedObject(path or file, "" if value is None else str(value), box, file, row, split, wrong)


def _box(value: object) -> tuple[Box | None, str]:
    """Corners of x y width height."""
    if value is None or value == []:
        return None, ""
    if not isinstance(value, list) or len(value) != 4:
        return None, f"bbox {value!r:.60}: must be x, y, width, height"
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in value):
        return None, f"bbox {value!r:.60}: must be four finite numbers"
    x, y, width, height = map(float, value)
    if width <= 0 or height <= 0:
        return None, f"bbox {value!r:.60}: width and height must be above 0"
    return (x, y, x + width, y + height), ""
