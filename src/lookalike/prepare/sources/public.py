"""Public datasets: the files of each, and how they are found, unpacked or downloaded."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from lookalike.errors import DataError
from lookalike.prepare.download.archives import unpack
from lookalike.prepare.download.file import Expected, OnProgress, checksum_mismatch, fetch
from lookalike.prepare.download.locating import (
    UNPACKED,
    archive_volumes,
    find_archive,
    find_piece,
    stem,
    unpack_folder,
)
from lookalike.prepare.naming import count_noun

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """A published file.

    Attributes:
        file: its name.
        url: where it can be downloaded without a login; empty if nowhere.
        size: in bytes, if published.
        checksum: `md5:…` or `sha256:…`, if published.
    """

    file: str
    url: str = ""
    size: int | None = None
    checksum: str | None = None

    @property
    def expected_file(self) -> Expected:
        """Size and checksum that a copy must have."""
        return Expected(self.size, self.checksum)


@dataclass(frozen=True)
class Piece:
    """A file or folder of a dataset, and the archive or archives that contain it.

    Attributes:
        holds: its path; searched in all folders below `raw`.
        archives: that contain it; several are the parts of one. For a file that is published unpacked, its
            own name.
    """

    holds: str
    archives: tuple[Archive, ...] = ()


@dataclass(frozen=True)
class PublicSet:
    """The description of a public dataset.

    Attributes:
        name: as in `source=name`.
        title: the name given by its authors.
        licence: permitted uses.
        size: of all archives, as text.
        page: URL of its description.
        pieces: its files and folders.
        login: what to do if its files cannot be downloaded freely; otherwise empty.
        choice: alternative files and their key; empty if there are none.
        counts: images and classes of each split as published, `all` for all of them together.
    """

    name: str
    title: str
    licence: str
    size: str
    page: str
    pieces: tuple[Piece, ...]
    login: str = ""
    choice: str = ""
    counts: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """Where the raw files of a dataset are, and whether missing ones may be downloaded.

    Attributes:
        folder: contains the archives or their content; None for `raw/<name of the source>`.
        download: download missing files.
        progress: show a bar for each file.
        private: allow non-public addresses.
    """

    folder: Path | None = None
    download: bool = False
    progress: bool = False
    private: bool = False

    def source_folder(self, name: str) -> Path:
        """The folder of the source with this name."""
        return Path("raw", name) if self.folder is None else self.folder.expanduser()

    def root(self, public_set: PublicSet) -> Path:
        """The folder of this dataset."""
        return self.source_folder(public_set.name)

    def open(self, public_set: PublicSet) -> dict[str, Path]:
        """The unpacked pieces of a dataset by path, downloaded first if allowed.

        Raises:
            DataError: one is missing, or its archive is damaged; the message says which, and what to do.
        """
        root = self.root(public_set)
        if root.is_file():
            raise DataError(f"raw={root}: this is a file; give the folder that contains it")
        paths = {piece.holds: self._find_or_unpack(piece, root) for piece in public_set.pieces}
        lacking = [piece for piece in public_set.pieces if paths[piece.holds] is None]
        if lacking and not self.download:
            raise DataError(_instructions(public_set, root, lacking))
        if lacking:
            _refuse_unfetchable(public_set, root, lacking)
        for piece in lacking:
            for archive in piece.archives:
                self._fetch(archive, root)
            paths[piece.holds] = self._find_or_unpack(piece, root)
        return {holds: path for holds, path in paths.items() if path is not None}

    def _find_or_unpack(self, piece: Piece, root: Path) -> Path | None:
        """The path of a piece; its archive is unpacked if necessary."""
        path = find_piece(root, piece.holds)
        if path is not None:
            _warn_of_newer(path)
            return path
        archives = [find_archive(root, archive.file) for archive in piece.archives]
        present = [archive for archive in archives if archive is not None]
        if not present:
            return None
        if len(present) < len(archives):
            missing = [
                archive.file for archive, path in zip(piece.archives, archives, strict=True) if path is None
            ]
            if self.download and all(archive.url for archive in piece.archives):
                return None
            raise DataError(
                f"{root}: the archive has {len(archives)} parts; missing: {', '.join(missing)}. Put "
                "them beside the others"
            )
        folder = self._unpack(piece, present)
        path = find_piece(root, piece.holds) or find_piece(folder, piece.holds)
        if path is None:
            raise DataError(
                f"{present[0]}: unpacked in {folder}, but {piece.holds} is not in it. If it is the right "
                "archive, delete that folder and try again"
            )
        return path

    def _unpack(self, piece: Piece, present: list[Path]) -> Path:
        """The folder with the content of the archive."""
        for archive, file in zip(piece.archives, present, strict=True):
            wrong = checksum_mismatch(file, archive.expected_file) if file.name == archive.file else None
            if wrong:
                log.warning("%s: %s: not the archive that the authors published", file, wrong)
        folder = unpack_folder(present[0])
        if folder.exists():
            return folder
        with progress_bar(f"Unpacking {present[0].name}", self.progress) as on_progress:
            unpack(
                present if len(present) > 1 else archive_volumes(present[0]),
                folder,
                on_progress,
                top=_top(piece),
            )
        return folder

    def _fetch(self, archive: Archive, root: Path) -> None:
        if find_archive(root, archive.file) is not None or (root / archive.file).exists():
            return
        log.info("downloading %s", archive.url)
        with progress_bar(archive.file, self.progress) as on_progress:
            fetch(archive.url, root / archive.file, archive.expected_file, on_progress, private=self.private)


@contextmanager
def progress_bar(text: str, enabled: bool) -> Iterator[OnProgress]:
    """A progress bar for the bytes of one file."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not enabled) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _warn_of_newer(path: Path) -> None:
    """Warn if an archive is newer than its unpacked folder."""
    folder = next((folder for folder in (path, *path.parents) if folder.name.endswith(UNPACKED)), None)
    if folder is None:
        return
    for file in folder.parent.iterdir():
        if unpack_folder(file) == folder and file.is_file() and file.stat().st_mtime > folder.stat().st_ctime:
            log.warning(
                "%s is newer than the unpacked folder %s, which is used; delete the folder to unpack it "
                "again",
                file,
                folder,
            )


def _top(piece: Piece) -> str:
    """The name of the top-level folder of an archive; some archives contain only its content."""
    holds = piece.holds
    return holds if holds == stem(piece.archives[0].file) and not Path(holds).suffix else ""


def _names(piece: Piece) -> str:
    files = [archive.file for archive in piece.archives]
    return files[0] if len(files) == 1 else f"{files[0]} … {files[-1]}"


def _refuse_unfetchable(public_set: PublicSet, root: Path, lacking: list[Piece]) -> None:
    closed = [piece for piece in lacking if not all(archive.url for archive in piece.archives)]
    if closed:
        raise DataError(
            f"download=true cannot download all of it.\n{_instructions(public_set, root, closed)}"
        )


def _instructions(public_set: PublicSet, root: Path, lacking: list[Piece]) -> str:
    """What is missing, and how to get it."""
    folder_note = "" if root.is_dir() else " (no such folder yet)"
    lines = [f"{public_set.title}: files are missing in {root}{folder_note}, each as an archive or unpacked:"]
    pieces_by_archive: dict[str, list[str]] = {}
    for piece in lacking:
        pieces_by_archive.setdefault(_names(piece), []).append(piece.holds)
    for files, holds in pieces_by_archive.items():
        hint = (
            "" if files == holds[0] or holds[0].endswith(UNPACKED) else f", which contains {', '.join(holds)}"
        )
        lines.append(f"  {files}{hint}")
    lines += [public_set.choice] if public_set.choice else []
    lines += [
        f"Size: {public_set.size}. Licence: {public_set.licence}.",
        f"It is described at {public_set.page}",
    ]
    free = all(archive.url for piece in lacking for archive in piece.archives)
    if public_set.login and not free:
        lines.append(f"{public_set.login} Put the files into {root}, or give their folder: raw=…")
    else:
        lines.append(f"download=true downloads it; or put the files into {root}, or give their folder: raw=…")
    return "\n".join(lines)


def warn_of_counts(frame: pl.DataFrame, public_set: PublicSet) -> None:
    """Warn if image counts differ from the published ones, since part of the dataset may be missing."""
    for split, published in public_set.counts.items():
        rows = frame if split == "all" else frame.filter(pl.col("split") == split)
        if rows.height != published[0] or published[1] not in (None, rows["label"].n_unique()):
            log.warning(
                "%s, %s: %s listed, but %s are published; files may be missing",
                public_set.title,
                "in all" if split == "all" else split,
                _size(rows.height, rows["label"].n_unique()),
                _size(*published),
            )


def _size(images: int, classes: int | None) -> str:
    of = "" if classes is None else f" of {count_noun(classes, 'class', 'classes')}"
    return f"{count_noun(images, 'image')}{of}"
