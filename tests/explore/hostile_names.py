"""A dataset whose labels and paths try to break out of the page."""

from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from lookalike.data.table import Table, write_table

HOSTILE = '<script>document.title="hit"</script>'
LABELS = [
    "cat",
    "dog",
    HOSTILE,
    '"><img src=x onerror=document.title="hit">',
    "한국 &amp; fox",
    "</script><b>wolf",
]
NAMES = ["a b#1.png", "per%20cent?.png", "quote'\".png", "<img src=x onerror=alert(1)>.png"]


def make_dataset(folder: Path) -> Table:
    """Six classes of four 24 px pictures, in a dataset folder beside them; names that bite."""
    (folder / "photos").mkdir(parents=True)
    rows = []
    for number, label in enumerate(LABELS):
        (folder / "photos" / str(number)).mkdir()
        for name in NAMES:
            path = folder / "photos" / str(number) / name
            hue = 40 * number + NAMES.index(name) * 4
            Image.new("HSV", (24, 18 + number), (hue, 220, 200)).convert("RGB").save(path)
            rows.append((f"{number}/{name}", label, "test", float(number), f"camera {number % 2} {HOSTILE}"))
    names = ["path", "label", "split", "weight", "camera"]
    table = Table(pl.DataFrame(rows, schema=names, orient="row"), folder / "photos")
    write_table(table, folder / "data", {"made_by": "a test"})
    return Table(pl.read_parquet(folder / "data" / "table.parquet"), folder / "data")


def make_vectors(count: int = len(LABELS) * len(NAMES), each: int = len(NAMES)) -> np.ndarray:
    """Unit vectors around a random centre of each class."""
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.normal(size=(count // each, 8)), each, axis=0) + 0.1 * rng.normal(size=(count, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
