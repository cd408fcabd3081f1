"""Draw the sample that comes with the package from the full emoji set.

    python benchmarks/get_emoji.py data/emoji
    LOOKALIKE_DATA=data python benchmarks/make_sample.py src/lookalike/sample/emoji    # 30 seconds

Writes `<emoji name>/<style>.png`, 64×64, for 300 emoji in the styles whose licences ask for credit alone
(../credits gives it). The same set gives the same files.
"""

import argparse
import csv
import hashlib
import io
import os
import re
import shutil
import unicodedata
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 64
STYLES = ("emojione", "fluent-emoji-flat", "fxemoji", "noto", "noto-v1", "twemoji")
QUOTAS = {
    "Animals & Nature": 75,
    "Food & Drink": 68,
    "Objects": 68,
    "Travel & Places": 36,
    "Smileys & Emotion": 26,
    "Activities": 23,
    "Flags": 4,
}
DULL = {"time", "mail", "book-paper", "money", "sky & weather"}  # sets of near twins, such as 24 clock faces
LONGEST_NAME = 30
MEAN_ERROR, LARGEST_ERROR = (
    0.3,
    24,
)  # of 255: what 256 colours may cost; drawings that lose more keep them all


def folder_name(name: str) -> str:
    """`Rescue Worker’s Helmet` -> `rescue-workers-helmet`."""
    plain = unicodedata.normalize("NFKD", name.replace("’", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def read_classes(source: Path) -> dict[str, list[dict[str, str]]]:
    """Rows of the usable styles by label, for emoji that fit the sample."""
    classes = defaultdict(list)
    with (source / "table.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["style"] in STYLES and row["subgroup"] not in DULL and len(row["name"]) <= LONGEST_NAME:
                classes[row["label"]].append(row)
    return classes


def choose(classes: dict[str, list[dict[str, str]]]) -> dict[str, list[dict[str, str]]]:
    """Folder name -> rows: in each group the emoji with most styles, equals in an order without meaning."""
    ranked = sorted(
        classes, key=lambda label: (-len(classes[label]), hashlib.sha1(label.encode()).hexdigest())
    )
    chosen, left = {}, dict(QUOTAS)
    for label in ranked:
        rows = classes[label]
        group, name = rows[0]["group_name"], folder_name(rows[0]["name"])
        if left.get(group) and name not in chosen:
            chosen[name] = rows
            left[group] -= 1
    return chosen


def png(image: Image.Image) -> bytes:
    """The smaller PNG of two: with a palette where 256 colours are as good as all."""
    palette = image.quantize(256, kmeans=3, dither=Image.Dither.NONE)
    error = np.abs(np.asarray(palette.convert("RGB"), int) - np.asarray(image, int))
    near = error.mean() <= MEAN_ERROR and error.max() <= LARGEST_ERROR
    files = []
    for version in (image, palette) if near else (image,):
        version.save(buffer := io.BytesIO(), "PNG", optimize=True)
        files.append(buffer.getvalue())
    return min(files, key=len)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the sample's folder; its class folders are replaced")
    out = parser.parse_args().out
    data = os.environ.get("LOOKALIKE_DATA")
    if not data or not (Path(data) / "emoji" / "table.csv").exists():
        raise SystemExit(
            "LOOKALIKE_DATA must name a folder that holds emoji/table.csv (get_emoji.py makes it)"
        )
    chosen = choose(read_classes(Path(data) / "emoji"))
    for folder in {file.parent for file in out.glob("*/*.png")}:
        shutil.rmtree(folder)
    total = 0
    for name, rows in chosen.items():
        (out / name).mkdir(parents=True)
        for row in rows:
            with Image.open(Path(data) / "emoji" / row["path"]) as drawing:
                small = drawing.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
            total += (out / name / f"{row['style']}.png").write_bytes(png(small))
    images = sum(map(len, chosen.values()))
    print(f"{len(chosen)} classes, {images} images, {total / 1e6:.2f} MB in {out}")


if __name__ == "__main__":
    main()
