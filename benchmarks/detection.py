"""How fast faces are found, turned and cropped on one core, beside facenet-pytorch's MTCNN where it is
installed.

python benchmarks/detection.py [pictures=7] [rounds=5] [longest=640]

Portraits of LOOKALIKE_DATA/faces, shrunk to `longest` pixels and written as JPEG, each of which shows a
face. A round takes every picture once from its file to a crop of 240 × 240 pixels in a file, one thread; the
peer finds the boxes and landmarks of the same decoded pictures, and neither reads nor crops. Rounds are
interleaved, and a time is the median over rounds with the fastest and slowest. The goal is 12 faces a second.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from _common import data, show
from lookalike.data.decode import open_image
from lookalike.detect.centerface import CenterFace
from lookalike.detect.cropping import Cropping, Crops
from lookalike.detect.work import Cut, Task

GOAL = 12


def made(settings: str) -> Cropping:
    return Crops(CenterFace(longest=int(settings)))


def shrunk(folder: Path, count: int, longest: int) -> list[Path]:
    """The portraits at the size that is measured."""
    files = []
    for file in sorted(data("faces").iterdir()):
        if file.suffix in (".jpg", ".png") and file.stem != "chelsea":
            image = open_image(file)
            share = longest / max(image.size)
            small = image.resize((round(image.width * share), round(image.height * share)))
            files.append(folder / f"{file.stem}.jpg")
            small.save(files[-1], quality=90)
    return files[:count]


def peer() -> Callable[[Image.Image], object] | None:
    try:
        from facenet_pytorch import MTCNN
    except ImportError:
        return None
    network = MTCNN(keep_all=True)
    return lambda image: network.detect(image, landmarks=True)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    asked = dict(word.split("=") for word in sys.argv[1:])
    count, rounds, longest = (
        int(asked.get(key, n)) for key, n in (("pictures", 7), ("rounds", 5), ("longest", 640))
    )
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        files = shrunk(Path(name), count, longest)
        cut, detector, mtcnn = Cut(made, str(longest), Path(name)), CenterFace(longest=longest), peer()
        images = [open_image(file) for file in files]
        pixels = [np.asarray(image) for image in images]
        sides: dict[str, Callable[[], object]] = {
            "file to crop": lambda: [cut(Task(file, file.stem)) for file in files],
            "CenterFace alone": lambda: [detector(each) for each in pixels],
        }
        if mtcnn is not None:
            sides["MTCNN of facenet-pytorch alone"] = lambda: [mtcnn(image) for image in images]
        for work in sides.values():
            work()
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, work in sides.items():
                times[side].append(timed(work) / len(files))
    first = statistics.median(times["file to crop"])
    rows = []
    for side, seconds in times.items():
        middle = statistics.median(seconds)
        spread = f"{1000 * middle:.1f} [{1000 * min(seconds):.1f}, {1000 * max(seconds):.1f}]"
        goal = f"{GOAL} a second" if side == "file to crop" else ""
        rows.append((side, spread, f"{1 / middle:.1f}", f"{middle / first:.2f}", goal))
    columns = ("one face", "ms", "faces/s", "time, as a multiple of file to crop", "goal")
    show(f"Finding and aligning faces, {len(files)} pictures of {longest} px, one thread", columns, rows)


if __name__ == "__main__":
    main()
