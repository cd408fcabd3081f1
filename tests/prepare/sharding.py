"""A small dataset to be packed into shards, and how."""

import shutil

import polars as pl

from lookalike.cli import main
from lookalike.data.table import Table, read_table, write_table

SPLITS = {"red triangle": "train", "green square": "train", "blue hexagon": "val", "orange circle": "test"}


def make_dataset(root, shapes_folder):
    """Four classes of four images, one of them as two boxes, with columns of all kinds and pairs."""
    for label in SPLITS:
        (root / "photos" / label).mkdir(parents=True)
        for number in range(4):
            shutil.copy(shapes_folder / label / f"{number}.png", root / "photos" / label)
    rows = [(f"{label}/{number}.png", label, split) for label, split in SPLITS.items() for number in range(4)]
    rows.insert(7, rows[3])
    frame = pl.DataFrame(rows, schema=["path", "label", "split"], orient="row").with_columns(
        x1=pl.Series([0 if row in (3, 7) else None for row in range(17)], dtype=pl.Int32),
        y1=pl.Series([0 if row in (3, 7) else None for row in range(17)], dtype=pl.Int32),
        x2=pl.Series([{3: 20, 7: 40}.get(row) for row in range(17)], dtype=pl.Int32),
        y2=pl.Series([20 if row in (3, 7) else None for row in range(17)], dtype=pl.Int32),
        group=pl.Series([f"g{row % 3}" for row in range(17)]),
        number=pl.Series([2**60 + row for row in range(17)]),
        share=pl.Series([row / 7 for row in range(17)]),
    )
    out = root / "data" / "mine"
    write_table(Table(frame, root / "photos"), out, {"made": "here"})
    table = read_table(out)
    pairs = pl.DataFrame({"path_a": table.frame["path"][:3], "path_b": table.frame["path"][10:13]})
    pairs.with_columns(same=pl.Series([0, 0, 0])).write_csv(out / "pairs.csv")
    pairs.with_columns(remark=pl.lit("x")).write_csv(out / "different.csv")
    return out


def pack(dataset, out, *more):
    words = [f"dataset={dataset}", f"out={out}", "progress=false", "threads=3", *more]
    return main.main(["prepare", "shards", *words])
