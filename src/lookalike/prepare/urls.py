"""A list of image URLs to a dataset table: parallel, rate-limited and resumable downloads."""

import http.client
import io
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from annotated_types import Ge, Gt

from lookalike.data.columns import find_columns
from lookalike.data.decode import image_size, open_image
from lookalike.data.formats import ENDINGS_OF, HEAD, format_of_bytes
from lookalike.data.reading import read_frame
from lookalike.data.table import Table, write_problems
from lookalike.errors import DataError, ImageError, Problem
from lookalike.files import replace_file
from lookalike.prepare import table as tables
from lookalike.prepare.box_reading import BoxRules, Kind, Relative
from lookalike.prepare.download.connection import RefusedError
from lookalike.prepare.download.file import Patience
from lookalike.prepare.download.hosts import Hosts
from lookalike.prepare.download.http import AgainError, chunks, length_of, open_url, validate_url
from lookalike.prepare.labels import resolve_similar_labels, restore_whole_numbers
from lookalike.prepare.naming import count_noun
from lookalike.prepare.sources.public import Raw

log = logging.getLogger(__name__)
DIGITS = 24
PATIENCE = Patience(attempts=4)


@dataclass(frozen=True)
class Manners:
    """Download settings.

    Attributes:
        threads: number of parallel requests.
        per_host: maximum parallel requests per host.
        most: maximum bytes of an image.
        patience: retry policy.
        private: allow addresses of this machine and of its network.
    """

    threads: int = 16
    per_host: int = 4
    most: int = 50_000_000
    patience: Patience = PATIENCE
    private: bool = False


def table(
    list: Path,
    raw: Raw | None = None,
    url: str | None = None,
    label: str | None = None,
    split: str | None = None,
    columns: dict[str, Any] | None = None,
    box: Kind | None = None,
    relative: Relative | None = None,
    names: Literal["refuse", "merge", "keep"] = "keep",
    nothing: Literal["leave_out", "keep"] = "leave_out",
    threads: Annotated[int, Ge(1)] = 16,
    per_host: Annotated[int, Ge(1)] = 4,
    max_megabytes: Annotated[float, Gt(0)] = 50.0,
) -> tuple[Table, "list[Problem]"]:
    """The rows of a list whose images could be fetched, and the others with the reason.

    Images are saved in the raw folder, by default `raw/urls`, under a name derived from their URL; existing
    ones are not fetched again, so the same command resumes a stopped run. `failed.csv` in that folder lists
    the failures.

    Args:
        list: .csv, .tsv, .parquet or .feather.
        raw: where the images go.
        url: the column of URLs, http or https; recognised if it has a common name.
        label: the column of labels.
        split: the column of splits.
        columns: names of columns, as in a table; with url in place of path.
        box: box format.
        relative: false for pixels, true for fractions of the image, 100 for percent, 1000 for thousandths.
        names: what to do with labels that differ only in case, surrounding spaces or Unicode form.
        nothing: what to do with labels like NaN, null and None: leave the rows out, or keep them as names.
        threads: number of parallel requests.
        per_host: maximum parallel requests per host.
        max_megabytes: larger images are left out.

    Raises:
        DataError: the list is not a table, a column is missing, or no image could be fetched.
    """
    raw, file = raw or Raw(), Path(list).expanduser()
    folder = raw.source_folder("urls")
    provided = tables.named_columns(columns, url=url, label=label, split=split)
    frame = read_frame(file, tables.texts_of(provided))
    if frame.is_empty():
        raise DataError(f"{file}: the list has no rows; its columns are {', '.join(frame.columns)}")
    found_columns = find_columns(frame, file, {"path": None, **provided}, ("url", "label"))
    url, label = found_columns.used["url"], found_columns.used["label"]
    resolve_similar_labels(restore_whole_numbers(frame.select(label=label), file), file, names)
    addresses = frame[url].cast(pl.String).fill_null("").str.strip_chars()
    manners = Manners(threads, per_host, int(max_megabytes * 1e6), private=raw.private)
    urls = [address for address in addresses.unique(maintain_order=True) if address]
    with _progress_counter("Fetching images", len(urls), raw.progress) as on_progress:
        fetched, failed = fetch_images(urls, folder, manners, on_progress)
    reasons = {"": "has no URL"} | failed
    problems = [
        Problem(address or file.name, reasons[address], row)
        for row, address in enumerate(addresses)
        if address in reasons
    ]
    _report(folder, problems)
    if not fetched:
        raise DataError(f"{file}: none of its {count_noun(len(urls), 'image')} could be fetched:", problems)
    paths = addresses.replace_strict(fetched, default=None, return_dtype=pl.String)
    lost = {problem.row for problem in problems}
    reading = tables.Reading(
        {**{name: theirs for name, theirs in provided.items() if name != "url"}, "path": "path"},
        BoxRules(box, relative),
        names,
        nothing,
    )
    table, others = tables.usable_rows(frame.with_columns(path=paths), file, folder, reading)
    rest = (_by_address(problem, addresses, file) for problem in others if problem.row not in lost)
    return table, [*problems, *rest]


def _by_address(problem: Problem, addresses: pl.Series, file: Path) -> Problem:
    """The same problem reported for the URL instead of the downloaded file."""
    location = file.name if problem.row is None else addresses[problem.row]
    return Problem(location, problem.reason.replace(problem.path, location), problem.row)


def _report(folder: Path, problems: "list[Problem]") -> None:
    file = folder / "failed.csv"
    if problems:
        replace_file(file, lambda temporary: write_problems(problems, temporary))
        log.warning("%s could not be fetched: see %s", count_noun(len(problems), "row"), file)
    else:
        file.unlink(missing_ok=True)


@contextmanager
def _progress_counter(text: str, total: int, enabled: bool) -> Iterator[Callable[[], object]]:
    from rich.progress import Progress

    with Progress(disable=not enabled) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)


def fetch_images(
    urls: "list[str]",
    folder: Path,
    manners: Manners | None = None,
    on_progress: Callable[[], object] = lambda: None,
) -> tuple[dict[str, str], dict[str, str]]:
    """Fetch images into files.

    Args:
        urls: distinct URLs.
        folder: target; existing images are not fetched again.
        manners: download settings.
        on_progress: called once per finished image.

    Returns:
        By URL, the path of its file relative to `folder`, and the reason of each failure.
    """
    manners = manners or Manners()
    folder.mkdir(parents=True, exist_ok=True)
    present = {
        file.stem: f"{file.parent.name}/{file.name}"
        for file in folder.glob("??/*")
        if file.suffix != ".partial"
    }
    paths, failed = dict[str, str](), dict[str, str]()
    for url in urls:
        if path := present.get(_name(url)):
            paths[url] = path
            on_progress()
    hosts = Hosts((url for url in urls if url not in paths), manners.per_host)
    attempts = dict[str, int]()
    lock = threading.Lock()

    def run_thread() -> None:
        while (url := hosts.take()) is not None:
            outcome = _try_fetch(url, folder, manners, attempts, hosts)
            if outcome is None:
                continue
            path, reason = outcome
            with lock:
                if path is None:
                    failed[url] = reason
                else:
                    paths[url] = path
                on_progress()
            hosts.finish_url(url)

    pool = ThreadPoolExecutor(manners.threads)
    try:
        for future in [pool.submit(run_thread) for _ in range(manners.threads)]:
            future.result()
    finally:
        hosts.stop()
        pool.shutdown()
    return paths, failed


def _try_fetch(
    url: str, folder: Path, manners: Manners, attempts: dict[str, int], hosts: Hosts
) -> tuple[str | None, str] | None:
    """The path of a fetched image, or why there is none; None if it should be tried again."""
    if given_up := hosts.dead_hosts(url):
        return None, given_up
    try:
        path = _fetch_image(url, folder, manners)
        hosts.mark_alive(url)
        return path, ""
    except (RefusedError, ImageError) as error:
        hosts.mark_alive(url)
        return None, error.reason
    except AgainError as error:
        attempts[url] = attempts.get(url, 0) + 1
        pause = manners.patience.pause(attempts[url] - 1, error.after)
        if error.after is None:
            hosts.mark_failed(url, error.reason)
        if attempts[url] >= manners.patience.attempts or pause > manners.patience.longest:
            asks = f"; it asks to wait {pause:,.0f} s" if pause > manners.patience.longest else ""
            return None, f"{error.reason}, {count_noun(attempts[url], 'attempt')}{asks}"
        hosts.requeue(url, pause, whole_host=error.after is not None)
        return None


def _fetch_image(url: str, folder: Path, manners: Manners) -> str:
    """Fetch one image into its file, and return its path.

    Raises:
        RefusedError: it cannot be fetched.
        ImageError: the response is not an image.
        AgainError: a retry may succeed.
    """
    accept = {"Accept": "image/*,*/*;q=0.5"}
    with open_url(url, accept, manners.patience.timeout, private=manners.private) as response:
        data = _body(url, response, manners)
        whole = response.headers.get("Content-Length") is not None
    image_size(io.BytesIO(data)) if whole else open_image(io.BytesIO(data))
    ending = ENDINGS_OF[format_of_bytes(data[:HEAD]) or "TIFF"][0]
    name = _name(url)
    file = folder / name[:2] / f"{name}{ending}"
    file.parent.mkdir(exist_ok=True)
    replace_file(file, lambda temporary: temporary.write_bytes(data))
    return f"{name[:2]}/{file.name}"


def _body(url: str, response: http.client.HTTPResponse, manners: Manners) -> bytes:
    total = length_of(response) or 0
    data = bytearray()
    for chunk in chunks(response, manners.patience.timeout, manners.patience.slowest):
        data += chunk
        if max(total, len(data)) > manners.most:
            break
    if max(total, len(data)) > manners.most:
        raise RefusedError(url, f"more bytes than max_megabytes={manners.most / 1e6:g} allows")
    if len(data) < total:
        raise AgainError(f"the connection ended after {len(data):,} of {total:,} bytes")
    return bytes(data)


def _name(url: str) -> str:
    """The file name for a URL, without its extension."""
    with suppress(RefusedError):
        url = validate_url(url)
    return sha256(url.encode()).hexdigest()[:DIGITS]
