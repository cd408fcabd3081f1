"""Build the emoji set of the benchmarks from public packages: 1,906 emoji, each drawn by two to eight teams.

    python benchmarks/get_emoji.py data/emoji          # a minute, 39 MB from npm; needs npm, lookalike[bench]

Writes `images/<code points>/<style>.png` (96×96, on white) and `table.csv` with path, label, split, style,
group_name, subgroup and name. Half of the emoji are for training, half for testing: which half an emoji is in
depends on its code points alone.

The drawings stay under their authors' licences: noto, noto-v1 (Google) and fxemoji (Mozilla) Apache-2.0;
twemoji (Twitter and others) and emojione (Emoji One) CC-BY-4.0; openmoji (OpenMoji) and emojione-v1
(Emoji One) CC-BY-SA-4.0; fluent-emoji-flat (Microsoft) MIT.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SIZE = 96
STYLES = {
    "emojione": "1.2.3",
    "emojione-v1": "1.2.3",
    "fluent-emoji-flat": "1.2.6",
    "fxemoji": "1.2.2",
    "noto": "1.2.9",
    "noto-v1": "1.2.5",
    "openmoji": "1.2.29",
    "twemoji": "1.2.5",
}
CLASSES = "emoji-datasource@16.0.0"
COLUMNS = ("path", "label", "split", "style", "group_name", "subgroup", "name")
VARIATION = "fe0f"  # "show as picture": sets disagree on writing it, so it is no part of a class


@dataclass(frozen=True)
class Icon:
    """One drawing: SVG content, its view box, and whether it is shown mirrored."""

    body: str
    left: float
    top: float
    width: float
    height: float
    mirrored: bool

    def svg(self) -> str:
        """A whole SVG document."""
        body = self.body
        if self.mirrored:
            body = f'<g transform="translate({2 * self.left + self.width} 0) scale(-1 1)">{body}</g>'
        box = f"{self.left} {self.top} {self.width} {self.height}"
        spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        return f'<svg {spaces} viewBox="{box}">{body}</svg>'


class IconSet:
    """One style: its icons, more names for them, and (in half of the styles) the code points they show."""

    def __init__(self, icons: dict, chars: dict[str, str]):
        self.icons, self.aliases = icons["icons"], icons.get("aliases", {})
        self.defaults = {key: icons[key] for key in ("left", "top", "width", "height") if key in icons}
        self.chars = {}
        for points, name in chars.items():
            self.chars.setdefault(code_points(points), name)
        self.names = {name.replace("-", ""): name for name in (*self.aliases, *self.icons)}

    def find(self, label: str, names: list[str]) -> Icon | None:
        """The drawing of a class: by its code points where the set lists them, else by exact name."""
        if self.chars:
            return self.icon(self.chars[label]) if label in self.chars else None
        for name in names:
            name = self.names.get(name.replace("-", ""))  # fxemoji writes most names in one word
            if name is not None:
                return self.icon(name)
        return None

    def icon(self, name: str) -> Icon:
        """The drawing under a name, following other names to the one that holds it."""
        changes: dict = {}
        while name not in self.icons:
            alias = self.aliases[name]
            changes, name = {**alias, **changes}, alias["parent"]
        found = {"left": 0, "top": 0, **self.defaults, **self.icons[name], **changes}
        box = (found["left"], found["top"], found["width"], found["height"])
        return Icon(found["body"], *box, mirrored=bool(found.get("hFlip")))


def code_points(text: str) -> str:
    """`0023-FE0F-20E3` -> `23-20e3`."""
    parts = (part.lower().lstrip("0") for part in text.split("-"))
    return "-".join(part for part in parts if part != VARIATION)


def split_of(label: str) -> str:
    """Fixed for ever: the last bit of a hash of the code points."""
    return "train" if hashlib.sha1(label.encode()).digest()[-1] & 1 else "test"


def fetch(package: str, folder: Path, wanted: tuple[str, ...]) -> list:
    """The parsed JSON files `wanted` of an npm package, fetched the way this machine's npm is set up."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("get_emoji.py needs npm on the PATH: it fetches the drawings as npm packages")
    done = subprocess.run(
        [npm, "pack", "--silent", package], cwd=folder, check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"npm could not fetch {package} (exit code {done.returncode})")
    with tarfile.open(folder / done.stdout.split()[-1]) as archive:
        return [json.load(archive.extractfile(f"package/{name}")) for name in wanted]


def load_classes(folder: Path) -> list[dict[str, str]]:
    """Label, split, group, subgroup and name of every emoji but the skin tones, in the order of labels."""
    (emoji,) = fetch(CLASSES, folder, ("emoji.json",))
    rows = []
    for entry in emoji:
        if entry["category"] == "Component":
            continue
        label = code_points(entry["unified"])
        rows.append(
            {
                "label": label,
                "split": split_of(label),
                "group_name": entry["category"],
                "subgroup": entry["subcategory"],
                "name": entry["name"].lower(),
            }
        )
    return sorted(rows, key=lambda row: row["label"])


def load_sets(folder: Path) -> dict[str, IconSet]:
    """Every style, by name."""
    files = ("icons.json", "chars.json")
    return {
        style: IconSet(*fetch(f"@iconify-json/{style}@{version}", folder, files))
        for style, version in STYLES.items()
    }


def join(classes: list[dict[str, str]], sets: dict[str, IconSet]) -> Iterator[tuple[dict[str, str], Icon]]:
    """Rows of the table with their drawing.

    Sets that do not list code points are joined by the names that other sets use, the most used one first.
    """
    for row in classes:
        label = row["label"]
        names = Counter(icons.chars[label] for icons in sets.values() if label in icons.chars)
        found = {
            style: icons.find(label, [name for name, _ in names.most_common()])
            for style, icons in sets.items()
        }
        for style, icon in found.items():
            if icon is not None:
                yield {"path": f"images/{label}/{style}.png", **row, "style": style}, icon


def draw(job: tuple[str, str]) -> None:
    """Render one SVG on white into a PNG file; the few that are not square are stretched."""
    import resvg_py

    path, svg = job
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, skip_system_fonts=True)
    drawn = Image.open(io.BytesIO(bytes(png))).convert("RGBA").resize((SIZE, SIZE))
    white = Image.new("RGBA", drawn.size, "white")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.alpha_composite(white, drawn).convert("RGB").save(path)


def build(out: Path) -> int:
    """Write the whole set into the new folder `out`; returns the number of images."""
    with tempfile.TemporaryDirectory() as packages:
        classes, sets = load_classes(Path(packages)), load_sets(Path(packages))
    rows = list(join(classes, sets))
    with ProcessPoolExecutor() as pool:
        jobs = [(str(out / row["path"]), icon.svg()) for row, icon in rows]
        for count, _ in enumerate(pool.map(draw, jobs, chunksize=64), 1):
            if count % 1000 == 0:
                print(f"{count} of {len(jobs)} drawn", file=sys.stderr)
    with (out / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(row for row, _ in rows)
    return len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder to write; must not exist")
    out = parser.parse_args().out
    if out.exists():
        raise SystemExit(f"{out} exists already: name a new folder")
    part = out.with_name(f"{out.name}.part{os.getpid()}")
    try:
        count = build(part)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"{count} images", file=sys.stderr)
    print(out)


if __name__ == "__main__":
    main()
