"""Which images a run was started with: their rows, labels and boxes, and what is in their files."""

import hashlib
import os
from pathlib import Path

import numpy as np

from lookalike.data.checking import BOX
from lookalike.data.shards import parse_member
from lookalike.data.table import Table

SIZES, CONTENTS, PIECE = 100_000, 1024, 1 << 20
"""Files whose size is looked at, files of which the content is, and how many bytes of it."""


def fingerprint(table: Table | None) -> dict[str, str] | None:
    """Hashes of a table's rows and of its files; None without a table.

    Of large tables, sizes and contents are those of files evenly spread over the rows. Times of files do not
    matter, so a dataset may be copied.
    """
    if table is None:
        return None
    columns = [name for name in ("path", "label", *BOX) if name in table.frame.columns]
    rows = table.frame.select(columns).write_csv()
    files = [os.fspath(table.folder / path) for path in table.frame["path"].to_list()]
    sizes, contents = hashlib.sha256(), hashlib.sha256()
    for file in _spread(files, SIZES):
        sizes.update(f"{_size(file)}\n".encode())
    for file in _spread(files, CONTENTS):
        contents.update(_content(file))
    result = {"rows": hashlib.sha256(rows.encode()), "files": sizes, "contents": contents}
    return {name: value.hexdigest() for name, value in result.items()}


def different_images(before: dict[str, str] | None, table: Table | None, split: str) -> list[str]:
    """What is no longer as it was in the images of a split."""
    now = fingerprint(table)
    if before == now:
        return []
    if before is None or now is None:
        return ["there were none" if before is None else "there are none now"]
    if before["rows"] != now["rows"]:
        return [f"other {split} images: rows, labels or boxes differ"]
    return [f"the files of {split} images were changed"]


def _spread(files: list[str], count: int) -> list[str]:
    return [
        files[row] for row in np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).astype(int))
    ]


def _size(file: str) -> int:
    """Bytes of a file; -1 where it cannot be looked at, as in a shard."""
    try:
        return Path(file).stat().st_size
    except OSError:
        return -1


def _content(file: str) -> bytes:
    """The first and the last bytes of a file; nothing where it cannot be read, as in a shard."""
    if parse_member(file) is not None:
        return b""
    try:
        with Path(file).open("rb") as handle:
            first = handle.read(PIECE)
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(len(first), size - PIECE))
            return hashlib.sha256(first + handle.read()).digest()
    except OSError:
        return b""
