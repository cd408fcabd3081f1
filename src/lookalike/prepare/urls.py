"""A list of image addresses to a dataset table: fetched in parallel, politely, and resumed after a cut."""

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
from lookalike.prepare import tables
from lookalike.prepare.box_reading import BoxRules, Kind
from lookalike.prepare.download import Patience
from lookalike.prepare.hosts import Hosts
from lookalike.prepare.http import AgainError, ask, checked_url, chunks, length_of
from lookalike.prepare.labels import named, whole_labels
from lookalike.prepare.naming import counted
from lookalike.prepare.public import Raw
from lookalike.prepare.refused import RefusedError

log = logging.getLogger(__name__)
DIGITS = 24
PATIENCE = Patience(attempts=4)


@dataclass(frozen=True)
class Manners:
    """How to ask.

    Attributes:
        threads: requests at once.
        per_host: requests at once to one host.
        most: bytes of one image.
        patience: when to try again.
        private: also addresses of this machine and of its network.
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
    relative: bool | None = None,
    names: Literal["refuse", "merge", "keep"] = "keep",
    nothing: Literal["leave_out", "keep"] = "leave_out",
    threads: Annotated[int, Ge(1)] = 16,
    per_host: Annotated[int, Ge(1)] = 4,
    max_megabytes: Annotated[float, Gt(0)] = 50.0,
) -> tuple[Table, "list[Problem]"]:
    """The rows of a list whose images could be fetched, and the others with the reason.

    Images lie in the raw folder, by default `raw/urls`, under a name made from their address; one that is
    there is not fetched again, so the same command goes on where it was stopped. `failed.csv` in that folder
    lists what could not be had.

    Args:
        list: .csv, .tsv, .parquet or .feather.
        raw: where the images go.
        url: the column of addresses, http or https; found by itself if it has a usual name.
        label: the column of labels.
        split: the column of splits.
        columns: names of columns, as in a table; with url in place of path.
        box: what the numbers of boxes are.
        relative: whether boxes are fractions of the image.
        names: what to do with labels that are the same but for case, spaces at the ends, or Unicode form.
        nothing: what to do with labels like NaN, null and None: leave the rows out, or keep them as names.
        threads: requests at once.
        per_host: requests at once to one host.
        max_megabytes: larger images are left out.

    Raises:
        DataError: the list is no table, a column is missing, or no image could be had.
    """
    raw, file = raw or Raw(), Path(list).expanduser()
    folder = raw.place("urls")
    given = tables.named_columns(columns, url=url, label=label, split=split)
    frame = read_frame(file, tables.texts_of(given))
    if frame.is_empty():
        raise DataError(f"{file}: the list has no rows; its columns are {', '.join(frame.columns)}")
    found_columns = find_columns(frame, file, {"path": None, **given}, ("url", "label"))
    url, label = found_columns.used["url"], found_columns.used["label"]
    named(whole_labels(frame.select(label=label), file), file, names)
    addresses = frame[url].cast(pl.String).fill_null("").str.strip_chars()
    manners = Manners(threads, per_host, int(max_megabytes * 1e6), private=raw.private)
    wanted = [address for address in addresses.unique(maintain_order=True) if address]
    with _counter("Fetching images", len(wanted), raw.progress) as told:
        found, failed = fetch_images(wanted, folder, manners, told)
    reasons = {"": "has no address"} | failed
    problems = [
        Problem(address or file.name, reasons[address], row)
        for row, address in enumerate(addresses)
        if address in reasons
    ]
    _report(folder, problems)
    if not found:
        raise DataError(f"{file}: none of its {counted(len(wanted), 'image')} could be fetched:", problems)
    paths = addresses.replace_strict(found, default=None, return_dtype=pl.String)
    lost = {problem.row for problem in problems}
    reading = tables.Reading(
        {**{name: theirs for name, theirs in given.items() if name != "url"}, "path": "path"},
        BoxRules(box, relative),
        names,
        nothing,
    )
    table, others = tables.usable_rows(frame.with_columns(path=paths), file, folder, reading)
    rest = (_by_address(problem, addresses, file) for problem in others if problem.row not in lost)
    return table, [*problems, *rest]


def _by_address(problem: Problem, addresses: pl.Series, file: Path) -> Problem:
    """The same said of the address, which people know, and not of the file that came from it."""
    place = file.name if problem.row is None else addresses[problem.row]
    return Problem(place, problem.reason.replace(problem.path, place), problem.row)


def _report(folder: Path, problems: "list[Problem]") -> None:
    file = folder / "failed.csv"
    if problems:
        replace_file(file, lambda beside: write_problems(problems, beside))
        log.warning("%s could not be fetched: %s says why", counted(len(problems), "row"), file)
    else:
        file.unlink(missing_ok=True)


@contextmanager
def _counter(text: str, total: int, shown: bool) -> Iterator[Callable[[], object]]:
    from rich.progress import Progress

    with Progress(disable=not shown) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)


def fetch_images(
    urls: "list[str]",
    folder: Path,
    manners: Manners | None = None,
    told: Callable[[], object] = lambda: None,
) -> tuple[dict[str, str], dict[str, str]]:
    """The images at some addresses, as files.

    Args:
        urls: each once.
        folder: where to; images that are there are not asked for.
        manners: how to ask.
        told: called once for each image that is through.

    Returns:
        By address, the path of its file relative to `folder`; and the reason why it has none.
    """
    manners = manners or Manners()
    folder.mkdir(parents=True, exist_ok=True)
    there = {
        file.stem: f"{file.parent.name}/{file.name}"
        for file in folder.glob("??/*")
        if file.suffix != ".partial"
    }
    found, failed = dict[str, str](), dict[str, str]()
    for url in urls:
        if path := there.get(_name(url)):
            found[url] = path
            told()
    hosts = Hosts((url for url in urls if url not in found), manners.per_host)
    attempts = dict[str, int]()
    lock = threading.Lock()

    def work() -> None:
        while (url := hosts.take()) is not None:
            outcome = _tried(url, folder, manners, attempts, hosts)
            if outcome is None:
                continue
            path, reason = outcome
            with lock:
                if path is None:
                    failed[url] = reason
                else:
                    found[url] = path
                told()
            hosts.done(url)

    pool = ThreadPoolExecutor(manners.threads)
    try:
        for future in [pool.submit(work) for _ in range(manners.threads)]:
            future.result()
    finally:
        hosts.stop()
        pool.shutdown()
    return found, failed


def _tried(
    url: str, folder: Path, manners: Manners, attempts: dict[str, int], hosts: Hosts
) -> tuple[str | None, str] | None:
    """The path of a fetched image or why there is none; None if it is to be asked for again."""
    if given_up := hosts.dead(url):
        return None, given_up
    try:
        path = _fetched(url, folder, manners)
        hosts.answered(url)
        return path, ""
    except (RefusedError, ImageError) as error:
        hosts.answered(url)
        return None, error.reason
    except AgainError as error:
        attempts[url] = attempts.get(url, 0) + 1
        pause = manners.patience.pause(attempts[url] - 1, error.after)
        if error.after is None:
            hosts.failed(url, error.reason)
        if attempts[url] >= manners.patience.attempts or pause > manners.patience.longest:
            asks = f"; it asks to wait {pause:,.0f} s" if pause > manners.patience.longest else ""
            return None, f"{error.reason}, {counted(attempts[url], 'attempt')}{asks}"
        hosts.again(url, pause, whole_host=error.after is not None)
        return None


def _fetched(url: str, folder: Path, manners: Manners) -> str:
    """Fetch one image into its file, and return its path.

    Raises:
        RefusedError: it cannot be had.
        ImageError: what comes is no image.
        AgainError: it may come later.
    """
    accept = {"Accept": "image/*,*/*;q=0.5"}
    with ask(url, accept, manners.patience.timeout, private=manners.private) as response:
        data = _body(url, response, manners)
        whole = response.headers.get("Content-Length") is not None
    image_size(io.BytesIO(data)) if whole else open_image(io.BytesIO(data))
    ending = ENDINGS_OF[format_of_bytes(data[:HEAD]) or "TIFF"][0]
    name = _name(url)
    file = folder / name[:2] / f"{name}{ending}"
    file.parent.mkdir(exist_ok=True)
    replace_file(file, lambda beside: beside.write_bytes(data))
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
    """The file name of an address, without its ending."""
    with suppress(RefusedError):
        url = checked_url(url)
    return sha256(url.encode()).hexdigest()[:DIGITS]
