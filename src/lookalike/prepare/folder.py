"""Class folders to a table: `root/<label>/photo.jpg`.

The label of an image is the name of its top-level folder, whatever the depth of the image below it. If the
top-level folders are train, val, test, query or gallery (at least two of them, and no others), they are
splits, and the label is the next level. `level=2` takes the label one level deeper; `pattern` takes it from
the file names.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from annotated_types import Ge

from lookalike.data.formats import ENDINGS
from lookalike.data.table import Table
from lookalike.errors import DataError, Problem
from lookalike.prepare import name_patterns
from lookalike.prepare.name_patterns import OF_NAMES, ROLES, NamePattern
from lookalike.prepare.naming import (
    ASIDE,
    SPLIT_NAMES,
    count_noun,
    group_similar,
    is_readable,
    normalise_name,
    quote_names,
)
from lookalike.prepare.scanning import Tree, left_aside, scan

log = logging.getLogger(__name__)
Splits = dict[str, tuple[str, str | None]]
"""From first-level folder to split and role."""
SAME_IMAGES = ("gt_bbox", "gt_query", "multi-query", "multi_query")
"""Folders of re-identification datasets that contain copies of the images in the splits."""


def table(
    root: Path,
    level: Annotated[int, Ge(1)] = 1,
    names: Literal["refuse", "merge", "keep"] = "refuse",
    splits: bool = True,
    pattern: str | None = None,
) -> tuple[Table, list[Problem]]:
    """The images of class folders, and the files that cannot be used.

    Args:
        root: the folder that contains the class folders.
        level: which folder level is the label; 1 is directly under `root`.
        names: what to do with class folders whose names differ only in case, surrounding spaces,
            Unicode form, or parent folder: refuse, merge into one class, or keep apart.
        splits: read top-level folders train, val, test, query and gallery as splits.
        pattern: take the label from the file names instead: the name of one of
            `name_patterns.PATTERNS`, or a regular expression with a group `label`.

    Raises:
        ConfigError: `pattern` is neither.
        DataError: the folder does not exist, contains no images or only one class, or class names clash.
    """
    root = Path(root).expanduser()
    by_name = None if pattern is None else name_patterns.compile_pattern(pattern)
    tree = scan(root)
    folders = _split_folders(root, tree) if splits else {}
    if folders:
        log.info("%s: folders %s are read as splits", root, quote_names([*folders]))
    if by_name is None and splits and _is_reid(tree):
        by_name = name_patterns.compile_pattern("reid")
    if by_name is not None:
        return _named_files(root, tree, folders, by_name, names)
    above = 1 if folders else 0
    if folders:
        log.info("%s: labels are the folders below the splits", root)
    depth = level + above
    images = [path for path in tree.images if path.count("/") >= depth]
    problems = [
        *tree.problems,
        *_loose_files(tree, depth),
        *_folders_without_images(tree, depth),
        *tree.aside,
    ]
    if not images:
        raise DataError(_nothing_found_error(root, tree, level), problems)
    owners = ["/".join(path.split("/")[above:depth]) for path in images]
    labels = _labels(root, sorted(set(owners)), names)
    rows = [{"path": path, "label": labels[owner]} for path, owner in zip(images, owners, strict=True)]
    if len(set(labels.values())) == 1:
        raise DataError(_single_class_error(root, rows[0]["label"], images, depth))
    _deeper_level_hint(images, depth, level)
    _hint_at_cameras(images)
    return _table(root, rows, folders), problems


def _named_files(
    root: Path, tree: Tree, folders: Splits, pattern: NamePattern, names: str
) -> tuple[Table, list[Problem]]:
    """The images with labels from their file names."""
    problems, rows = [*tree.problems, *tree.aside], []
    for path in tree.images:
        message = pattern.columns(path)
        if folders and path.partition("/")[0] not in folders:
            problems.append(Problem(path, f"{ASIDE} of a split: copies of the same images"))
        elif message is None:
            problems.append(Problem(path, f"its name does not match source.pattern={pattern.name}"))
        else:
            rows.append({"path": path, **message})
    if not rows:
        raise DataError(
            f"{root}: none of the {count_noun(len(tree.images), 'image')} has a name that matches "
            f"source.pattern={pattern.name} "
            f"({name_patterns.EXAMPLES.get(pattern.name, pattern.expression.pattern)})",
            problems,
        )
    for row in rows:
        split = folders.get(row["path"].partition("/")[0])
        if split and split[1]:
            row["role"] = split[1]
    distractors = 0
    if pattern.name == "reid":
        rows, junk = name_patterns.without_junk(rows)
        problems += junk
        distractors = name_patterns.mark_distractors(rows)
    elif pattern.name == "msmt17" and folders:
        for row in rows:  # its identities are counted from 0 in both halves
            row["label"] = f"{folders[row['path'].partition('/')[0]][0]}-{row['label']}"
    labels = _labels(root, sorted({row["label"] for row in rows}), names)
    for row in rows:
        row["label"] = labels[row["label"]]
    if len(set(labels.values())) == 1:
        raise DataError(
            f"{root}: source.pattern={pattern.name} finds only one identity, {rows[0]['label']!r}, in all "
            f"file names"
        )
    log.info("%s: %s", root, name_patterns.summary(pattern, rows, distractors))
    return _table(root, rows, folders), problems


def _table(root: Path, rows: list[dict[str, str]], folders: Splits) -> Table:
    """The rows with split and role by their top-level folder."""
    frame = pl.DataFrame(rows, infer_schema_length=None)
    if folders:
        first = [folders[row["path"].partition("/")[0]] for row in rows]
        frame = frame.with_columns(pl.Series("split", [split for split, _ in first]))
        if "role" not in frame.columns and any(role for _, role in first):
            frame = frame.with_columns(pl.Series("role", [role for _, role in first], dtype=pl.String))
    return Table(frame, root)


def _is_reid(tree: Tree) -> bool:
    """Whether these are the folders and names of a dataset with identities in file names."""
    tops = {path.partition("/")[0].lower() for path in tree.images if "/" in path}
    return bool(tops & set(OF_NAMES)) and "pattern=reid" in name_patterns.suggestion(tree.images)


def _split_folders(root: Path, tree: Tree) -> Splits:
    """From first-level folder to split and role, if these are splits."""
    known: Splits = {name: (split, None) for name, split in SPLIT_NAMES.items()}
    known.update(ROLES)
    tops = sorted({path.partition("/")[0] for path in tree.images if "/" in path})
    splits = {name: known[name.lower()] for name in tops if name.lower() in known}
    if len(splits) < 2:
        return {}
    if len(set(splits.values())) < len(splits) or {("test", None), ("test", "query")} <= set(splits.values()):
        raise DataError(
            f"{root}: folders {quote_names(list(splits))} are the same split under two names; merge them"
        )
    rest = [name for name in tops if name not in splits and name.lower() not in SAME_IMAGES]
    if rest:
        raise DataError(
            f"{root}: folders {quote_names(list(splits))} look like splits, but there is also "
            f"{quote_names(rest)}. "
            "Move it elsewhere, or, if all of them are classes, add source.splits=false"
        )
    return splits


def _loose_files(tree: Tree, depth: int) -> Iterator[Problem]:
    for path in tree.images:
        if path.count("/") < depth:
            yield Problem(path, "is outside the class folders, so it has no label")


def _folders_without_images(tree: Tree, depth: int) -> Iterator[Problem]:
    """Class folders without images."""
    filled = {"/".join(path.split("/")[:depth]) for path in tree.images}
    filled |= {problem.path.removesuffix("/") for problem in tree.problems}
    for folder in tree.folders:
        if folder.count("/") == depth - 1 and folder not in filled and not is_readable(folder):
            yield Problem(f"{folder}/", f"a class folder without images{_instead(tree, folder)}")


def _instead(tree: Tree, folder: str) -> str:
    """The content of a folder without images, in words."""
    inside = [one for one in (*tree.problems, *tree.aside) if one.path.startswith(f"{folder}/")]
    endings = Counter(Path(one.path).suffix.lower() or "no ending" for one in inside)
    kinds = ", ".join(f"{ending} {count}" for ending, count in endings.most_common(6))
    return f" that can be read, only {count_noun(len(inside), 'other file')} ({kinds})" if inside else ""


def _nothing_found_error(root: Path, tree: Tree, level: int) -> str:
    if tree.images:
        level_text = f"source.level={level} takes labels from folder level {level}"
        hint = name_patterns.suggestion(tree.images)
        hint = f". {hint}" if hint else ": put the photos of each identity into a folder of its own"
        return (
            f"{root}: none of its {count_noun(len(tree.images), 'image')} is in a class folder "
            f"({level_text}){hint}"
        )
    folders = f"{count_noun(len(tree.folders), 'folder')} and " if tree.folders else ""
    found_text = left_aside(tree) or "no files"
    return (
        f"{root}: no images, only {folders}{found_text}. Images end in {' '.join(ENDINGS)}, in upper or "
        "lower case"
    )


def _single_class_error(root: Path, label: str, images: list[str], depth: int) -> str:
    below = {"/".join(path.split("/")[: depth + 1]) for path in images if path.count("/") > depth}
    images_text = count_noun(len(images), "image")
    text = f"{root}: contains only one class, {label!r} ({images_text}); at least two are needed"
    if len(below) > 1:
        start = root / "/".join(images[0].split("/")[:depth])
        text += f". If the {len(below)} folders below it are the classes, start there: source.root={start}"
    hint = name_patterns.suggestion(images)
    return f"{text}. {hint}" if hint else text


def _labels(root: Path, owners: list[str], names: str) -> dict[str, str]:
    """From class folder to label: its name in NFC, without surrounding spaces."""
    if names == "keep":
        return {owner: owner for owner in owners}
    groups = group_similar(owners, _name)
    same = [group for group in groups if len(group) > 1]
    if same and names == "refuse":
        raise DataError(
            f"{root}: {count_noun(len(same), 'class name is', 'class names are')} used by several folders, "
            "which differ only in case, spaces, Unicode form or parent folder. Rename them, or add "
            "source.names=merge if they are one class, or source.names=keep if they are different classes:",
            [Problem(quote_names(group), f"{len(group)} folders with the same name") for group in same],
        )
    return {owner: _name(group[0]) for group in groups for owner in group}


def _name(owner: str) -> str:
    name = owner.rpartition("/")[2]
    return normalise_name(name) or name


def _deeper_level_hint(images: list[str], depth: int, level: int) -> None:
    """Warn if hardly any image is directly in a class folder: the classes may be deeper."""
    deeper = [path for path in images if path.count("/") > depth]
    if 2 * len(deeper) > len(images):
        log.warning(
            "%s of %s are in subfolders of the class folders (such as %r): if those %d subfolders are "
            "the classes, add source.level=%d",
            f"{len(deeper):,}",
            count_noun(len(images), "image"),
            deeper[0],
            len({"/".join(path.split("/")[: depth + 1]) for path in deeper}),
            level + 1,
        )


def _hint_at_cameras(images: list[str]) -> None:
    """Warn about class folders of a dataset whose file names contain more information."""
    hint = name_patterns.suggestion(images)
    if "camera" in hint:
        log.warning(
            "Cameras are not read. %s and cameras, so that queries ignore images of their own camera", hint
        )
