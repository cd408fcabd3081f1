"""Scans a folder of photos: images, files that are left out and why, links, hidden files."""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from lookalike.data.formats import ENDINGS, ENDINGS_OF, HEAD, format_of_bytes
from lookalike.errors import DataError, Problem
from lookalike.prepare.naming import ASIDE, UNREAD, count_noun, escape_controls, is_readable

log = logging.getLogger(__name__)
Walk = Iterator[tuple[str, list[str], list[str]]]

PHOTOS_NOT_READ = {
    "a camera raw file": (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".kdc", ".mrw", ".nef", ".nrw"),
        *(".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srf", ".srw", ".x3f"),
    ),
    "JPEG XL": (".jxl",),
    "JPEG 2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "another format": (".psd", ".svg", ".eps", ".ico", ".tga", ".exr", ".hdr", ".xcf", ".pcx", ".pfm"),
}
KIND_OF = {ending: kind for kind, endings in PHOTOS_NOT_READ.items() for ending in endings}
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")


@dataclass
class Tree:
    """The content of a folder; paths are relative to it, with slashes.

    Attributes:
        images: files to read, by extension.
        folders: all of them.
        problems: what cannot be used, and why.
        aside: files that are not images.
        outside: symbolic links that lead out of it.
        hidden: number of hidden files and folders.
        others: number of other files by extension, including images that are left out.
    """

    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    aside: list[Problem] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    hidden: int = 0
    others: Counter[str] = field(default_factory=Counter)


def images_below(root: Path) -> list[str]:
    """The images in a folder and the folders below it, as paths relative to it.

    Raises:
        DataError: there is no such folder.
    """
    return scan(root).images


def scan(root: Path) -> Tree:
    """Scan a folder recursively.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"{root}: {'not a folder' if root.exists() else 'there is no such folder'}")
    tree = Tree()
    for folder, name in _files(root, tree):
        path = f"{folder}/{name}" if folder else name
        ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 - called once a file
        if name.startswith("."):
            tree.hidden += 1
        elif reason := is_readable(path):
            tree.problems.append(Problem(escape_controls(path), reason))
        elif ending in ENDINGS:
            tree.images.append(path)
        else:
            tree.others[ending or "no ending"] += 1
            reason = _why_not(root / path, ending)
            (tree.problems if reason else tree.aside).append(Problem(path, reason or ASIDE))
    left = left_aside(tree)
    if left:
        log.info("%s: ignored %s", root, left)
    if tree.outside:
        message = count_noun(len(tree.outside), "linked folder leads", "linked folders lead")
        log.warning("%s: %s out of it, and is read anyway:\n  %s", root, message, "\n  ".join(tree.outside))
    return tree


def _why_not(file: Path, ending: str) -> str:
    """Why a file that may be an image despite its extension is left out; empty for other files."""
    if ending in KIND_OF:
        return f"{KIND_OF[ending]} ({ending}), {UNREAD}: convert it to JPEG or PNG"
    if ending in ARCHIVES:
        return f"an archive, {UNREAD}: unpack it to use the images in it"
    try:
        with file.open("rb") as stream:
            kind = format_of_bytes(stream.read(HEAD))
    except OSError:
        return ""
    if (
        kind is None or kind == "BMP"
    ):  # the two-byte signature of BMP is not reliable for files with other extensions
        return ""
    usual = " or ".join(ENDINGS_OF[kind][:2])
    return f"{kind} by its content, {UNREAD} because its name does not end in {usual}: rename it to use it"


def _files(root: Path, tree: Tree) -> Iterator[tuple[str, str]]:
    """Every file as (folder, name), in a fixed order; linked folders are followed, but never in a loop.

    Links come last: a file that is reachable directly and through a link has its direct path.
    """

    def unreadable(error: OSError) -> None:
        tree.problems.append(
            Problem(escape_controls(str(error.filename)), f"cannot be opened: {error.strerror}")
        )

    seen: set[str] = set()
    top = os.path.realpath(root)
    starts = deque([str(root)])
    for index, folders, files in chain.from_iterable(_walks(starts, unreadable)):
        real = os.path.realpath(index)
        relative = "" if index == str(root) else Path(index).relative_to(root).as_posix()
        if real in seen:
            message = f"{escape_controls(relative)}/"
            tree.problems.append(Problem(message, "a linked folder that is already read under another path"))
            folders.clear()
            continue
        seen.add(real)
        if os.path.islink(index) and relative and os.path.commonpath([top, real]) != top:  # noqa: PTH114
            tree.outside.append(f"{escape_controls(relative)} -> {escape_controls(real)}")
        tree.hidden += sum(map(_is_hidden, folders))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        tree.folders += [f"{relative}/{name}".removeprefix("/") for name in folders]
        inside = (os.path.join(index, name) for name in folders)  # noqa: PTH118 - called once a folder
        starts.extend(path for path in inside if os.path.islink(path))  # noqa: PTH114
        yield from ((relative, name) for name in sorted(files))


def _walks(starts: deque[str], unreadable: Callable[[OSError], None]) -> Iterator[Walk]:
    """Walk through the folders, and through those that are added meanwhile."""
    while starts:
        yield os.walk(starts.popleft(), onerror=unreadable)


def _is_hidden(folder: str) -> bool:
    return folder.startswith(".") or folder == "__MACOSX"


def left_aside(tree: Tree) -> str:
    """The ignored files, in words."""
    kinds = ", ".join(f"{ending} {count}" for ending, count in tree.others.most_common(6))
    others = f"{count_noun(tree.others.total(), 'file')} of other kinds ({kinds})" if tree.others else ""
    hidden = (
        f"{count_noun(tree.hidden, 'hidden file or folder', 'hidden files or folders')}"
        if tree.hidden
        else ""
    )
    return " and ".join(filter(None, [others, hidden]))
