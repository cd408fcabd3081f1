"""Damaged and hostile image files."""

import io
import json
import random
import resource
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from trust.figure import Figure
from trust.jobs import SAMPLE
from trust.processes import Process

SLOWEST = 2.0
"""Seconds after which a file counts as one that hangs."""
MOST_MEMORY = 500 << 20
"""Bytes that a process may take beyond what it took before."""
FORMATS = {
    "jpeg": ("JPEG", {"quality": 90}),
    "progressive jpeg": ("JPEG", {"progressive": True, "optimize": True}),
    "png": ("PNG", {}),
    "palette png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {"save_all": True, "duration": 50}),
    "tiff": ("TIFF", {}),
    "lzw tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "jpeg tiff": ("TIFF", {"compression": "jpeg"}),
    "bmp": ("BMP", {}),
    "avif": ("AVIF", {"speed": 10}),
}
"""How real images are saved before they are damaged."""


def make_originals(count: int) -> dict[str, list[bytes]]:
    """`count` real images in each format."""
    from PIL import Image

    files = sorted(SAMPLE.glob("*/*.png"))[:: max(1, 300 // count)][:count]
    originals: dict[str, list[bytes]] = {}
    for name, (kind, options) in FORMATS.items():
        for file in files:
            image = Image.open(file).convert("RGBA").resize((64, 48))
            flat = Image.new("RGB", image.size, "white")
            flat.paste(image, mask=image)
            picture = flat.convert("P") if name == "palette png" else flat
            more = {"append_images": [flat.rotate(90), flat.rotate(180)]} if kind == "GIF" else {}
            buffer = io.BytesIO()
            picture.save(buffer, kind, **options, **more)
            originals.setdefault(name, []).append(buffer.getvalue())
    return originals


def mutate(data: bytes, generator: random.Random) -> bytes:
    """The file with one to four kinds of damage."""
    changed = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        if not changed:
            break
        where = generator.randrange(len(changed))
        if generator.random() < 0.4:
            where = generator.randrange(min(len(changed), 200))
        match generator.randrange(8):
            case 0:
                del changed[where:]
            case 1:
                changed[where] ^= 1 << generator.randrange(8)
            case 2:
                changed[where : where + generator.randint(1, 64)] = bytes(generator.randint(1, 64))
            case 3:
                changed[where:where] = generator.randbytes(generator.randint(1, 32))
            case 4:
                changed[where : where + 4] = generator.choice(NUMBERS)
            case 5:
                del changed[where : where + generator.randint(1, 32)]
            case 6:
                piece = changed[where : where + generator.randint(1, 256)]
                changed[where:where] = piece
            case 7:
                changed[where] = generator.randrange(256)
    return bytes(changed)


NUMBERS = [
    struct.pack(order, number)
    for order in ("<I", ">I")
    for number in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65535, 65500, 1 << 20)
]


def read_mutants(seed: int, name: str, count: int, journal: Path) -> None:
    """Read damaged files, noting before each which one it is, and after it how it ended."""
    from lookalike.data.decode import open_image
    from lookalike.data.pixels import open_pixels
    from lookalike.errors import ImageError

    originals = make_originals(5)[name]
    with journal.open("a", encoding="utf-8") as lines:
        for number in range(seed, seed + count):
            data = mutate(originals[number % len(originals)], random.Random(f"{name} {number}"))
            print(number, file=lines, end=" ", flush=True)
            results = []
            begun = time.monotonic()
            for read in (open_image, lambda stream: open_pixels(stream, lambda size: (None, None))):
                try:
                    read(io.BytesIO(data))
                    results.append("read")
                except ImageError as error:
                    results.append("refused" if error.reason else "refused without a reason")
                except BaseException as error:
                    results.append(repr(error))
            print(json.dumps([round(time.monotonic() - begun, 3), *results]), file=lines, flush=True)
        print("end", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=lines, flush=True)


def measure_mutants(folder: Path, amount: int) -> Figure:
    """`amount` damaged files, shared among the formats, and a dataset half of which is damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    share = -(-amount // len(FORMATS))
    problems, refused, slowest, memory = [], 0, 0.0, 0
    base = _base_memory(folder)
    for name in FORMATS:
        journal = folder / f"{name.replace(' ', '-')}.txt"
        journal.unlink(missing_ok=True)
        begun = 0
        while begun < share:
            process = Process(read_mutants, begun, name, share - begun, journal)
            end = process.wait(60 + 2 * share)
            lines = journal.read_text(encoding="utf-8").splitlines()
            if lines and lines[-1].startswith("end"):
                memory = max(memory, 1024 * int(lines[-1].split()[1]) - base)
                break
            problems.append(
                f"{name} {lines[-1] if lines else ''}: the process ended with {end.code}: {end.err}"
            )
            begun = int(lines[-1].split()[0]) + 1 if lines else share
            with journal.open("a", encoding="utf-8") as file:
                print(file=file)
        for line in journal.read_text(encoding="utf-8").splitlines():
            number, _, rest = line.partition(" ")
            if not number.isdigit() or not rest:
                continue
            seconds, first, second = json.loads(rest)
            slowest, refused = max(slowest, seconds), refused + (first == "refused")
            if seconds > SLOWEST or {first, second} - {"read", "refused"} or first != second:
                problems.append(f"{name} {number}: {seconds} s, {first}, {second}")
    problems += [f"{memory >> 20} MB"] if memory > MOST_MEMORY else []
    problems += _measure_shift(folder / "shift")
    return Figure(
        f"{share * len(FORMATS):,} mutants of {len(FORMATS)} formats: {len(problems)} crashes, hangs, other "
        f"errors or shifted vectors; {refused:,} refused with a reason; slowest {slowest:.2f} s; "
        f"{max(memory, 0) >> 20} MB more than without",
        f"0; every file at most {SLOWEST:g} s; at most {MOST_MEMORY >> 20} MB more",
        problems,
    )


def print_memory() -> None:
    """The peak memory of a process that read one good image."""
    from lookalike.data.decode import open_image
    from lookalike.data.pixels import open_pixels

    data = make_originals(1)["jpeg"][0]
    open_image(io.BytesIO(data))
    open_pixels(io.BytesIO(data), lambda size: (None, None))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _base_memory(folder: Path) -> int:
    return 1024 * int(Process(print_memory).wait().out)


def _measure_shift(folder: Path) -> list[str]:
    """Embed a table half of whose files are damaged: what remains has the vectors that it has alone."""
    return Process(embed_damaged, folder).wait().out.splitlines()


def embed_damaged(folder: Path) -> None:
    """Print what is wrong with the vectors of a table half of whose files are damaged."""
    import numpy as np
    import polars as pl

    import lookalike
    from lookalike.data.table import Table
    from lookalike.data.transforms import Resize
    from lookalike.model import backbones, heads, pooling
    from lookalike.model.embedder import build

    folder.mkdir(exist_ok=True)
    originals = make_originals(4)
    rows, good = [], []
    for number, (name, contents) in enumerate(sorted(originals.items()) * 2):
        for index, data in enumerate(contents):
            damaged = (number + index) % 2 == 0
            file = folder / f"{number}-{index}.img"
            file.write_bytes(data[: len(data) // 3] if damaged else data)
            rows.append({"path": file.name, "label": name, "split": "test"})
            good += [] if damaged else [file.name]
    model = build(backbones.small_cnn([4, 8]), pooling.Native(), heads.Linear, 8, Resize(32)).eval()
    embeddings = lookalike.embed(model, Table(pl.DataFrame(rows), folder), batch_size=7, progress=False)
    paths = embeddings.table.frame["path"].to_list()
    if paths != good:
        print(f"vectors of {len(paths)} files instead of {len(good)}")
        return
    alone = model.embed([folder / name for name in good])
    wrong = np.flatnonzero(np.abs(alone - embeddings.vectors).max(1) > 1e-5)
    for row in wrong:
        print(f"{paths[row]} has the vector of another file")


def measure_bombs(folder: Path, amount: int) -> Figure:
    """Files whose headers declare too much, or which are several things at once."""
    folder.mkdir(parents=True, exist_ok=True)
    problems, slowest, most = [], 0.0, 0
    base = _base_memory(folder)
    names = list(BOMBS)[:: max(1, len(BOMBS) // amount)]
    files = [(name, folder / f"{name.replace(' ', '-')}.png") for name in names]
    for name, file in files:
        file.write_bytes(BOMBS[name]())
    end = Process(read_bombs, [file for _, file in files]).wait(120)
    results = [json.loads(line) for line in end.out.splitlines() if line.startswith("{")]
    if len(results) < len(files):
        problems.append(f"{files[len(results)][0]}: ended with {end.code}: {end.err[-200:]}")
    for (name, _), result in zip(files, results, strict=False):
        grown = 1024 * result["memory"] - base
        slowest, most = max(slowest, result["seconds"]), max(most, grown)
        expected = "read" if name in HARMLESS else "refused"
        if result["outcome"] != expected or result["seconds"] > 1 or grown > 200 << 20:
            problems.append(f"{name}: {result}")
    return Figure(
        f"{len(files)} bombs, oversized files, animations and polyglots: {len(problems)} decoded, slow or "
        f"large; slowest {slowest:.2f} s, at most {max(most, 0) >> 20} MB more than for one small image",
        "0; refused from the header within 1 s and 200 MB; of an animation only the first frame is read",
        problems,
    )


def read_bombs(files: list[Path]) -> None:
    """Read each file in both ways, and print what came of it."""
    from lookalike.data.decode import open_image
    from lookalike.data.pixels import open_pixels
    from lookalike.errors import ImageError

    open_image(io.BytesIO(_small("JPEG")))
    open_pixels(io.BytesIO(_small("JPEG")), lambda size: (None, None))
    for file in files:
        begun, outcomes = time.monotonic(), set()
        for read in (open_image, lambda source: open_pixels(source, lambda size: (None, None))):
            try:
                read(file)
                outcomes.add("read")
            except ImageError:
                outcomes.add("refused")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = time.monotonic() - begun
        result = {"outcome": "/".join(sorted(outcomes)), "seconds": seconds, "memory": memory}
        print(json.dumps(result), flush=True)


def _png(width: int, height: int, data: bytes = b"", chunks: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _png_bomb() -> bytes:
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * 24000)
    return _png(24000, 24000, b"".join(packer.compress(row) for _ in range(24000)) + packer.flush())


def _text_bomb() -> bytes:
    packed = zlib.compress(bytes(200 << 20), 9)
    content = b"Comment\0\0" + packed
    text = (
        struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))
    )
    return _png(8, 8, zlib.compress(bytes(8 * 25)), text)


def _small(kind: str, size: tuple[int, int] = (32, 32), **options: object) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose header declares a size that its data do not have."""
    data = bytearray(_small("JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _gif_of_frames(count: int) -> bytes:
    data = _small("GIF", (16, 16))
    start = data.index(b"\x2c")
    return data[:start] + data[start:-1] * count + b"\x3b"


def _tiff_of_size(width: int, height: int) -> bytes:
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, width * height % 2**32)]
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", 0)


def _zip_with(data: bytes) -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", data)
    return buffer.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "png 24000": _png_bomb,
    "png 65500 sides": lambda: _png(65500, 65500, zlib.compress(b"")),
    "png 65500 by 1500 without pixels": lambda: _png(65500, 1500, zlib.compress(b"")),
    "png with 200 MB of text": _text_bomb,
    "jpeg 65500 sides": lambda: jpeg_of_size(65500, 65500),
    "jpeg 65500 by 1500 without pixels": lambda: jpeg_of_size(65500, 1500),
    "bmp 65500 sides": lambda: _small("BMP")[:18] + struct.pack("<ii", 65500, 65500) + _small("BMP")[26:],
    "bmp 65500 by 1500 without pixels": lambda: (
        _small("BMP")[:18] + struct.pack("<ii", 65500, 1500) + _small("BMP")[26:]
    ),
    "gif 65500 sides": lambda: _small("GIF")[:6] + struct.pack("<HH", 65500, 65500) + _small("GIF")[10:],
    "tiff 65500 sides": lambda: _tiff_of_size(65500, 65500),
    "tiff 65500 by 1500 without pixels": lambda: _tiff_of_size(65500, 1500),
    "netpbm 65500 sides": lambda: b"P6 65500 65500 255\n",
    "netpbm 65500 by 1500 without pixels": lambda: b"P6 65500 1500 255\n",
    "gif of 10000 frames": lambda: _gif_of_frames(10_000),
    "gif of 100000 frames": lambda: _gif_of_frames(100_000),
    "zip that holds a png": lambda: _zip_with(_small("PNG")),
    "pdf that holds a jpeg": lambda: b"%PDF-1.7\n" + _small("JPEG"),
    "web page in a jpeg's clothing": lambda: b"\xff\xd8\xff<html><script>alert(1)</script></html>",
    "svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
    "fits in gzip": lambda: b"\x1f\x8b" + bytes(100),
    "jpeg with a zip behind it": lambda: _small("JPEG") + _zip_with(b"x"),
}
"""Hostile files by what they are."""
HARMLESS = {"gif of 10000 frames", "gif of 100000 frames", "jpeg with a zip behind it"}
"""Those that are valid images, of which only the pixels of the first frame are used."""
