"""A small dataset with planted errors, and vectors of its images."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "prepare" / "duplicates"))

from planted_copies import alter, scene

from lookalike.data.table import read_table
from lookalike.embeddings import Embeddings

CLASSES, IMAGES, DIM = 24, 6, 32


def make_dataset(folder):
    """A table with near-duplicates, a leak, wrong labels and a duplicate identity; and what was planted."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((CLASSES, DIM))
    rows, vectors = [], []

    def add(name, image, label, split, identity):
        file = folder / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)
        rows.append((f"photos/{name}", label, split))
        vector = centres[identity] + 0.35 * generator.standard_normal(DIM)
        vectors.append(vector / np.linalg.norm(vector))
        return f"photos/{name}"

    images = {}
    for identity in range(CLASSES):
        split = "test" if identity >= 18 else "train"
        for number in range(IMAGES):
            image = scene(100 * identity + number, (64, 48))
            label = f"c{identity:02}"
            if identity == 3 and number >= 3:
                label = "c03 again"
            if (identity, number) in ((5, 0), (7, 1)):
                label = "c09"
            path = add(f"{identity:02}/{number}.png", image, label, split, identity)
            images[identity, number] = path, image
    copies = [
        (
            images[one][0],
            add(
                f"{one[0]:02}/copy{number}.jpg",
                alter(images[one][1], 3 + number),
                f"c{one[0]:02}",
                "train",
                one[0],
            ),
        )
        for number, one in enumerate([(1, 0), (2, 4), (4, 5)])
    ]
    leak = images[6, 2][0], add("20/leak.png", alter(images[6, 2][1], 9), "c20", "test", 6)
    frame = pl.DataFrame(rows, schema=["path", "label", "split"], orient="row")
    frame.write_parquet(folder / "table.parquet")
    (folder / "config.yaml").write_text("job: prepare\n")
    table = read_table(folder)
    embeddings = Embeddings(np.array(vectors, np.float32), table, "planted")
    return table, embeddings, {"copies": copies, "leak": leak}


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("planted"))
