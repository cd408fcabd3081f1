"""Public sets: what each is made of, where that lies, and how it gets there: found, unpacked, or fetched."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from lookalike.errors import DataError
from lookalike.prepare.archives import unpack
from lookalike.prepare.download import Expected, Told, fetch, mismatch
from lookalike.prepare.locating import UNPACKED, located, located_archive, stem, unpack_folder, volumes
from lookalike.prepare.naming import counted

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
    def expected(self) -> Expected:
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

    def place(self, name: str) -> Path:
        """The folder of the source of this name."""
        return Path("raw", name) if self.folder is None else self.folder.expanduser()

    def root(self, about: PublicSet) -> Path:
        """The folder of this set."""
        return self.place(about.name)

    def open(self, about: PublicSet) -> dict[str, Path]:
        """The pieces of a set by what they hold, unpacked, and fetched first where that is allowed.

        Raises:
            DataError: one is missing, or its archive is damaged; says which, and what to do.
        """
        root = self.root(about)
        if root.is_file():
            raise DataError(f"raw={root}: this is a file; name the folder that it is in")
        found = {piece.holds: self._found(piece, root) for piece in about.pieces}
        lacking = [piece for piece in about.pieces if found[piece.holds] is None]
        if lacking and not self.download:
            raise DataError(_instructions(about, root, lacking))
        if lacking:
            _refuse_unfetchable(about, root, lacking)
        for piece in lacking:
            for archive in piece.archives:
                self._fetch(archive, root)
            found[piece.holds] = self._found(piece, root)
        return {holds: place for holds, place in found.items() if place is not None}

    def _found(self, piece: Piece, root: Path) -> Path | None:
        """Where a piece is; its archive is unpacked if only that is there."""
        place = located(root, piece.holds)
        if place is not None:
            _warn_of_newer(place)
            return place
        archives = [located_archive(root, archive.file) for archive in piece.archives]
        there = [archive for archive in archives if archive is not None]
        if not there:
            return None
        if len(there) < len(archives):
            missing = [one.file for one, at in zip(piece.archives, archives, strict=True) if at is None]
            if self.download and all(archive.url for archive in piece.archives):
                return None
            raise DataError(
                f"{root}: the archive comes in {len(archives)} parts; not there: {', '.join(missing)}. Put "
                "them beside the others"
            )
        folder = self._unpack(piece, there)
        place = located(root, piece.holds) or located(folder, piece.holds)
        if place is None:
            raise DataError(
                f"{there[0]}: unpacked in {folder}, but {piece.holds} is not in there. If it is the right "
                "archive, take that folder away and try again"
            )
        return place

    def _unpack(self, piece: Piece, there: list[Path]) -> Path:
        """The folder of what was in the archive."""
        for archive, file in zip(piece.archives, there, strict=True):
            wrong = mismatch(file, archive.expected) if file.name == archive.file else None
            if wrong:
                log.warning("%s: %s: not the archive that its authors published", file, wrong)
        folder = unpack_folder(there[0])
        if folder.exists():
            return folder
        with bar(f"Unpacking {there[0].name}", self.progress) as told:
            unpack(there if len(there) > 1 else volumes(there[0]), folder, told, top=_top(piece))
        return folder

    def _fetch(self, archive: Archive, root: Path) -> None:
        if located_archive(root, archive.file) is not None or (root / archive.file).exists():
            return
        log.info("fetching %s", archive.url)
        with bar(archive.file, self.progress) as told:
            fetch(archive.url, root / archive.file, archive.expected, told, private=self.private)


@contextmanager
def bar(text: str, shown: bool) -> Iterator[Told]:
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
    with Progress(*columns, disable=not shown) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _warn_of_newer(place: Path) -> None:
    """Say where what was unpacked may not be what its archive holds by now."""
    folder = next((one for one in (place, *place.parents) if one.name.endswith(UNPACKED)), None)
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


def _refuse_unfetchable(about: PublicSet, root: Path, lacking: list[Piece]) -> None:
    closed = [piece for piece in lacking if not all(archive.url for archive in piece.archives)]
    if closed:
        raise DataError(f"download=true cannot fetch all of it.\n{_instructions(about, root, closed)}")


def _instructions(about: PublicSet, root: Path, lacking: list[Piece]) -> str:
    """What is missing, and how it gets here."""
    there = "" if root.is_dir() else " (no such folder yet)"
    lines = [f"{about.title}: not all of it is in {root}{there}. Missing, each an archive or unpacked:"]
    held: dict[str, list[str]] = {}
    for piece in lacking:
        held.setdefault(_names(piece), []).append(piece.holds)
    for files, holds in held.items():
        hint = "" if files == holds[0] or holds[0].endswith(UNPACKED) else f", which holds {', '.join(holds)}"
        lines.append(f"  {files}{hint}")
    lines += [about.choice] if about.choice else []
    lines += [f"Size: {about.size}. Licence: {about.licence}.", f"It is described at {about.page}"]
    free = all(archive.url for piece in lacking for archive in piece.archives)
    if about.login and not free:
        lines.append(f"{about.login} Put the files into {root}, or name their folder: raw=…")
    else:
        lines.append(f"download=true fetches it; or put the files into {root}, or name their folder: raw=…")
    return "\n".join(lines)


def warn_of_counts(frame: pl.DataFrame, about: PublicSet) -> None:
    """Say where a set is not as large as published: perhaps half of it is missing."""
    for split, published in about.counts.items():
        rows = frame if split == "all" else frame.filter(pl.col("split") == split)
        if rows.height != published[0] or published[1] not in (None, rows["label"].n_unique()):
            log.warning(
                "%s, %s: %s listed; published are %s. Is all of it there?",
                about.title,
                "in all" if split == "all" else split,
                _size(rows.height, rows["label"].n_unique()),
                _size(*published),
            )


def _size(images: int, classes: int | None) -> str:
    of = "" if classes is None else f" of {counted(classes, 'class', 'classes')}"
    return f"{counted(images, 'image')}{of}"
