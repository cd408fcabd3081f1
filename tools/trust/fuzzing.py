"""Random input for the parsers that read files of users."""

import io
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

from trust.figure import Figure
from trust.images import make_originals, mutate
from trust.processes import Process

WORDS = [
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r\n",
    b'"',
    b"'",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
]
WORDS += [
    b"NaN",
    b"-1",
    b"1e999",
    b"9" * 40,
    b"path",
    b"label",
    b"split",
    b"null",
    b"=",
    b"~",
    b"${x}",
    b"../",
    b"\xe2\x80\xae",
]
TABLE = b"path,label,split,x1,y1,x2,y2\na.png,tom,train,0,0,5,5\nb.png,kitty,test,1,2,3,4\n"
PATCH = b'{"lookalike":"patch","root":"."}\n{"op":"relabel","path":"a.png","label":"x"}\n'
PATCH += b'{"op":"drop","path":"b.png"}\n'
PAIRS = b"a.png b.png 1\nc.png d.png 0\n"
COMMAND = (
    b"dataset=d out=o loss=[triplet,arcface] optimizer.lr=0.1 loss.triplet.margin=0.2 stages=[{epochs: 2}]"
)
"""What is damaged."""


def _read_table(data: bytes, folder: Path) -> None:
    from lookalike.data.table import read_table

    file = folder / "table.csv"
    file.write_bytes(data)
    read_table(file, files=False)


def _read_header(data: bytes, folder: Path) -> None:
    from lookalike.data.decode import image_size

    image_size(io.BytesIO(data))


def _read_config(data: bytes, folder: Path) -> None:
    from lookalike.cli.train import Config
    from lookalike.config import load

    load("train", Config, data.decode("utf-8", "surrogateescape").split(" "))


def _read_patch(data: bytes, folder: Path) -> None:
    from lookalike.prepare.patch.changes import read_patch

    file = folder / "patch.jsonl"
    file.write_bytes(data)
    read_patch(file)


def _read_pairs(data: bytes, folder: Path) -> None:
    from lookalike.data.pairs import read_pairs

    file = folder / "pairs.txt"
    file.write_bytes(data)
    read_pairs(file)


TARGETS: dict[str, tuple[Callable[[bytes, Path], None], Callable[[], list[bytes]]]] = {
    "table": (_read_table, lambda: [TABLE, TABLE.replace(b",", b";")]),
    "image header": (_read_header, lambda: [data for each in make_originals(2).values() for data in each]),
    "config": (_read_config, lambda: [COMMAND]),
    "patch": (_read_patch, lambda: [PATCH]),
    "pair list": (_read_pairs, lambda: [PAIRS, PAIRS.replace(b" ", b",")]),
}


def damage(data: bytes, generator: random.Random) -> bytes:
    """The input with bytes changed, and with words that parsers know inserted."""
    changed = bytearray(data)
    for _ in range(generator.randint(0, 4)):
        where = generator.randint(0, len(changed))
        changed[where : where + generator.choice((0, 0, 1, 5))] = generator.choice(WORDS)
    return mutate(bytes(changed), generator) if generator.random() < 0.5 else bytes(changed)


def fuzz(name: str, seconds: float, folder: Path) -> None:
    """Feed a parser for so many seconds; print each input that raises anything but an error for users."""
    import logging

    from lookalike.errors import LookalikeError

    logging.disable()
    read, make = TARGETS[name]
    originals, generator, count, kinds = make(), random.Random(name), 0, set()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = damage(generator.choice(originals), generator)
        begun = time.monotonic()
        try:
            read(data, folder)
        except LookalikeError:
            pass
        except BaseException as error:
            last = error.__traceback__
            while last and last.tb_next:
                last = last.tb_next
            kind = f"{type(error).__name__} in line {last.tb_lineno if last else 0}"
            if kind not in kinds:
                kinds.add(kind)
                print(json.dumps([kind, repr(error)[:200], repr(data)[:600]]), flush=True)
        if time.monotonic() - begun > 2 and "slow" not in kinds:
            kinds.add("slow")
            print(json.dumps(["slow", f"{time.monotonic() - begun:.1f} s", repr(data)[:600]]), flush=True)
        count += 1
    print(count, flush=True)


def measure_fuzzing(folder: Path, amount: int) -> Figure:
    """Fuzz each parser for `amount` seconds."""
    folder = folder / "fuzzing"
    folder.mkdir(parents=True, exist_ok=True)
    problems, total = [], 0
    for name in TARGETS:
        end = Process(fuzz, name, float(amount), folder).wait(amount + 120)
        lines = end.out.splitlines()
        problems += [f"{name}: {' '.join(json.loads(line))}" for line in lines if line.startswith("[")]
        if not lines or not lines[-1].isdigit():
            problems.append(f"{name}: ended with {end.code}: {end.err[-300:]}")
        else:
            total += int(lines[-1])
    return Figure(
        f"{total:,} inputs for {len(TARGETS)} parsers, {amount} s each: {len(problems)} findings",
        "0 findings",
        problems,
    )
