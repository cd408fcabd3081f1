"""The picture of the README: queries of the demo and their nearest neighbours, right and wrong ones.

python benchmarks/make_picture.py demo docs/search.jpg
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl

from lookalike.data.images import open_image
from lookalike.embeddings import Embeddings
from lookalike.plots.neighbours import gallery

HITS = 6


def main(demo: Path, out: Path, seed: int = 3, queries: int = 5) -> None:
    """Draw random queries of different classes, not chosen by how well they do."""
    evaluation = demo / "evaluation"
    rows = pl.read_parquet(evaluation / "per_query.parquet")
    table = Embeddings.load(evaluation / "embeddings").table
    order = np.random.default_rng(seed).permutation(len(rows))
    chosen = rows[order.tolist()].unique("label", keep="first", maintain_order=True)[:queries]
    lines = []
    for query in chosen.iter_rows(named=True):
        found = zip(query["neighbours"][:HITS], query["scores"][:HITS], strict=True)
        hits = [
            (open_image(table.file(row)), rows["label"][row], score, rows["label"][row] == query["label"])
            for row, score in found
        ]
        lines.append((open_image(table.file(query["row"])), hits))
    gallery(lines, chosen["label"].to_list(), side=104).save(out, quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
