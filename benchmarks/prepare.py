"""Headers of 100,000 images: how many are read a second and a core, and in how much memory.

    python benchmarks/prepare.py [images=100000] [workers=1]

500 photos of the set `grocery` are copied to a temporary folder; hard links to them stand in class folders.
`lookalike prepare source=folder check=false` runs as a process of its own; its memory is the most that it and
its workers had at once, as the system counts resident pages: libraries that they share count in each of them.
Goals: 2,000 images a second and a core, 500 MB.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from _common import data, show

PHOTOS, PER_CLASS = 500, 50
RATE, MEMORY = 2_000, 500


def make_folders(root: Path, images: int) -> None:
    """Class folders of links to copies of real photos."""
    photos = sorted((data("grocery") / "images").rglob("*.jpg"))[:PHOTOS]
    if not photos:
        raise SystemExit("no .jpg in grocery/images")
    copies = [root.parent / f"{number}.jpg" for number in range(len(photos))]
    for photo, copy in zip(photos, copies, strict=True):
        shutil.copyfile(photo, copy)
    for number in range(images):
        folder = root / f"{number // PER_CLASS:05}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(copies[number % len(copies)], folder / f"{number}.jpg")


def watch_command(command: list[str]) -> tuple[float, float, str]:
    """Seconds, most megabytes of the process with its children, and what it said."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    most, done = [0.0], threading.Event()

    def look() -> None:
        family = psutil.Process(process.pid)
        while not done.wait(0.05):
            most[0] = max(most[0], resident(family))

    watcher = threading.Thread(target=look)
    watcher.start()
    said, _ = process.communicate()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(said)
    return seconds, most[0], said


def resident(family: psutil.Process) -> float:
    """Megabytes that a process and those it started hold."""
    total = 0
    for one in [family, *_child_processes(family)]:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 1e6


def _child_processes(family: psutil.Process) -> list[psutil.Process]:
    try:
        return family.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def prepare(root: Path, out: Path, workers: int) -> tuple[float, float]:
    """Seconds and megabytes of the job on these folders."""
    command = [sys.executable, "-m", "lookalike", "prepare", f"source.root={root}", f"out={out}"]
    seconds, megabytes, _ = watch_command([*command, "check=false", f"workers={workers}", "progress=false"])
    return seconds, megabytes


def main(arguments: list[str]) -> None:
    given = dict(argument.split("=", 1) for argument in arguments)
    images, workers = int(given.get("images", 100_000)), int(given.get("workers", 1))
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "photos"
        make_folders(root, images)
        seconds, megabytes = prepare(root, Path(place) / "out", workers)
    rate = images / seconds / max(1, workers)
    columns = ["images", "workers", "s, start included", "images/s a core", "goal", "MB", "goal"]
    row = [f"{images:,}", workers, f"{seconds:.1f}", f"{rate:,.0f}", f"{RATE:,}", f"{megabytes:.0f}", MEMORY]
    show("Headers of images (prepare.py)", columns, [row])


if __name__ == "__main__":
    main(sys.argv[1:])
