"""How the photos of an indexed dataset were cropped, so that new photos are cropped alike."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lookalike.errors import ConfigError

if TYPE_CHECKING:
    from lookalike.detect.cropping import Cropping
    from lookalike.search.index import Index

log = logging.getLogger(__name__)
AUTO = "auto"
NONE = "none"
PACKAGE = "lookalike.detect."
"""Targets that a dataset folder may name; others would run code from it."""
LOOKED_AT = 200
"""Rows of the index whose folders are looked at."""


def find_cropping(detect: "str | Cropping", index: "Index") -> "tuple[Cropping | None, str]":
    """The cropping that `detect` means, and its name.

    Raises:
        ConfigError: there is none of this name, or that of the dataset cannot be found or built.
    """
    if not isinstance(detect, str):
        return detect, type(detect).__name__
    if detect == NONE:
        return None, NONE
    if detect == AUTO:
        return _cropping_of_index(index)
    if Path(detect).is_dir():
        node = _detect_node(Path(detect))
        if node is None:
            raise ConfigError(f"detect={detect}: this folder does not say how its images were cropped")
        return _build(node, detect)
    from lookalike.config import compose

    return _build(compose("prepare", [f"detect={detect}", "out=unused"])["detect"], detect)


def _cropping_of_index(index: "Index") -> "tuple[Cropping | None, str]":
    nodes = [node for folder in _dataset_folders(index) if (node := _detect_node(folder)) is not None]
    different = [node for number, node in enumerate(nodes) if node not in nodes[:number]]
    if len(different) > 1:
        raise ConfigError(
            f"{index.name}: its datasets were cropped in {len(different)} ways; say which one new photos "
            "get: detect=DATASET_FOLDER, or detect=none"
        )
    if different:
        return _build(different[0], AUTO)
    if "found_box" in index.table.frame.columns:
        raise ConfigError(
            f"{index.name}: its images are crops, and the dataset folder that says how they were made is not "
            "there; say how to crop new photos: detect=face, …, or detect=none if they are crops already"
        )
    return None, NONE


def _dataset_folders(index: "Index") -> Iterator[Path]:
    """Folders of the datasets that the rows of an index come from."""
    parents = dict.fromkeys(index.table.file(row).parent for row in range(min(len(index), LOOKED_AT)))
    known = set[Path]()
    for parent in parents:
        for folder in (parent, *parent.parents):
            if folder not in known and (folder / "config.yaml").is_file():
                known.add(folder)
                yield folder
                break


def _detect_node(folder: Path) -> dict[str, Any] | None:
    """What the configuration of a dataset folder says about `detect`; None if its images were not cropped."""
    try:
        values = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    node = values.get("detect") if isinstance(values, dict) else None
    if isinstance(node, str):
        raise ConfigError(f"{folder}: was cropped by an object, {node}; pass it as detect= in Python")
    if not isinstance(node, dict) or str(node.get("_target_", "")).endswith(".no_cropping"):
        return None
    return node


def _build(node: dict[str, Any], detect: str) -> "tuple[Cropping | None, str]":
    from lookalike.config import build

    targets = [
        str(each.get("_target_", "")) for each in (node, node.get("detector")) if isinstance(each, dict)
    ]
    foreign = [target for target in targets if not target.startswith(PACKAGE)]
    if foreign:
        raise ConfigError(
            f"detect={detect}: names {foreign[0]}, which is not part of lookalike and is not run; pass the "
            "object as detect= in Python"
        )
    return build(node, "detect"), _choice(node) or detect


def _choice(node: dict[str, Any]) -> str | None:
    """The choice of `detect=` that a node comes from, by what it detects."""
    from lookalike.config.catalogue import choices

    for name, file in choices("detect").items():
        if _kind(yaml.safe_load(file.read_text(encoding="utf-8"))) == _kind(node):
            return name
    return None


def _kind(node: dict[str, Any]) -> tuple[Any, ...]:
    detector = node.get("detector") or {}
    return node.get("_target_"), detector.get("_target_"), detector.get("kinds")
