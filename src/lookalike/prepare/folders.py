"""Class folders to a table: `root/<label>/photo.jpg`.

The rule: the label of a picture is the name of its first-level folder, and whatever lies deeper in there
belongs to it too. If the first-level folders are train, val, test (two of them at least, and no others), they
are splits, and the label is the next level. `level=2` takes the label one level further down.
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from annotated_types import Ge

from lookalike.data.formats import ENDINGS
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.prepare.naming import (
    SPLIT_NAMES,
    alike,
    counted,
    listed,
    plain,
    printable,
    readable,
)

log = logging.getLogger(__name__)
Walk = Iterator[tuple[str, list[str], list[str]]]


@dataclass
class Tree:
    """What a folder holds; paths are relative to it, with slashes."""

    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    hidden: int = 0
    others: Counter[str] = field(default_factory=Counter)


def table(
    root: Path,
    level: Annotated[int, Ge(1)] = 1,
    names: Literal["refuse", "merge", "keep"] = "refuse",
    splits: bool = True,
) -> tuple[Table, list[Problem]]:
    """The pictures of class folders, and what could not be used.

    Args:
        root: the folder that holds the class folders.
        level: which folder level is the label; 1 is directly under `root`.
        names: what to do with class folders whose names are the same but for case, spaces at the ends,
            Unicode form, or the folder they are in: refuse, merge into one class, or keep apart.
        splits: take first-level folders train, val and test for splits.

    Raises:
        DataError: there is no such folder, it holds no pictures, one class only, or identical names.
    """
    root = Path(root).expanduser()
    tree = _scanned(root)
    split_folders = _split_folders(root, tree) if splits else {}
    above = 1 if split_folders else 0
    depth = level + above
    images = [path for path in tree.images if path.count("/") >= depth]
    problems = [*tree.problems, *_loose(tree, depth), *_childless(tree, depth)]
    if not images:
        raise DataError(_nothing(root, tree, level), problems)
    owners = ["/".join(path.split("/")[above:depth]) for path in images]
    labels = _labels(root, sorted(set(owners)), names)
    columns = {"path": images, "label": [labels[owner] for owner in owners]}
    if split_folders:
        columns["split"] = [split_folders[path.partition("/")[0]] for path in images]
    if len(set(columns["label"])) == 1:
        raise DataError(_one_class(root, columns["label"][0], images, depth))
    _hint_at_deeper(images, depth, level)
    return Table(pl.DataFrame(columns), root), problems


def images_below(root: Path) -> list[str]:
    """The images in a folder and the folders below it, as paths relative to it.

    Raises:
        DataError: there is no such folder.
    """
    return _scanned(root).images


def _scanned(root: Path) -> Tree:
    if not root.is_dir():
        raise DataError(f"{root}: {'not a folder' if root.exists() else 'there is no such folder'}")
    tree = Tree()
    for folder, name in _files(root, tree):
        path = f"{folder}/{name}" if folder else name
        ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 - called once a file
        if name.startswith("."):
            tree.hidden += 1
        elif ending not in ENDINGS:
            tree.others[ending or "no ending"] += 1
        elif reason := readable(path):
            tree.problems.append(Problem(printable(path), reason))
        else:
            tree.images.append(path)
    left = _left_aside(tree)
    if left:
        log.info("%s: left aside %s", root, left)
    if tree.outside:
        said = counted(len(tree.outside), "linked folder leads", "linked folders lead")
        log.warning(
            "%s: %s out of it, and is read all the same:\n  %s", root, said, "\n  ".join(tree.outside)
        )
    return tree


def _files(root: Path, tree: Tree) -> Iterator[tuple[str, str]]:
    """Every file as (folder, name), in a fixed order; linked folders are followed, but never in a circle.

    They come last: what is in a folder and also behind a link has the folder's name.
    """

    def unreadable(error: OSError) -> None:
        tree.problems.append(Problem(printable(str(error.filename)), f"cannot be opened: {error.strerror}"))

    seen: set[str] = set()
    top = os.path.realpath(root)
    starts = deque([str(root)])
    for place, folders, files in chain.from_iterable(_walks(starts, unreadable)):
        real = os.path.realpath(place)
        relative = "" if place == str(root) else Path(place).relative_to(root).as_posix()
        if real in seen:
            said = f"{printable(relative)}/"
            tree.problems.append(Problem(said, "a linked folder that is read at another place already"))
            folders.clear()
            continue
        seen.add(real)
        if os.path.islink(place) and relative and os.path.commonpath([top, real]) != top:  # noqa: PTH114
            tree.outside.append(f"{printable(relative)} -> {printable(real)}")
        tree.hidden += sum(map(_is_hidden, folders))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        tree.folders += [f"{relative}/{name}".removeprefix("/") for name in folders]
        inside = (os.path.join(place, name) for name in folders)  # noqa: PTH118 - called once a folder
        starts.extend(path for path in inside if os.path.islink(path))  # noqa: PTH114
        yield from ((relative, name) for name in sorted(files))


def _walks(starts: deque[str], unreadable: Callable[[OSError], None]) -> Iterator[Walk]:
    """A walk from each of the folders, and of those that are added meanwhile."""
    while starts:
        yield os.walk(starts.popleft(), onerror=unreadable)


def _is_hidden(folder: str) -> bool:
    return folder.startswith(".") or folder == "__MACOSX"


def _left_aside(tree: Tree) -> str:
    """The files that are no pictures, in words."""
    kinds = ", ".join(f"{ending} {count}" for ending, count in tree.others.most_common(6))
    others = f"{counted(tree.others.total(), 'file')} of other kinds ({kinds})" if tree.others else ""
    hidden = (
        f"{counted(tree.hidden, 'hidden file or folder', 'hidden files or folders')}" if tree.hidden else ""
    )
    return " and ".join(filter(None, [others, hidden]))


def _split_folders(root: Path, tree: Tree) -> dict[str, str]:
    """From first-level folder to split, if these are splits."""
    tops = sorted({path.partition("/")[0] for path in tree.images if "/" in path})
    found = {name: SPLIT_NAMES[name.lower()] for name in tops if name.lower() in SPLIT_NAMES}
    if len(found) < 2:
        return {}
    if len(set(found.values())) < len(found):
        raise DataError(
            f"{root}: folders {listed(list(found))} are the same split under two names; merge them"
        )
    rest = [name for name in tops if name not in found]
    if rest:
        raise DataError(
            f"{root}: folders {listed(list(found))} look like splits, but beside them is {listed(rest)}. "
            "Move that away, or, if all of them are classes, add source.splits=false"
        )
    log.info("%s: folders %s are taken for splits; labels are the folders below them", root, listed(tops))
    return found


def _loose(tree: Tree, depth: int) -> Iterator[Problem]:
    for path in tree.images:
        if path.count("/") < depth:
            yield Problem(path, "lies above the class folders, so it has no label")


def _childless(tree: Tree, depth: int) -> Iterator[Problem]:
    """Class folders without a picture."""
    filled = {"/".join(path.split("/")[:depth]) for path in tree.images}
    filled |= {one.path.removesuffix("/") for one in tree.problems}
    for folder in tree.folders:
        if folder.count("/") == depth - 1 and folder not in filled and not readable(folder):
            yield Problem(f"{folder}/", "a class folder without images")


def _nothing(root: Path, tree: Tree, level: int) -> str:
    if tree.images:
        where = f"source.level={level} takes labels from folder level {level}"
        return f"{root}: none of its {counted(len(tree.images), 'image')} lies in a class folder ({where})"
    folders = f"{counted(len(tree.folders), 'folder')} and " if tree.folders else ""
    found = _left_aside(tree) or "no files"
    return (
        f"{root}: no images, only {folders}{found}. Images end in {' '.join(ENDINGS)}, in upper or lower case"
    )


def _one_class(root: Path, label: str, images: list[str], depth: int) -> str:
    below = {"/".join(path.split("/")[: depth + 1]) for path in images if path.count("/") > depth}
    text = f"{root}: holds one class, {label!r} ({counted(len(images), 'image')}); at least two are needed"
    if len(below) > 1:
        start = root / "/".join(images[0].split("/")[:depth])
        text += f". If the {len(below)} folders below it are the classes, start there: source.root={start}"
    return text


def _labels(root: Path, owners: list[str], names: str) -> dict[str, str]:
    """From class folder to label: its name, in Unicode's composed form, without spaces at the ends."""
    if names == "keep":
        return {owner: owner for owner in owners}
    groups = alike(owners, _name)
    same = [group for group in groups if len(group) > 1]
    if same and names == "refuse":
        raise DataError(
            f"{root}: {counted(len(same), 'class name stands', 'class names stand')} for several folders, "
            "the same but for case, spaces, Unicode form or place. Rename them, or add source.names=merge if "
            "they are one class, or source.names=keep if they are different ones:",
            [Problem(listed(group), f"{len(group)} folders with the same name") for group in same],
        )
    return {owner: _name(group[0]) for group in groups for owner in group}


def _name(owner: str) -> str:
    name = owner.rpartition("/")[2]
    return plain(name) or name


def _hint_at_deeper(images: list[str], depth: int, level: int) -> None:
    """Hardly anything directly in the class folders: perhaps the classes are further down."""
    deeper = [path for path in images if path.count("/") > depth]
    if 2 * len(deeper) > len(images):
        log.warning(
            "%s of %s lie in folders inside the class folders (as %r): if those %d folders are the "
            "classes, add source.level=%d",
            f"{len(deeper):,}",
            counted(len(images), "image"),
            deeper[0],
            len({"/".join(path.split("/")[: depth + 1]) for path in deeper}),
            level + 1,
        )
