"""Public sets: what each is made of, where that lies, and how it gets there: found, unpacked, or fetched."""

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
    """One file that is published.

    Attributes:
        file: its name.
        url: where it can be fetched without a login; empty if nowhere.
        size: bytes, where published.
        checksum: `md5:…` or `sha256:…`, where published.
    """

    file: str
    url: str = ""
    size: int | None = None
    checksum: str | None = None

    @property
    def expected_file(self) -> Expected:
        """What a copy of it must be."""
        return Expected(self.size, self.checksum)


@dataclass(frozen=True)
class Piece:
    """A file or folder that a set needs, and the archive, or archives, it comes in.

    Attributes:
        holds: its path; found in any of the folders below `raw`.
        archives: where it comes in; several are the parts of one. A file that is published as it is has its
            own name here.
    """

    holds: str
    archives: tuple[Archive, ...] = ()


@dataclass(frozen=True)
class PublicSet:
    """What has to be known about a public set.

    Attributes:
        name: as in `source=name`.
        title: as its authors call it.
        licence: who may use it for what.
        size: of all archives, for people.
        page: where its authors describe it.
        pieces: what it is made of.
        login: what to do where its files are not free to fetch; empty where they are.
        choice: which other files can be used instead, and by which key; empty if none can.
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
    """Where the raw files of a set are, and whether those that are missing may be fetched.

    Attributes:
        folder: holds the archives, or what was in them; None for `raw/<name of the source>`.
        download: fetch what is missing.
        progress: show a bar for each file.
        private: fetch from addresses that are not public, too.
    """

    folder: Path | None = None
    download: bool = False
    progress: bool = False
    private: bool = False

    def source_folder(self, name: str) -> Path:
        """The folder of the source of this name."""
        return Path("raw", name) if self.folder is None else self.folder.expanduser()

    def root(self, public_set: PublicSet) -> Path:
        """The folder of this set."""
        return self.source_folder(public_set.name)

    def open(self, public_set: PublicSet) -> dict[str, Path]:
        """The pieces of a set by what they hold, unpacked, and fetched first where that is allowed.

        Raises:
            DataError: one is missing, or its archive is damaged; says which, and what to do.
        """
        root = self.root(public_set)
        if root.is_file():
            raise DataError(f"raw={root}: this is a file; name the folder that it is in")
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
        """Where a piece is; its archive is unpacked if only that is there."""
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
                f"{root}: the archive comes in {len(archives)} parts; not there: {', '.join(missing)}. Put "
                "them beside the others"
            )
        folder = self._unpack(piece, present)
        path = find_piece(root, piece.holds) or find_piece(folder, piece.holds)
        if path is None:
            raise DataError(
                f"{present[0]}: unpacked in {folder}, but {piece.holds} is not in there. If it is the right "
                "archive, take that folder away and try again"
            )
        return path

    def _unpack(self, piece: Piece, present: list[Path]) -> Path:
        """The folder of what was in the archive."""
        for archive, file in zip(piece.archives, present, strict=True):
            wrong = checksum_mismatch(file, archive.expected_file) if file.name == archive.file else None
            if wrong:
                log.warning("%s: %s: not the archive that its authors published", file, wrong)
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
        log.info("fetching %s", archive.url)
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
    """Say where what was unpacked may not be what its archive holds by now."""
    folder = next((folder for folder in (path, *path.parents) if folder.name.endswith(UNPACKED)), None)
    if folder is None:
        return
    for file in folder.parent.iterdir():
        if unpack_folder(file) == folder and file.is_file() and file.stat().st_mtime > folder.stat().st_ctime:
            log.warning("%s is newer than %s, which is used; take that away to unpack it", file, folder)


def _top(piece: Piece) -> str:
    """The folder that everything in an archive is in, by its name; some pack only what is in that folder."""
    holds = piece.holds
    return holds if holds == stem(piece.archives[0].file) and not Path(holds).suffix else ""


def _names(piece: Piece) -> str:
    files = [archive.file for archive in piece.archives]
    return files[0] if len(files) == 1 else f"{files[0]} … {files[-1]}"


def _refuse_unfetchable(public_set: PublicSet, root: Path, lacking: list[Piece]) -> None:
    closed = [piece for piece in lacking if not all(archive.url for archive in piece.archives)]
    if closed:
        raise DataError(f"download=true cannot fetch all of it.\n{_instructions(public_set, root, closed)}")


def _instructions(public_set: PublicSet, root: Path, lacking: list[Piece]) -> str:
    """What is missing, and how it gets here."""
    folder_note = "" if root.is_dir() else " (no such folder yet)"
    lines = [
        f"{public_set.title}: not all of it is in {root}{folder_note}. Missing, each an archive or unpacked:"
    ]
    pieces_by_archive: dict[str, list[str]] = {}
    for piece in lacking:
        pieces_by_archive.setdefault(_names(piece), []).append(piece.holds)
    for files, holds in pieces_by_archive.items():
        hint = "" if files == holds[0] or holds[0].endswith(UNPACKED) else f", which holds {', '.join(holds)}"
        lines.append(f"  {files}{hint}")
    lines += [public_set.choice] if public_set.choice else []
    lines += [
        f"Size: {public_set.size}. Licence: {public_set.licence}.",
        f"It is described at {public_set.page}",
    ]
    free = all(archive.url for piece in lacking for archive in piece.archives)
    if public_set.login and not free:
        lines.append(f"{public_set.login} Put the files into {root}, or name their folder: raw=…")
    else:
        lines.append(f"download=true fetches it; or put the files into {root}, or name their folder: raw=…")
    return "\n".join(lines)


def warn_of_counts(frame: pl.DataFrame, public_set: PublicSet) -> None:
    """Say where a set is not as large as published: perhaps half of it is missing."""
    for split, published in public_set.counts.items():
        rows = frame if split == "all" else frame.filter(pl.col("split") == split)
        if rows.height != published[0] or published[1] not in (None, rows["label"].n_unique()):
            log.warning(
                "%s, %s: %s listed; published are %s. Is all of it there?",
                public_set.title,
                "in all" if split == "all" else split,
                _size(rows.height, rows["label"].n_unique()),
                _size(*published),
            )


def _size(images: int, classes: int | None) -> str:
    of = "" if classes is None else f" of {count_noun(classes, 'class', 'classes')}"
    return f"{count_noun(images, 'image')}{of}"
