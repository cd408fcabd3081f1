"""Hostile archives, hostile tables and patches."""

import io
import json
import resource
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from trust.figure import Figure
from trust.jobs import make_workspace
from trust.processes import Process, start_job

NAMES = (
    "../out.txt",
    "/tmp/trust-out.txt",
    "a/../../out.txt",
    "..\\out.txt",
    "C:\\out.txt",
    "a" * 300,
    "~/../out",
)
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)


def _tar(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size = kind, target, 1 if kind == tarfile.REGTYPE else 0
        archive.addfile(entry, io.BytesIO(b"x"))
    return buffer.getvalue()


def _zip(*names: str, content: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _many_entries(count: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            archive.writestr(zipfile.ZipInfo(f"{number:x}"), b"")
    return buffer.getvalue()


def unpack_all(folder: Path, entries: int) -> None:
    """Unpack every hostile archive, and print how each ended."""
    from lookalike.errors import DataError
    from lookalike.prepare.download.archives import Limits, unpack

    cases: dict[str, Callable[[], bytes]] = {}
    for name in NAMES:
        cases[f"tar {name[:20]!r}"] = lambda name=name: _tar(name)
        cases[f"zip {name[:20]!r}"] = lambda name=name: _zip(name)
    for kind in LINKS:
        cases[f"tar entry of type {kind!r}"] = lambda kind=kind: _tar("a", kind, "/etc/passwd")
    cases["zip of zeros"] = lambda: _zip(*map(str, range(8)), content=bytes(32 << 20))
    cases["names in upper and lower case"] = lambda: _zip("a", "A")
    cases[f"{entries:,} entries"] = lambda: _many_entries(entries)
    for name, make in cases.items():
        file = folder / "archive.bin"
        file.write_bytes(make())
        begun, outcome = time.monotonic(), "unpacked"
        try:
            limits = Limits(files=entries // 2) if "entries" in name else Limits()
            unpack(file, folder / "inside" / "target", limits=limits)
        except DataError as error:
            outcome = "refused" if str(file) in str(error) else f"no name: {error}"
        except BaseException as error:
            outcome = repr(error)
        left = [path.name for path in (folder / "inside").iterdir()] if (folder / "inside").exists() else []
        print(json.dumps([name, outcome, left, round(time.monotonic() - begun, 1)]), flush=True)
    print(json.dumps(["memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]), flush=True)


def measure_archives(folder: Path, amount: int) -> Figure:
    """Hostile archives, one of which has `amount` entries."""
    folder = folder / "archives"
    folder.mkdir(parents=True, exist_ok=True)
    end = Process(unpack_all, folder, amount).wait()
    lines = [json.loads(line) for line in end.out.splitlines() if line.startswith("[")]
    results = [line for line in lines if line[0] != "memory"]
    problems = [
        f"{name}: {outcome}, left {left}"
        for name, outcome, left, _ in results
        if outcome != "refused" or left
    ]
    outside = {path.name for path in folder.iterdir()} - {"archive.bin", "inside"}
    problems += [f"written outside: {name}" for name in outside] if outside else []
    if end.code != 0 or not results:
        problems.append(f"ended with {end.code}: {end.err[-300:]}")
    slowest = max((seconds for *_, seconds in results), default=0)
    return Figure(
        f"{len(results)} hostile archives, one of {amount:,} entries: {len(problems)} unpacked or with files "
        f"outside; slowest {slowest:g} s",
        "0 files outside; the limit is named",
        problems,
    )


FORMULAS = ("=1+1", "+1", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1", "\r=1")
TABLES: dict[str, bytes] = {
    "NUL in a cell": b"path,label\na\0b.png,x\nc.png,y\n",
    "binary": bytes(range(256)) * 4,
    "UTF-16 without a mark": "path,label\na.png,x\n".encode("utf-16-le"),
    "path traversal": b"path,label\n../../../../etc/passwd,x\n../../../../etc/hosts,y\n",
    "devices": b"path,label\n/dev/zero,x\n/dev/random,y\n",
    "unclosed quote": b'path,label\n"a.png,x\nb.png,y\n',
    "rows of other lengths": b"path,label\na.png\nb.png,x,y,z\n",
    "column twice": b"path,path,label\na.png,b.png,x\n",
    "no rows": b"path,label\n",
    "empty": b"",
    "numbers, dates and texts in one column": b"path,label\n1,1\n2024-01-01,x\nTrue,2.5\n",
    "a column of 1 MB": b"path,label\n" + b"a" * (1 << 20) + b",x\n",
    "10,000 columns": b",".join(b"c%d" % number for number in range(10_000)) + b"\n",
}
PATCHES: dict[str, bytes] = {
    "NUL": b'{"op":"relabel","path":"a\\u0000b","label":"x"}\n',
    "no JSON": b"{\n",
    "brackets": b"[" * 100_000 + b"\n",
    "other operation": b'{"op":"exec","path":"a","label":"x"}\n',
    "list": b"[1]\n",
    "path traversal": b'{"op":"drop","path":"../../../../etc/passwd"}\n',
    "formula": b'{"op":"relabel","path":"a","label":"=1+1"}\n',
}


def measure_tables(folder: Path, amount: int) -> Figure:
    """Hostile tables and patches, a table of `amount` rows, and formula cells in the spreadsheet."""
    workspace = make_workspace(folder / "workspace")
    target = folder / "tables"
    target.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    calls = {
        f"table: {name}": _write_table(target, number, data)
        for number, (name, data) in enumerate(TABLES.items())
    }
    for number, (name, data) in enumerate(PATCHES.items()):
        file = target / f"{number}.jsonl"
        file.write_bytes(data)
        calls[f"patch: {name}"] = [
            "prepare",
            "source=table",
            "source.file=data/mine/table.parquet",
            f"patch={file}",
        ]
    for name, words in calls.items():
        end = start_job([*words, f"out={target / 'out'}", "workers=0"], workspace).wait(60)
        if end.is_crash or end.code == 0 or (target / "out").exists():
            problems.append(f"{name}: code {end.code}: {end.err[-200:]}")
    problems += _measure_formulas(target)
    seconds, memory, faults = _read_large(target, amount)
    return Figure(
        f"{len(calls)} hostile tables and patches and {len(FORMULAS)} formula cells: "
        f"{len(problems + faults)} accepted, crashed or active; "
        f"{amount:,} rows are read in {seconds:.0f} s with {memory >> 20:,} MB",
        "0; each rejected with a message, or neutralised",
        problems + faults,
    )


def _write_table(folder: Path, number: int, data: bytes) -> list[str]:
    file = folder / f"{number}.csv"
    file.write_bytes(data)
    return ["prepare", "source=table", f"source.file={file}"]


def _measure_formulas(folder: Path) -> list[str]:
    from lookalike.training.workbook import write_workbook

    write_workbook([{"epoch": 1, "note": text, text: 1.0} for text in FORMULAS], folder / "history.xlsx")
    with zipfile.ZipFile(folder / "history.xlsx") as book:
        sheets = [book.read(name) for name in book.namelist() if "worksheets/sheet" in name]
    return ["history.xlsx has a formula"] if any(b"<f>" in sheet for sheet in sheets) else []


def read_large(file: Path) -> None:
    """Read a large table, and print seconds and memory."""
    from lookalike.data.table import read_table

    begun = time.monotonic()
    table = read_table(file, files=False)
    print(
        json.dumps([len(table), time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])
    )


def _read_large(folder: Path, rows: int) -> tuple[float, int, list[str]]:
    import polars as pl

    numbers = pl.int_range(rows, eager=True)
    frame = pl.DataFrame(
        {"path": pl.select(pl.format("{}.jpg", numbers)).to_series(), "label": numbers % 1000}
    )
    frame.with_columns(split=pl.lit("test")).write_csv(folder / "large.csv")
    end = Process(read_large, folder / "large.csv").wait()
    (folder / "large.csv").unlink()
    if end.code != 0:
        return 0, 0, [f"{rows:,} rows: ended with {end.code}: {end.err[-300:]}"]
    count, seconds, memory = json.loads(end.out)
    return seconds, 1024 * memory, [] if count == rows else [f"{count} of {rows} rows were read"]
