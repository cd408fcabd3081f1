"""Pascal VOC XML, one file per image, as written by labelImg and others (Everingham et al., 2010)."""

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from lookalike.errors import DataError, Problem
from lookalike.prepare.naming import escape_controls
from lookalike.prepare.objects import AnnotatedObject, Box, ObjectsResult, objects_table, unannotated_images
from lookalike.prepare.scanning import images_below
from lookalike.prepare.sources.annotations import read_text

CORNERS = ("xmin", "ymin", "xmax", "ymax")
SPLITS = ("train", "val", "test")
LARGEST = 16 << 20


class _RefusedError(Exception):
    """An XML file that is not read; the text states the reason."""


def table(root: Path, difficult: bool = True) -> ObjectsResult:
    """One row per object: the image, its name, and its box.

    VOC counts pixels from 1, the last one inclusive, so 1 1 4 3 becomes 0 0 4 3. Splits are those of
    `ImageSets/Main/train.txt`, `val.txt` and `test.txt`, if all images are in one of them.

    Args:
        root: the folder with `Annotations` and `JPEGImages`, or any with XML files and images.
        difficult: also objects that are marked as difficult.

    Raises:
        DataError: there are no XML files, or no object can be used.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"source.root={folder}: there is no such folder")
    files = sorted(_xml_files(folder))
    if not files:
        raise DataError(f"source.root={folder}: contains no .xml file")
    images = images_below(folder)
    by_name = _by_name(images)
    splits = _splits(folder)
    objects, problems = list[AnnotatedObject](), list[Problem]()
    for file in files:
        try:
            objects += _objects(_parse_xml(folder / file), file, by_name, splits, difficult)
        except (_RefusedError, expat.ExpatError, DataError) as error:
            problems.append(Problem(file, f"not readable XML: {error}"))
    if not objects:
        raise DataError(f"source.root={folder}: no object is annotated in its XML files:", problems)
    result, wrong = objects_table(objects, folder, folder.name)
    return result, [*problems, *wrong, *unannotated_images(images, objects)]


def _xml_files(folder: Path) -> Iterator[str]:
    for index, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.lower().endswith(".xml") and not name.startswith("."):
                yield escape_controls(os.path.relpath(Path(index, name), folder).replace(os.sep, "/"))


def _parse_xml(file: Path) -> Element:
    """Parse an XML file without a document type, since entities could expand without limit or read other
    files.

    Raises:
        _RefusedError: it has one, or is very large.
        ExpatError: it is not XML.
    """
    if file.stat().st_size > LARGEST:
        raise _RefusedError(f"larger than {LARGEST >> 20} MB")
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise _RefusedError("it declares a document type or entities")

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: builder.start(name, attributes)
    parser.EndElementHandler = lambda name: builder.end(name)
    parser.CharacterDataHandler = lambda text: builder.data(text)
    parser.Parse(file.read_bytes(), True)
    return builder.close()


def _by_name(images: list[str]) -> dict[str, list[str]]:
    results: dict[str, list[str]] = {}
    for path in images:
        for name in (Path(path).name, Path(path).stem):
            results.setdefault(name, []).append(path)
    return results


def _splits(folder: Path) -> dict[str, str]:
    """The split of each image, by the stem of its name."""
    results: dict[str, str] = {}
    for split in SPLITS:
        file = folder / "ImageSets" / "Main" / f"{split}.txt"
        if file.is_file():
            words = (line.split() for line in read_text(file).splitlines())
            results |= {line[0]: split for line in words if line}
    return results


def _objects(
    tree: Element, file: str, by_name: dict[str, list[str]], splits: dict[str, str], difficult: bool
) -> Iterator[AnnotatedObject]:
    if tree.tag != "annotation":
        raise _RefusedError(f"it begins with <{tree.tag}>, not with <annotation>")
    path, missing = _image(tree, file, by_name)
    for row, one in enumerate(tree.iter("object")):
        label = (one.findtext("name") or "").strip()
        box, wrong = _box(one)
        if not difficult and (one.findtext("difficult") or "0").strip() == "1":
            wrong = "is marked as difficult"
        split = splits.get(Path(path).stem)
        yield AnnotatedObject(path, label, box, file, row, split, missing or wrong)


def _image(tree: Element, file: str, by_name: dict[str, list[str]]) -> tuple[str, str]:
    """The image of a file: the one it names, or the one with the same name; the nearest of several."""
    message = (tree.findtext("filename") or "").strip().replace("\\", "/")
    positions = by_name.get(Path(message).name, []) or by_name.get(Path(file).stem, [])
    if len(positions) > 1:
        nearest = [path for path in positions if Path(path).parent == Path(file).parent]
        positions = nearest if len(nearest) == 1 else positions
    if len(positions) == 1:
        return positions[0], ""
    return (
        message or file,
        "there is no such image" if not positions else f"may be {' or '.join(positions[:2])}",
    )


def _box(one: Element) -> tuple[Box | None, str]:
    position = one.find("bndbox")
    if position is None:
        return None, "has no bndbox"
    texts = [(position.findtext(name) or "").strip() for name in CORNERS]
    try:
        x1, y1, x2, y2 = (float(text) for text in texts)
    except ValueError:
        return None, f"bndbox {' '.join(texts)!r}: must be four numbers"
    return (x1 - 1, y1 - 1, x2, y2), ""
