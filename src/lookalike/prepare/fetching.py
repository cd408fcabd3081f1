"""A dataset with shards copied here from wherever it lies, every byte checked."""

import fcntl
import json
import logging
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lookalike.data.shards import MARK, member, misplaced
from lookalike.data.table import read_table
from lookalike.errors import DataError, LookalikeError, Problem
from lookalike.files import refuse_existing, refuse_full
from lookalike.prepare.download import Expected, Told, mismatch
from lookalike.prepare.shards import SUMS, VERSION
from lookalike.prepare.stores import Store

log = logging.getLogger(__name__)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(tar|parquet|csv|json|jsonl|yaml)")
TABLE, LOCK = "table.parquet", ".lock"
MOST_SUMS, MOST_BYTES = 64 << 20, 1 << 50


def fetch_dataset(store: Store, out: Path, threads: int = 4, told: Told | None = None) -> Path:
    """Copy a dataset with shards; it takes its name when every file is there and right.

    Until then it grows in a hidden folder beside `out`, where the next attempt goes on.

    Args:
        store: where the folder is that `prepare shards` wrote.
        out: the dataset folder to be; must not exist, or be empty.
        threads: files fetched at once.
        told: called with bytes so far and in all, for a bar.

    Raises:
        DataError: a file cannot be had, or is another one than `shards.json` says; or the table points
            outside of the shards.
        LookalikeError: `out` exists, or another process is fetching it.
    """
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    place = out.with_name(f".{out.name}.fetching")
    with _locked(place):
        wanted = _wanted(store, place)
        work = _Fetching(store, place, wanted, told or (lambda done, total: None))
        work.one(TABLE)
        _refuse_outside(place, wanted)
        try:
            work.rest(threads)
        except BaseException as error:
            log.warning("%s keeps what was fetched; the same command goes on there", place)
            if isinstance(error, OSError):
                raise DataError(f"{place} could not be written: {error}") from error
            raise
        (place / LOCK).unlink()
        if out.exists():
            out.rmdir()
        place.rename(out)
    return out


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    with (place / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LookalikeError(f"{place}: another process is fetching this dataset") from error
        yield


def _wanted(store: Store, place: Path) -> dict[str, Expected]:
    """The files to fetch, for which there is room."""
    try:
        store.fetch(SUMS, place / SUMS, None, None)
    except DataError as error:
        if {file.name for file in place.iterdir()} == {LOCK}:
            shutil.rmtree(place)
        raise DataError(f"{error} (url= is a folder that `lookalike prepare shards` wrote)") from error
    wanted = read_sums(place / SUMS)
    _clear(place, wanted)
    there = sum(_bytes(place / name) for name in wanted)
    needed = sum(expected.size or 0 for expected in wanted.values()) - there
    refuse_full(place, needed, "the files", "make room, or choose another out=")
    return wanted


def read_sums(file: Path) -> dict[str, Expected]:
    """What `shards.json` says of each file, the table among them.

    Raises:
        DataError: it is not such a list, or names a file that cannot be in the folder.
    """
    try:
        if file.stat().st_size > MOST_SUMS:
            raise ValueError(f"it has more than {MOST_SUMS:,} bytes")
        found = json.loads(file.read_text(encoding="utf-8"))
        version = found["lookalike_shards"]
        entries = [(one["file"], one["bytes"], one["sha256"]) for one in found["files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{SUMS}: not what `lookalike prepare shards` writes: {error or type(error).__name__}"
        ) from error
    if version != VERSION:
        raise DataError(f"{SUMS}: version {version!r} is unknown; version {VERSION} is read")
    problems = [
        Problem(SUMS, f"file {name!r:.80}: {reason}", row)
        for row, (name, size, checksum) in enumerate(entries)
        if (reason := _impossible(name, size, checksum))
    ]
    names = [str(name).casefold() for name, _, _ in entries]
    if len(set(names)) < len(names):
        problems.append(Problem(SUMS, "a file is listed twice"))
    if not problems and TABLE not in {name for name, _, _ in entries}:
        problems.append(Problem(SUMS, f"does not list {TABLE}"))
    if problems:
        raise DataError(f"{SUMS} cannot be used:", problems)
    return {name: Expected(size, f"sha256:{checksum}") for name, size, checksum in entries}


def _impossible(name: Any, size: Any, checksum: Any) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == SUMS:
        return "must be the plain name of a tar, parquet, csv, json, jsonl or yaml file"
    if type(size) is not int or not 0 <= size <= MOST_BYTES:
        return f"bytes {size!r:.40}: must be a whole number, up to 2⁵⁰"
    if not isinstance(checksum, str) or not re.fullmatch("[0-9a-f]{64}", checksum):
        return "sha256 must be 64 hexadecimal digits"
    return ""


def _clear(place: Path, wanted: Mapping[str, Expected]) -> None:
    """Take away what an attempt left that fetched something else."""
    for file in place.iterdir():
        if re.sub(r"\.part(\.json)?$", "", file.name) not in {SUMS, LOCK, *wanted}:
            shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()


def _bytes(file: Path) -> int:
    """Bytes that are there of a file."""
    part = file.with_name(f"{file.name}.part")
    return sum(one.stat().st_size for one in (file, part) if one.exists())


class _Fetching:
    """The files on their way here; bytes are counted over all of them."""

    def __init__(self, store: Store, place: Path, wanted: Mapping[str, Expected], told: Told):
        self._store, self._place, self._wanted, self._told = store, place, wanted, told
        self._total = sum(expected.size or 0 for expected in wanted.values())
        self._done = dict.fromkeys(wanted, 0)
        self._all = 0
        self._stop, self._lock = threading.Event(), threading.Lock()

    def rest(self, threads: int) -> None:
        """All but the table, several at once."""
        pool = ThreadPoolExecutor(threads)
        try:
            work = [pool.submit(self.one, name) for name in self._wanted if name != TABLE]
            for future in wait(work, return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)

    def one(self, name: str) -> None:
        """One file; if it is there, it is only checked."""
        expected, file = self._wanted[name], self._place / name
        self._count(name, 0)
        if not file.is_file() or mismatch(file, expected) is not None:
            file.unlink(missing_ok=True)
            self._store.fetch(name, file, expected, lambda done, _: self._count(name, done))
        self._count(name, expected.size or 0)

    def _count(self, name: str, done: int) -> None:
        if self._stop.is_set():
            raise _StoppedError
        with self._lock:
            self._all += done - self._done[name]
            self._done[name] = done
            self._told(self._all, self._total)


class _StoppedError(Exception):
    """Another file failed, or the user has had enough."""


def _refuse_outside(place: Path, wanted: Mapping[str, Expected]) -> None:
    """Refuse a table from elsewhere whose rows are not all images in its own shards, and take it away.

    Raises:
        DataError: lists the rows.
    """
    sizes = {name: expected.size or 0 for name, expected in wanted.items() if name.endswith(".tar")}
    try:
        paths = read_table(place, files=False).frame["path"]
        problems = [
            Problem(TABLE, f"{path!r:.120}: {reason}", row)
            for row, path in enumerate(paths)
            if (reason := _outside(path, sizes))
        ]
        if problems:
            raise DataError(f"{TABLE} cannot be used; nothing of the dataset was kept:", problems)
    except DataError:
        shutil.rmtree(place)
        raise


def _outside(path: str, sizes: Mapping[str, int]) -> str | None:
    found = member(path)
    if found is None or found.shard not in sizes:
        return "names no image in a shard of this dataset"
    if ".." in found.name.split("/") or found.name.startswith("/") or MARK in found.name:
        return "the name of an image must not lead elsewhere"
    return misplaced(found, sizes[found.shard])
