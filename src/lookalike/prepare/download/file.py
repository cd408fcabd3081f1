"""Download of one large file over HTTP: resumable, verified, and complete before it gets its name."""

import fcntl
import hashlib
import http.client
import json
import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import DataError
from lookalike.files import parse_json, require_space, write_text
from lookalike.prepare.download.connection import RefusedError
from lookalike.prepare.download.http import AgainError, chunks, length_of, open_url, whole_number


class Part:
    """The partial file, with a note of the version of the original."""

    def __init__(self, file: Path):
        self.path = file.with_name(f"{file.name}.part")
        self.note = file.with_name(f"{file.name}.part.json")

    def size(self) -> int:
        """Number of bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self, url: str) -> str | None:
        """The version of the partial download: a strong ETag, or a date."""
        try:
            note_content = parse_json(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return (
            note_content.get("version")
            if isinstance(note_content, dict) and note_content.get("url") == url
            else None
        )

    def begin(self, url: str, version: str | None) -> None:
        """From the start."""
        self.path.write_bytes(b"")
        write_text(self.note, json.dumps({"url": url, "version": version}))

    def discard(self) -> None:
        """Keep nothing."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


@contextmanager
def lock_file(file: Path) -> Iterator[None]:
    """Two processes that write to the same file would corrupt it.

    Raises:
        DataError: another process is fetching it.
    """
    lock_path = file.with_name(f"{file.name}.part.lock")
    with lock_path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = lock_path.exists() and lock_path.stat().st_ino == os.fstat(lock.fileno()).st_ino
        except BlockingIOError:
            same = False
        except OSError:  # a file system without locks
            same = True
        if not same:
            raise DataError(f"{file}: another process is downloading it; try again when it has finished")
        try:
            yield
        finally:
            lock_path.unlink(missing_ok=True)


log = logging.getLogger(__name__)
LOOK = 256 << 20
"""Number of bytes after which free space is checked again."""
PAGE = "the server sent a web page, not a file; a login or consent may be needed"
OnProgress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Patience:
    """Retry policy for a server.

    Attributes:
        attempts: number of consecutive failures with hardly any progress after which to give up.
        timeout: seconds without data, and seconds over which the speed is measured.
        slowest: bytes a second; less counts as a stall.
        first: seconds before the second attempt; doubled each time, with random jitter down to half of it.
        longest: maximum wait; if a server asks for more, the download fails.
    """

    attempts: int = 6
    timeout: float = 30.0
    slowest: float = 200.0
    first: float = 1.0
    longest: float = 120.0

    def pause(self, failures: int, requested: float | None) -> float:
        """Seconds to wait after so many failures in a row."""
        grown = min(self.longest, self.first * 2 ** min(failures, 20))
        return max(requested or 0.0, grown * random.uniform(0.5, 1))


@dataclass(frozen=True)
class Expected:
    """What is published about a file: its size, its checksum as `md5:…` or `sha256:…`, or None."""

    size: int | None = None
    checksum: str | None = None


def fetch(
    url: str,
    file: Path,
    expected: Expected | None = None,
    on_progress: OnProgress | None = None,
    patience: Patience | None = None,
    *,
    private: bool = False,
) -> None:
    """Download a file, resuming an earlier attempt.

    It is written as `<file>.part` and renamed only when it is complete and its checksum, or else its size, is
    right. Without a published size or checksum, the length given by the server must match.

    Args:
        url: http or https.
        file: target; its folder is created.
        expected: what is published about it.
        on_progress: called with bytes so far and bytes in all (None if unknown), for a bar.
        patience: retry policy.
        private: allow non-public addresses.

    Raises:
        DataError: it cannot be downloaded; the message states why, and what was kept.
    """
    expected, patience = expected or Expected(), patience or Patience()
    on_progress = on_progress or (lambda done, total: None)
    file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file(file):
        _fetch(url, file, expected, on_progress, patience, private)


def _fetch(
    url: str, file: Path, expected: Expected, on_progress: OnProgress, patience: Patience, private: bool
) -> None:
    part = Part(file)
    _check_space(file, (expected.size or 0) - part.size())
    for again in (True, False):
        _download_to_end(url, part, expected, on_progress, patience, private)
        wrong = checksum_mismatch(part.path, expected)
        if _is_page(part.path) and (wrong or expected == Expected()):
            part.discard()
            raise RefusedError(url, PAGE)
        if wrong is None:
            part.path.replace(file)
            part.note.unlink(missing_ok=True)
            return
        part.discard()
        log.warning("%s: %s%s", url, wrong, "; restarting from the beginning" if again else "")
    raise DataError(f"{url}: {wrong}, twice. It was changed, or is damaged in transit; nothing was kept")


def _download_to_end(
    url: str, part: Part, expected: Expected, on_progress: OnProgress, patience: Patience, private: bool
) -> None:
    failures, max_size = 0, part.size()
    while True:
        try:
            return _continue_download(url, part, expected, on_progress, patience, private)
        except AgainError as error:
            failures += 1
            if part.size() > max_size + patience.slowest * patience.timeout:
                failures, max_size = 0, part.size()
            pause = patience.pause(failures, error.after)
            if failures >= patience.attempts or pause > patience.longest:
                raise DataError(_give_up_error(url, part, error, failures, pause, patience)) from error
            log.info("%s: %s; retrying in %.1f s", url, error.reason, pause)
            time.sleep(pause)


def _give_up_error(
    url: str, part: Part, error: AgainError, failures: int, pause: float, patience: Patience
) -> str:
    asks = pause > patience.longest
    why = f"it asks to wait {pause:,.0f} s" if asks else f"given up after {failures} attempts in a row"
    kept_text = f" {part.size():,} bytes are kept in {part.path}:" if part.size() else ""
    return f"{url}: {error.reason}; {why}.{kept_text} run the same command again later"


def _continue_download(
    url: str, part: Part, expected: Expected, on_progress: OnProgress, patience: Patience, private: bool
) -> None:
    """One connection: download the rest of the file, or as much as arrives.

    Raises:
        AgainError: the connection was interrupted.
        RefusedError: the response is not the file.
    """
    have, version = part.size(), part.version(url)
    if have and have == expected.size:
        return
    if have and ((version is None and expected.checksum is None) or have > (expected.size or have)):
        part.discard()
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and version:
        headers["If-Range"] = version
    try:
        response = open_url(url, headers, patience.timeout, private=private)
    except RefusedError as error:
        if error.code != 416 or not have:
            raise
        part.discard()
        raise AgainError("the partial file is longer than the file; restarting", 0) from error
    with response:
        start, total = _offered_range(response, have, version, part)
        _check_offer(url, response, total, expected)
        _check_space(part.path, (total or 0) - start)
        if start == 0:
            part.begin(url, _version(response))
        _copy(response, part, start, total or expected.size, on_progress, patience)
    if total is not None and part.size() < total:
        raise AgainError(f"the connection ended after {part.size():,} of {total:,} bytes")


def _offered_range(
    response: http.client.HTTPResponse, have: int, version: str | None, part: Part
) -> tuple[int, int | None]:
    """The offset at which the response starts, and the length of the whole file."""
    if response.status != 206:
        return 0, length_of(response)
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", "").strip())
    if match is None or whole_number(match[1]) != have or whole_number(match[3]) is None:
        part.discard()
        raise AgainError("the server sent another range than requested; restarting", 0)
    if version and _version(response) not in (None, version):
        part.discard()
        raise AgainError("the file changed since the download began; restarting", 0)
    return have, int(match[3])


def _check_offer(url: str, response: http.client.HTTPResponse, total: int | None, expected: Expected) -> None:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RefusedError(url, "the server sends it compressed, although the request did not allow this")
    if total == 0 and expected.size != 0:
        raise RefusedError(url, "the server sends an empty file")
    if expected.size is not None and total is not None and total != expected.size:
        raise RefusedError(
            url,
            f"the server announces {total:,} bytes, but {expected.size:,} are published: another file, or "
            f"an error",
        )
    if expected.size is None and expected.checksum is None:
        if response.headers.get_content_type() == "text/html":
            raise RefusedError(url, PAGE)
        if total is None:
            raise RefusedError(
                url,
                "neither server nor publisher states its length, so a truncated file would go unnoticed",
            )


def _version(response: http.client.HTTPResponse) -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _copy(
    response: http.client.HTTPResponse,
    part: Part,
    start: int,
    total: int | None,
    on_progress: OnProgress,
    patience: Patience,
) -> None:
    done, looked = start, start
    on_progress(done, total)
    with part.path.open("ab") as stream:
        for data in chunks(response, patience.timeout, patience.slowest):
            stream.write(data)
            done += len(data)
            on_progress(done, total)
            if total is not None and done > total:
                part.discard()
                reason = f"the server sends more than the {total:,} bytes that were announced"
                raise RefusedError(response.url, reason)
            if total is None and done > looked + LOOK:
                looked = done
                _check_room_for_more(part)


def _is_page(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html"))


def checksum_mismatch(file: Path, expected: Expected) -> str | None:
    """How a file differs from its published size and checksum; None if it does not."""
    size = file.stat().st_size
    if expected.size is not None and size != expected.size:
        return f"it has {size:,} bytes, but {expected.size:,} are published"
    if expected.checksum is None:
        return None
    kind, _, expected_digest = expected.checksum.partition(":")
    with file.open("rb") as stream:
        actual_digest = hashlib.file_digest(stream, kind).hexdigest()
    return (
        None
        if actual_digest == expected_digest.lower()
        else f"its {kind} checksum is {actual_digest}, but {expected_digest} is published"
    )


def _check_room_for_more(part: Part) -> None:
    """For downloads of unknown size: a full disk ends the download, and nothing is kept."""
    try:
        _check_space(part.path, 0)
    except DataError:
        part.discard()
        raise


def _check_space(file: Path, needed: int) -> None:
    advice = "free some space, or choose another raw="
    require_space(file.parent, needed, file.name.removesuffix(".part"), advice)
