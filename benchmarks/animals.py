"""How many cats the detectors find in photos of packages, and how often they see one where there is none.

python benchmarks/animals.py WEIGHTS [pictures=200]

WEIGHTS is the file that `npm pack @mediapipe/objectron` writes. The only photo of a cat that comes with
scikit-image is chelsea.png, and it stands in for more: turned by up to 30 degrees, mirrored, darker,
brighter, grey, blurred, small in a larger picture, and in parts. This shows how robust a detector is, not how
good it is on other cats. Photos without animals are those of people in LOOKALIKE_DATA/faces and the first
`pictures` of groceries in LOOKALIKE_DATA/grocery. Times are of the processor, on one thread.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from _common import data, show
from lookalike.data.decode import open_image
from lookalike.detect.detection import Detection
from lookalike.detect.haar_cat import HaarCat
from lookalike.detect.open_images import OpenImages

CAT = (18, 2, 428, 300)
"""Where the cat is in chelsea.png, marked by hand: it fills nearly all of it."""
ENOUGH = 0.5
ANGLES = (-30, -15, 15, 30)
SCORES = (0.2, 0.3, 0.4, 0.5)


def photos_of_the_cat() -> dict[str, Image.Image]:
    """The photo and what was made of it."""
    cat = open_image(data("faces") / "chelsea.png")
    found = {"as it is": cat, "mirrored": cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT)}
    found |= {
        f"turned by {angle}": cat.rotate(angle, Image.Resampling.BICUBIC) for angle in (-30, -15, 15, 30)
    }
    found |= {f"brightness {share:g}": ImageEnhance.Brightness(cat).enhance(share) for share in (0.4, 1.6)}
    found["grey"] = cat.convert("L").convert("RGB")
    found["blurred"] = cat.filter(ImageFilter.GaussianBlur(3))
    for side in (600, 900, 1200):
        canvas = Image.new("RGB", (side, side), (120, 120, 110))
        canvas.paste(cat, ((side - cat.width) // 2, side - cat.height))
        found[f"in {side} pixels"] = canvas
    width, height = cat.size
    parts = {
        "left": (0, 0, 300, height),
        "right": (width - 300, 0, width, height),
        "upper": (0, 0, width, 190),
    }
    return found | {f"{name} part": cat.crop(box) for name, box in parts.items()}


def photos_without() -> list[Path]:
    """Photos that show no animal."""
    count = next((int(word.partition("=")[2]) for word in sys.argv if word.startswith("pictures=")), 200)
    people = [file for file in sorted(data("faces").glob("*.*")) if file.name != "chelsea.png"]
    return people + sorted(data("grocery").rglob("*.jpg"))[:count]


def overlap(one: Detection, box: tuple[float, float, float, float]) -> float:
    """Intersection over union."""
    across = min(one.box[2], box[2]) - max(one.box[0], box[0])
    down = min(one.box[3], box[3]) - max(one.box[1], box[1])
    both = max(across, 0) * max(down, 0)
    return both / (one.area + (box[2] - box[0]) * (box[3] - box[1]) - both)


def measure(name: str, find: Callable[[np.ndarray], list[Detection]]) -> list[object]:
    """The row of a detector."""
    cats = photos_of_the_cat()
    start = time.process_time()
    found = {about: find(np.asarray(image)) for about, image in cats.items()}
    each = (time.process_time() - start) / len(cats)
    whole = [one for one in found["as it is"] if overlap(one, CAT) >= ENOUGH]
    missed = [about for about, boxes in found.items() if not boxes]
    files = photos_without()
    wrong = [file.name for file in files if find(np.asarray(open_image(file)))]
    return [
        name,
        f"{len(cats) - len(missed)} of {len(cats)}",
        "yes" if whole else "no",
        f"{len(wrong)} of {len(files)}",
        f"{1000 * each:.0f} ms",
        ", ".join(missed),
    ]


def main() -> None:
    """Compare the detectors."""
    weights = Path(sys.argv[1])
    rows = [measure(f"cat, min_score={least}", OpenImages(weights, ("cat",), least)) for least in SCORES]
    rows.append(measure("animal, min_score=0.4", OpenImages(weights, ("cat", "dog"), 0.4)))
    rows += [measure(f"cat_face, neighbours={count}", HaarCat(neighbours=count)) for count in (3, 1)]
    head = ["detect", "cat found", "its box right", "wrong", "each", "missed"]
    show("cats", head, rows)


if __name__ == "__main__":
    main()
