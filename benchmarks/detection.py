"""How fast faces are found, turned and cropped on one core, and how near to the middle of the eyes.

python benchmarks/detection.py [pictures=7] [rounds=5] [longest=640]

Speed: portraits of LOOKALIKE_DATA/faces, shrunk to `longest` pixels and written as JPEG. A round takes every
picture once from its file to a crop of 240 × 240 pixels in a file, on one thread. Beside it, if
facenet-pytorch is installed, its MTCNN finds boxes and landmarks in the same decoded pictures; it neither
reads nor crops. Rounds are interleaved; times are of the processor, the median over rounds with the fastest
and slowest. The goal is 12 faces a second.

Places: how far from its place each eye lands in a crop of 240 pixels. The middles of the irises were marked
by hand in enlarged pictures. In obama2.jpg the eyes look far aside, and landmarks follow the lids more than
the iris.
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
from lookalike.detect.geometry import aligning_similarity
from lookalike.detect.work import CropWorker, Outcome, Task

GOAL, SIZE = 12, 240
EYES = {
    "astronaut.png": [(203.9, 101.2), (247.0, 102.9)],
    "biden.jpg": [(532.5, 323.0), (650.5, 347.5)],
    "obama.jpg": [(443.5, 213.3), (549.0, 211.5)],
    "obama2.jpg": [(248.0, 368.5), (362.5, 378.5)],
    "obama3.jpg": [(737.5, 385.0), (857.0, 396.5)],
    "obama_partial_face.jpg": [(24.8, 213.3), (130.2, 211.5)],
    "obama_partial_face2.jpg": [(443.5, 213.3), (549.0, 211.5)],
}


def made(settings: str) -> Cropping:
    return Crops(CenterFace())


def shrunk(folder: Path, count: int, longest: int) -> list[Path]:
    """The portraits at the size that is measured."""
    files = []
    for name in list(EYES)[:count]:
        image = open_image(data("faces") / name)
        share = longest / max(image.size)
        small = image.resize((round(image.width * share), round(image.height * share)))
        files.append(folder / f"{Path(name).stem}.jpg")
        small.save(files[-1], quality=90)
    return files


def peer() -> Callable[[Image.Image], object] | None:
    try:
        from facenet_pytorch import MTCNN
    except ImportError:
        return None
    network = MTCNN(keep_all=True)
    return lambda image: network.detect(image, landmarks=True)


def check_cropped(outcome: Outcome) -> None:
    if len(outcome.crops) != 1:
        raise SystemExit(f"no face was cropped: {outcome.reason}")


def off(name: str, find: CenterFace) -> list[str]:
    """How far each eye is from its place, in pixels of the crop."""
    (face,) = find(np.asarray(open_image(data("faces") / name)))
    move = aligning_similarity(np.asarray(face.landmarks), "eyes", SIZE)
    places = aligning_similarity(np.array(EYES[name]), "eyes", SIZE)(np.array(EYES[name]))
    far = np.linalg.norm(move(np.array(EYES[name])) - places, axis=1)
    return [f"{one:.1f}" for one in far]


def process_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    asked = dict(word.split("=") for word in sys.argv[1:])
    count, rounds, longest = (
        int(asked.get(key, n)) for key, n in (("pictures", 7), ("rounds", 5), ("longest", 640))
    )
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        files = shrunk(Path(name), count, longest)
        cut, detector, mtcnn = CropWorker(made, "", Path(name, "crops")), CenterFace(), peer()
        images = [open_image(file) for file in files]
        pixels = [np.asarray(image) for image in images]
        sides: dict[str, Callable[[], object]] = {
            "file to crop": lambda: [check_cropped(cut(Task(file, file.stem))) for file in files],
            "CenterFace alone": lambda: [detector(each) for each in pixels],
        }
        if mtcnn is not None:
            sides["MTCNN of facenet-pytorch alone"] = lambda: [mtcnn(image) for image in images]
        for work in sides.values():
            work()
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, work in sides.items():
                times[side].append(process_seconds(work) / len(files))
    first = statistics.median(times["file to crop"])
    rows = []
    for side, seconds in times.items():
        middle = statistics.median(seconds)
        spread = f"{1000 * middle:.1f} [{1000 * min(seconds):.1f}, {1000 * max(seconds):.1f}]"
        goal = f"{GOAL} a second" if side == "file to crop" else ""
        rows.append((side, spread, f"{1 / middle:.1f}", f"{middle / first:.2f}", goal))
    columns = ("one face", "ms", "faces/s", "time, as a multiple of file to crop", "goal")
    show(f"Finding and aligning faces, {len(files)} pictures of {longest} px, one thread", columns, rows)
    eyes = [(name, *off(name, CenterFace()), "2") for name in EYES]
    show(f"Eyes in crops of {SIZE} pixels", ("picture", "left eye off by", "right eye off by", "goal"), eyes)


if __name__ == "__main__":
    main()
