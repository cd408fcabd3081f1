"""Copies a sharded dataset to this machine and verifies every file."""

import logging
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lookalike.data.shards import MARK, misplaced_reason, parse_member
from lookalike.data.table import read_table
from lookalike.errors import DataError, Problem
from lookalike.files import hold, parse_json, refuse_existing, require_space
from lookalike.prepare.download.file import Expected, OnProgress, checksum_mismatch
from lookalike.prepare.download.shards import SUMS, VERSION
from lookalike.prepare.download.stores import Store

log = logging.getLogger(__name__)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(tar|parquet|csv|json|jsonl|yaml)")
TABLE, LOCK = "table.parquet", ".lock"
MOST_SUMS, MOST_BYTES = 64 << 20, 1 << 50


def fetch_dataset(store: Store, out: Path, threads: int = 4, on_progress: OnProgress | None = None) -> Path:
    """Copy a sharded dataset; the folder gets its name when every file is complete and verified.

    Until then the files are in a hidden folder beside `out`, where the next attempt resumes.

    Args:
        store: location of the folder that `prepare shards` wrote.
        out: the new dataset folder; must not exist, or be empty.
        threads: files fetched at once.
        on_progress: called with bytes so far and in all, for a bar.

    Raises:
        DataError: a file cannot be fetched, or differs from `shards.json`; or the table points outside the
            shards.
        LookalikeError: `out` exists, or another process is fetching it.
    """
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.with_name(f".{out.name}.fetching")
    with _lock_folder(folder):
        expected_files = _expected_files(store, folder)
        work = _DatasetFetch(store, folder, expected_files, on_progress or (lambda done, total: None))
        work.fetch_one(TABLE)
        _refuse_outside(folder, expected_files)
        try:
            work.fetch_rest(threads)
        except BaseException as error:
            log.warning("%s keeps what was fetched; the same command resumes there", folder)
            if isinstance(error, OSError):
                raise DataError(f"{folder} could not be written: {error}") from error
            raise
        (folder / LOCK).unlink()
        if out.exists():
            out.rmdir()
        folder.rename(out)
    return out


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    with hold(folder / LOCK, f"fetching this dataset into {folder}"):
        yield


def _expected_files(store: Store, folder: Path) -> dict[str, Expected]:
    """The files to fetch, after a check of the disk space."""
    try:
        store.fetch(SUMS, folder / SUMS, None, None)
    except DataError as error:
        if {file.name for file in folder.iterdir()} == {LOCK}:
            shutil.rmtree(folder)
        raise DataError(f"{error} (url= is a folder that `lookalike prepare shards` wrote)") from error
    expected = read_sums(folder / SUMS)
    _remove_other_files(folder, expected)
    present_bytes = sum(_bytes_on_disk(folder / name) for name in expected)
    needed = sum(expected.size or 0 for expected in expected.values()) - present_bytes
    require_space(folder, needed, "the files", "free some space, or choose another out=")
    return expected


def read_sums(file: Path) -> dict[str, Expected]:
    """The entries of `shards.json`, including the table.

    Raises:
        DataError: it is not such a list, or lists a file that cannot be in the folder.
    """
    try:
        if file.stat().st_size > MOST_SUMS:
            raise ValueError(f"it has more than {MOST_SUMS:,} bytes")
        content = parse_json(file.read_text(encoding="utf-8"))
        version = content["lookalike_shards"]
        entries = [(entry["file"], entry["bytes"], entry["sha256"]) for entry in content["files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{SUMS}: not what `lookalike prepare shards` writes: {error or type(error).__name__}"
        ) from error
    if version != VERSION:
        raise DataError(f"{SUMS}: version {version!r} is unknown; supported: version {VERSION}")
    problems = [
        Problem(SUMS, f"file {name!r:.80}: {reason}", row)
        for row, (name, size, checksum) in enumerate(entries)
        if (reason := _invalid_sums_error(name, size, checksum))
    ]
    names = [str(name).casefold() for name, _, _ in entries]
    if len(set(names)) < len(names):
        problems.append(Problem(SUMS, "a file is listed twice"))
    if not problems and TABLE not in {name for name, _, _ in entries}:
        problems.append(Problem(SUMS, f"does not list {TABLE}"))
    if problems:
        raise DataError(f"{SUMS} cannot be used:", problems)
    return {name: Expected(size, f"sha256:{checksum}") for name, size, checksum in entries}


def _invalid_sums_error(name: Any, size: Any, checksum: Any) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == SUMS:
        return "must be the plain name of a tar, parquet, csv, json, jsonl or yaml file"
    if type(size) is not int or not 0 <= size <= MOST_BYTES:
        return f"bytes {size!r:.40}: must be a whole number, up to 2⁵⁰"
    if not isinstance(checksum, str) or not re.fullmatch("[0-9a-f]{64}", checksum):
        return "sha256 must be 64 hexadecimal digits"
    return ""


def _remove_other_files(folder: Path, expected: Mapping[str, Expected]) -> None:
    """Remove what an earlier attempt for another dataset left."""
    for file in folder.iterdir():
        if re.sub(r"\.part(\.json)?$", "", file.name) not in {SUMS, LOCK, *expected}:
            shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()


def _bytes_on_disk(file: Path) -> int:
    """Number of bytes of a file that have been fetched."""
    part = file.with_name(f"{file.name}.part")
    return sum(file.stat().st_size for file in (file, part) if file.exists())


class _DatasetFetch:
    """Fetches the files, and counts the bytes over all of them."""

    def __init__(self, store: Store, folder: Path, expected: Mapping[str, Expected], on_progress: OnProgress):
        self._store, self._folder, self._expected, self._on_progress = store, folder, expected, on_progress
        self._total = sum(expected.size or 0 for expected in expected.values())
        self._done = dict.fromkeys(expected, 0)
        self._all = 0
        self._stop, self._lock = threading.Event(), threading.Lock()

    def fetch_rest(self, threads: int) -> None:
        """Fetch all files except the table, several at once."""
        pool = ThreadPoolExecutor(threads)
        try:
            work = [pool.submit(self.fetch_one, name) for name in self._expected if name != TABLE]
            for future in wait(work, return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)

    def fetch_one(self, name: str) -> None:
        """Fetch one file; if it exists, only verify it."""
        expected, file = self._expected[name], self._folder / name
        self._count(name, 0)
        if not file.is_file() or checksum_mismatch(file, expected) is not None:
            file.unlink(missing_ok=True)
            self._store.fetch(name, file, expected, lambda done, _: self._count(name, done))
        self._count(name, expected.size or 0)

    def _count(self, name: str, done: int) -> None:
        if self._stop.is_set():
            raise _StoppedError
        with self._lock:
            self._all += done - self._done[name]
            self._done[name] = done
            self._on_progress(self._all, self._total)


class _StoppedError(Exception):
    """Another file failed, or the user stopped the job."""


def _refuse_outside(folder: Path, expected: Mapping[str, Expected]) -> None:
    """Reject and remove a fetched table if some rows are not images in its own shards.

    Raises:
        DataError: lists the rows.
    """
    sizes = {name: expected.size or 0 for name, expected in expected.items() if name.endswith(".tar")}
    try:
        paths = read_table(folder, files=False).frame["path"]
        problems = [
            Problem(TABLE, f"{path!r:.120}: {reason}", row)
            for row, path in enumerate(paths)
            if (reason := _shard_outside(path, sizes))
        ]
        if problems:
            raise DataError(f"{TABLE} cannot be used; nothing of the dataset was kept:", problems)
    except DataError:
        shutil.rmtree(folder)
        raise


def _shard_outside(path: str, sizes: Mapping[str, int]) -> str | None:
    member = parse_member(path)
    if member is None or member.shard not in sizes:
        return "names no image in a shard of this dataset"
    if ".." in member.name.split("/") or member.name.startswith("/") or MARK in member.name:
        return "the name of an image must not lead outside the shard"
    return misplaced_reason(member, sizes[member.shard])
