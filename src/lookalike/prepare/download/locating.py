"""Locating the parts of a public dataset: unpacked, or in their archives."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from lookalike.errors import DataError

ENDINGS = (".zip", ".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz")
UNPACKED = ".unpacked"
DEPTH = 3
MOST_FOLDERS = 64


def find_piece(root: Path, holds: str) -> Path | None:
    """The file or folder with this name in `root` or below it, the least deep one.

    Raises:
        DataError: there are several, equally deep.
    """
    for level in _levels(root):
        paths = [folder / holds for folder in level if (folder / holds).exists()]
        if paths:
            return _only_match(paths, root)
    return None


def _only_match(matches: list[Path], root: Path) -> Path:
    if len(matches) > 1:
        paths_text = " and ".join(str(path) for path in matches[:4])
        raise DataError(f"{root}: contains {paths_text}; choose one by its folder: raw=…")
    return matches[0]


def _folders(folder: Path) -> list[Path]:
    """The subfolders of a folder; none if there are so many that they must be image classes."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not is_side_file(entry.name))
    return [folder / name for name in names] if len(names) <= MOST_FOLDERS else []


def is_side_file(name: str) -> bool:
    """Whether a file or folder is not data: hidden, such as `.DS_Store`, or written by macOS."""
    return name.startswith(".") or name == "__MACOSX"


def _levels(root: Path) -> Iterator[list[Path]]:
    """The folder itself, its subfolders, and theirs."""
    level = [root] if root.is_dir() else []
    for _ in range(DEPTH + 1):
        yield level
        level = [below for folder in level for below in _folders(folder)]


def find_archive(root: Path, file: str) -> Path | None:
    """The archive in `root` or below it; equivalent extensions such as `.tgz` and `.tar.gz` match.

    Raises:
        DataError: there are several, in folders equally deep.
    """
    if not file.endswith(ENDINGS) and not re.search(r"\.(z\d\d|\d{3})$", file):
        return None
    names = [file]
    names += [stem(file) + ending for ending in ENDINGS if file.endswith(ENDINGS)]
    files = [file for name in names for file in (name, f"{name}.001")]
    for level in _levels(root):
        candidates = [[folder / file for file in files if (folder / file).is_file()] for folder in level]
        first = [files[0] for files in candidates if files]
        if first:
            return _only_match(first, root)
    return None


def archive_volumes(archive: Path) -> list[Path]:
    """All files of a multi-part archive (`.zip.001 …` or `.z01 … .zip`).

    Raises:
        DataError: a part is missing.
    """
    stem, ending = archive.stem, archive.suffix.lower()
    pattern = {".001": r"\.\d{3}", ".zip": r"\.[zZ]\d{2}"}.get(ending)
    if pattern is None:
        return [archive]
    siblings = archive.parent.iterdir()
    others = [
        sibling for sibling in siblings if sibling.stem == stem and re.fullmatch(pattern, sibling.suffix)
    ]
    parts = sorted({*others, *([archive] if ending == ".001" else [])})
    for number, part in enumerate(parts, 1):
        if int(re.sub(r"\D", "", part.suffix)) != number:
            raise DataError(f"{archive.parent}: of the parts of {archive.stem}, number {number} is missing")
    return parts + ([archive] if ending == ".zip" else [])


def unpack_folder(archive: Path) -> Path:
    """The folder into which an archive is unpacked, beside it."""
    return archive.with_name(stem(re.sub(r"\.\d{3}$", "", archive.name)) + UNPACKED)


def stem(name: str) -> str:
    """The name of an archive without its extension."""
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)
