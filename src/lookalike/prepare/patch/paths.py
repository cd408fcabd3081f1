"""Paths as patches write them."""

import os
from pathlib import PurePosixPath

from lookalike.data.table import Table


def short_paths(table: Table) -> tuple[list[str], str, str]:
    """Paths below the folder that holds all images; that folder, as an absolute path, and the end of it.

    The end is what a patch and the page say: enough to find the files again, and little about the machine.
    """
    full = ["/" + path.lstrip("/") for path in table.relative_to(os.sep).frame["path"].to_list()]
    folder = os.path.commonpath({os.path.dirname(path) for path in full})  # noqa: PTH120 - called once a row
    short = [path[len(folder) :].lstrip("/") for path in full]
    return short, folder, "/".join(PurePosixPath(folder).parts[1:][-2:])
