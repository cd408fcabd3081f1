"""Images in class folders, the layout of many public datasets."""

import os
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from lookalike.data.formats import ENDINGS
from lookalike.errors import Problem
from lookalike.prepare.download.locating import is_side_file
from lookalike.prepare.naming import escape_controls, is_readable


def class_folders(paths: Mapping[str, Path], root: Path) -> tuple[pl.DataFrame, list[Problem]]:
    """Images in class folders of split folders: path, label, split.

    Args:
        paths: by split, the folder that holds the class folders.
        root: folder that paths are relative to.
    """
    rows, wrong = [], []
    for split, split_root in paths.items():
        start = split_root.relative_to(root).as_posix()
        for folder in sorted(split_root.iterdir()):
            name = f"{start}/{folder.name}".removeprefix("./")
            if is_side_file(folder.name):
                continue
            if not folder.is_dir():
                wrong.append(Problem(name, "is outside the class folders, so it has no label"))
                continue
            with os.scandir(folder) as entries:
                names = (entry.name for entry in entries if not is_side_file(entry.name))
                images = sorted(name for name in names if name.lower().endswith(ENDINGS))
            if not images:
                wrong.append(Problem(f"{name}/", "a class folder without images"))
            for image in images:
                path = f"{name}/{image}"
                if reason := is_readable(path):
                    wrong.append(Problem(escape_controls(path), reason))
                else:
                    rows.append((path, folder.name, split))
    schema = {"path": pl.String, "label": pl.String, "split": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row"), wrong
