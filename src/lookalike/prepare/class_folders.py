"""Images in class folders, as many public sets are published."""

import os
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from lookalike.data.formats import ENDINGS
from lookalike.errors import Problem
from lookalike.prepare.locating import is_side_file
from lookalike.prepare.naming import printable, readable


def class_folders(places: Mapping[str, Path], root: Path) -> tuple[pl.DataFrame, list[Problem]]:
    """Images in class folders of split folders: path, label, split.

    Args:
        places: by split, the folder that holds the class folders.
        root: what paths are relative to.
    """
    rows, wrong = [], []
    for split, place in places.items():
        start = place.relative_to(root).as_posix()
        for folder in sorted(place.iterdir()):
            name = f"{start}/{folder.name}".removeprefix("./")
            if is_side_file(folder.name):
                continue
            if not folder.is_dir():
                wrong.append(Problem(name, "lies beside the class folders, so it has no label"))
                continue
            with os.scandir(folder) as entries:
                found = (entry.name for entry in entries if not is_side_file(entry.name))
                images = sorted(name for name in found if name.lower().endswith(ENDINGS))
            if not images:
                wrong.append(Problem(f"{name}/", "a class folder without images"))
            for image in images:
                path = f"{name}/{image}"
                if reason := readable(path):
                    wrong.append(Problem(printable(path), reason))
                else:
                    rows.append((path, folder.name, split))
    schema = {"path": pl.String, "label": pl.String, "split": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row"), wrong
