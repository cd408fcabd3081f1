"""Reading photos for training, beside Pillow and torchvision's v1 transforms.

LOOKALIKE_DATA=… python benchmarks/loading.py [photos] [shards] [small] [images=64] [rounds=7] [seed=0]

photos: real photos enlarged to 500 × 375 (quality 90) and to 4000 × 3000 pixels; a random part of each (8 %
  to all of it) made 224 × 224 with antialiasing, mirrored or not, normalised: ours from the files as found,
  from a dataset shrunk once at `prepare` (shorter side 256), and from the cache of raw pixels, over Pillow +
  RandomResizedCrop + RandomHorizontalFlip + ToTensor + Normalize on the files as found. Batches of 32.
shards: the photos of 500 × 375 as single files and packed by `prepare shards`: their bytes alone, and a
  random part as above. From files that the system has in memory shards gain nothing; nor may they lose.
small: reading and changing digits of 28 px, 50 in a batch: microseconds an image, decoded once before.

One thread; processor time of this process, the sides in turns; the system has the files in its cache.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from PIL import Image

from _common import data, show
from lookalike.data import memory_cache
from lookalike.data.augment import Augment
from lookalike.data.cache import Cache
from lookalike.data.images import ImageTable
from lookalike.data.random_crop import RandomCrop
from lookalike.data.shards import open_image_file
from lookalike.data.table import Table
from lookalike.machine import configure_memory
from lookalike.model.normalise import normalise
from lookalike.prepare.download.shards import Packing
from lookalike.prepare.resize import shrink_image
from mnist import write_dataset

SIZE, BATCH = 224, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = {"500 × 375": (500, 375), "12 megapixels": (4000, 3000)}
GOALS = {
    ("500 × 375", "as found"): 1.9,
    ("500 × 375", "shrunk at prepare"): 3.2,
    ("500 × 375", "raw cache"): 8.0,
    ("12 megapixels", "as found"): 4.0,
}
Work = Callable[[], object]


def enlarge_photos(files: list[Path], folder: Path, size: tuple[int, int]) -> Table:
    """The photos, cut to 4:3 and stored in this size at quality 90."""
    folder.mkdir()
    for number, file in enumerate(files):
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        image = image.rotate(90, expand=True) if image.height > image.width else image
        height = image.width * 3 // 4
        top = max(0, (image.height - height) // 2)
        image = image.resize(
            size, Image.Resampling.LANCZOS, (0, top, image.width, min(top + height, image.height))
        )
        image.save(folder / f"{number:03}.jpg", quality=90)
    return table(folder)


def table(folder: Path) -> Table:
    names = sorted(file.name for file in folder.glob("*.jpg"))
    return Table(pl.DataFrame({"path": names, "label": names, "split": "train"}), folder)


def ours(images: ImageTable) -> Work:
    """One epoch, each with other random numbers, as the training loop reads it."""
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (MEAN, STD))
    epochs = iter(range(1, 10_000))

    def work() -> None:
        images.set_epoch(next(epochs))
        for start in range(0, len(images), BATCH):
            rows = range(start, min(start + BATCH, len(images)))
            normalise(images.__getitems__(rows).images, mean, std)

    return work


def theirs(table: Table) -> Work:
    """The pipeline that most training scripts have."""
    from torchvision import transforms

    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    def read(row: int) -> torch.Tensor:
        with Image.open(table.file(row)) as opened:
            return change(opened.convert("RGB"))

    def work() -> None:
        for start in range(0, len(table), BATCH):
            torch.stack([read(row) for row in range(start, min(start + BATCH, len(table)))])

    return work


def shrunk(source: Table, folder: Path) -> Table:
    """What `prepare shrink=256` makes of the photos."""
    folder.mkdir()
    for row in range(len(source)):
        shrink_image(source.file(row), None, folder / source.frame["path"][row], 256, 90)
    return table(folder)


def seconds(work: Work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def photos(count: int, rounds: int, seed: int) -> None:
    """Ratios of processor time, ours and theirs in turns."""
    files = sorted((data("grocery") / "originals").glob("*.jpg"))
    room, memory_cache.ROOM = memory_cache.ROOM, 0  # so few photos would stay decoded in memory
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for title, size in SIZES.items():
            number = count if size[0] < 1000 else max(8, count // 8)
            chosen = np.random.default_rng(seed).permutation(len(files))[:number]
            folder = Path(name) / title.split()[0]
            source = enlarge_photos([files[row] for row in chosen], folder, size)
            kilobytes = np.mean([source.file(row).stat().st_size for row in range(number)]) / 1000
            crop = RandomCrop(SIZE)
            sides = {
                "theirs": theirs(source),
                "as found": ours(ImageTable(source, crop, seed=seed)),
                "shrunk at prepare": ours(ImageTable(shrunk(source, folder / "shrunk"), crop, seed=seed)),
                "raw cache": ours(
                    ImageTable(source, crop, seed=seed, cache=Cache(folder / "cache", 256, 10**9))
                ),
            }
            torch.manual_seed(seed)
            for work in sides.values():
                work()
            spent = {side: np.zeros(rounds) for side in sides}
            for turn in range(rounds):
                for side, work in sides.items():
                    spent[side][turn] = seconds(work) / number
            for side in list(sides)[1:]:
                ratios = spent["theirs"] / spent[side]
                goal = GOALS.get((title, side))
                rows.append(
                    [
                        f"{title}, {kilobytes:.0f} kB",
                        side,
                        f"{1 / np.median(spent['theirs']):.0f}",
                        f"{1 / np.median(spent[side]):.0f}",
                        f"{np.median(ratios):.2f}",
                        f"{ratios.min():.2f} to {ratios.max():.2f}",
                        f"≥ {goal}" if goal else "",
                    ]
                )
    memory_cache.ROOM = room
    columns = ["photos", "ours reads", "theirs, images/s", "ours, images/s", "ratio", "spread", "goal"]
    show(f"A random part at 224 px ({rounds} rounds, seed {seed})", columns, rows)


def shards(count: int, rounds: int, seed: int) -> None:
    """Ratios of processor time, single files over shards, in turns."""
    files = sorted((data("grocery") / "originals").glob("*.jpg"))
    chosen = np.random.default_rng(seed).permutation(len(files))[:count]
    room, memory_cache.ROOM = memory_cache.ROOM, 0
    with tempfile.TemporaryDirectory() as name:
        source = enlarge_photos([files[row] for row in chosen], Path(name) / "photos", SIZES["500 × 375"])
        packing = Packing(source, Path(name), Path(name), 512 * 10**6, threads=1)
        list(packing)
        packed = packing.result().table
        crop = RandomCrop(SIZE)
        rows = []
        for title, work in {
            "bytes alone": read_bytes,
            "a random part at 224 px": lambda table: ours(ImageTable(table, crop, seed=seed)),
        }.items():
            sides = [work(source), work(packed)]
            spent = np.array([[seconds(side) for side in sides] for _ in range(rounds + 1)])[1:] / len(source)
            ratios = spent[:, 0] / spent[:, 1]
            rows.append(
                [
                    title,
                    *(f"{1e6 * np.median(one):.0f}" for one in spent.T),
                    f"{np.median(ratios):.2f}",
                    f"{ratios.min():.2f} to {ratios.max():.2f}",
                ]
            )
    memory_cache.ROOM = room
    columns = ["reading", "single files, µs/image", "shards, µs/image", "ratio", "spread"]
    show(f"{len(source)} photos of 500 × 375 ({rounds} rounds, seed {seed})", columns, rows)


def read_bytes(table: Table) -> Work:
    """All bytes of all images."""
    paths = [str(table.file(row)) for row in range(len(table))]

    def work() -> None:
        for path in paths:
            with open_image_file(path) as stream:
                stream.read()

    return work


def small(rounds: int, seed: int) -> None:
    """Digits: what a batch costs before the model sees it."""
    with tempfile.TemporaryDirectory() as name:
        from lookalike.data.table import read_table

        digits = read_table(write_dataset(data("mnist10k"), Path(name) / "digits")).take(range(2000))
        change = Augment(28, flip=0, scale=(0.9, 1.1), shift=0.05, saturation=0, balance=0, grey=0)
        images = ImageTable(digits, change, seed=seed)
        order = np.random.default_rng(seed).permutation(2000).reshape(-1, 50).tolist()
        first = seconds(lambda: [images.__getitems__(rows) for rows in order]) / 2000
        later = [seconds(lambda: [images.__getitems__(rows) for rows in order]) / 2000 for _ in range(rounds)]
    show(
        f"Digits of 28 px, augment as in mnist_facenet ({rounds} rounds, seed {seed})",
        ["first epoch, µs/image", "later, µs/image", "spread"],
        [
            [
                f"{1e6 * first:.0f}",
                f"{1e6 * np.median(later):.0f}",
                f"{1e6 * min(later):.0f} to {1e6 * max(later):.0f}",
            ]
        ],
    )


if __name__ == "__main__":
    configure_memory(threads=1)  # as training does: freed memory is used again
    numbers = {key: int(value) for key, value in (word.split("=") for word in sys.argv[1:] if "=" in word)}
    chosen = [word for word in sys.argv[1:] if "=" not in word] or ["photos", "shards", "small"]
    rounds, seed = numbers.get("rounds", 7), numbers.get("seed", 0)
    if "photos" in chosen:
        photos(numbers.get("images", 64), rounds, seed)
    if "shards" in chosen:
        shards(numbers.get("images", 64), rounds, seed)
    if "small" in chosen:
        small(rounds, seed)
