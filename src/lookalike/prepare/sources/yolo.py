"""YOLO text files: one line `class x_center y_center width height` per object, as fractions of the image."""

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from lookalike.data.decode import image_size
from lookalike.errors import DataError, ImageError, Problem
from lookalike.prepare.naming import SPLIT_NAMES
from lookalike.prepare.objects import AnnotatedObject, Box, ObjectsResult, objects_table, unannotated_images
from lookalike.prepare.scanning import images_below
from lookalike.prepare.sources.annotations import read_lines, read_text

log = logging.getLogger(__name__)
NAMES = ("classes.txt", "obj.names", "classes.names", "labels/classes.txt", "data.names")


def table(root: Path, names: Path | None = None) -> ObjectsResult:
    """One row per line: the image, the name of its class, and its box in pixels.

    The text file of `images/train/1.jpg` is `labels/train/1.txt`, or `1.txt` beside the image. A folder
    called train,
    val or test gives the split, if all images are in one. A line with more than five numbers is a
    polygon, whose bounding box is used, or a box with keypoints if `data.yaml` has `kpt_shape`.

    Args:
        root: the folder of the dataset.
        names: of the classes: `data.yaml`, or a text file with one per line; searched in `root` by default.

    Raises:
        DataError: there are no text files for the images, or no line can be used.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"source.root={folder}: there is no such folder")
    images = images_below(folder)
    known, pose = _names(folder, names), _has_key_points(folder, names)
    objects, problems = list[AnnotatedObject](), list[Problem]()
    for path in images:
        file = _text_file(folder, path)
        if file is None:
            continue
        try:
            size = image_size(folder / path)
        except ImageError as error:
            problems.append(Problem(path, error.reason))
            continue
        objects += _objects(path, file, folder, size, known, pose)
    if not objects:
        raise DataError(
            f"source.root={folder}: no text file with lines `class x y width height` belongs to one of its "
            f"{len(images):,} images, in a folder labels or beside them",
            problems,
        )
    result, wrong = objects_table(objects, folder, folder.name)
    lost = {problem.path for problem in problems}
    rest = unannotated_images((path for path in images if path not in lost), objects)
    return result, [*problems, *wrong, *rest]


def _names(folder: Path, provided: Path | None) -> dict[int, str]:
    """The names of the classes by their number; empty if there are none, which is logged."""
    if provided is not None:
        if not provided.expanduser().is_file():
            raise DataError(f"source.names={provided}: there is no such file")
        return _read_names(provided.expanduser())
    files = [
        *(folder / name for name in NAMES),
        *sorted(folder.glob("*.yaml")),
        *sorted(folder.glob("*.yml")),
    ]
    for file in files:
        if file.is_file() and (result := _read_names(file)):
            log.info("%s: names of %d classes", file, len(result))
            return result
    log.warning(
        "%s: no data.yaml or classes.txt: labels are the numbers of the classes; source.names=FILE", folder
    )
    return {}


def _read_names(file: Path) -> dict[int, str]:
    text = read_text(file)
    if file.suffix.lower() not in (".yaml", ".yml"):
        return {number: line.strip() for number, line in enumerate(text.splitlines()) if line.strip()}
    try:
        result = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{file}: not readable YAML: {str(error).splitlines()[0]}") from error
    names = result.get("names") if isinstance(result, dict) else None
    if isinstance(names, list):
        return {number: str(name) for number, name in enumerate(names)}
    if isinstance(names, dict) and all(str(number).isdigit() for number in names):
        return {int(number): str(name) for number, name in names.items()}
    return {}


def _has_key_points(folder: Path, provided: Path | None) -> bool:
    """Whether lines contain a box and then keypoints, according to `kpt_shape` in a YAML file."""
    files = (
        [provided.expanduser()] if provided is not None else [*folder.glob("*.yaml"), *folder.glob("*.yml")]
    )
    return any("kpt_shape" in read_text(file) for file in files if file.suffix.lower() in (".yaml", ".yml"))


def _text_file(folder: Path, path: str) -> Path | None:
    """The text file of an image."""
    parts = list(Path(path).with_suffix(".txt").parts)
    positions = [folder.joinpath(*parts), folder / "labels" / Path(*parts)]
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == "images":
            positions.insert(0, folder.joinpath(*parts[:index], "labels", *parts[index + 1 :]))
    return next((index for index in positions if index.is_file() and index.name != "classes.txt"), None)


def _objects(
    path: str, file: Path, folder: Path, size: tuple[int, int], names: Mapping[int, str], pose: bool
) -> Iterator[AnnotatedObject]:
    message = file.relative_to(folder).as_posix()
    parts = (SPLIT_NAMES.get(part.lower()) for part in Path(path).parts[:-1])
    split = next((part for part in parts if part), None)
    try:
        lines = read_lines(file)
    except DataError as error:
        yield AnnotatedObject(path, "?", None, message, 0, split, str(error))
        return
    for row, line in enumerate(lines):
        words = line.split()
        if not words:
            continue
        box, wrong = _box(words[1:5] if pose else words[1:], size)
        number = words[0].removesuffix(".0")
        if not number.isdigit():
            wrong = f"class {words[0]!r}: must be a whole number"
        elif names and int(number) not in names:
            wrong = f"class {number} has no name; there are {len(names)} names"
        label = names.get(int(number), number) if number.isdigit() else number
        yield AnnotatedObject(path, label, box, message, row, split, wrong)


def _box(words: list[str], size: tuple[int, int]) -> tuple[Box | None, str]:
    """Corners in pixels from centre and size, or from a polygon, given as fractions."""
    shown = " ".join(words)[:60]
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None, f"{shown!r}: must be numbers"
    if not all(map(math.isfinite, numbers)) or len(numbers) < 4:
        return None, f"{shown!r}: must be x_center y_center width height"
    if any(abs(number) > 1.5 for number in numbers[:4]):
        return None, f"{shown!r}: must be fractions of the image, from 0 to 1"
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        xs, ys = numbers[::2], numbers[1::2]
        x1, y1, x2, y2 = min(xs), min(ys), max(xs), max(ys)
    elif len(numbers) in (4, 5):  # a fifth value is a score
        x, y, width, height = numbers[:4]
        x1, y1, x2, y2 = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    else:
        return None, f"{shown!r}: must be x_center y_center width height, or a polygon"
    if x1 >= x2 or y1 >= y2:
        return None, f"{shown!r}: width and height must be above 0"
    right, bottom = size
    return (round(x1 * right, 3), round(y1 * bottom, 3), round(x2 * right, 3), round(y2 * bottom, 3)), ""
