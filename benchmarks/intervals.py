"""Whether 95 % intervals contain the truth in 95 of 100 draws, and equal models are seldom told apart.

python benchmarks/intervals.py [draws=300] [identities=60] [dim=16] [noise=0.8] [largest=8] [rows=0] [seed=0]

Identities are drawn anew for every draw: centres that are more or less alike, and 2 to `largest` images that
lie more or less close to them. The truth is the mean over all draws. With `rows=150` the intervals of
verification come from a sample of so many images, as those of more than 8,192 do. For the second question two
models see the same images of the same identities, each with noise of its own. One thread, about 2 s a draw.
"""

import sys
from collections import defaultdict

import numpy as np
import polars as pl
import torch

from _common import show
from lookalike.evaluation import pair_blocks
from lookalike.evaluation.evaluate import Evaluation, evaluate
from lookalike.evaluation.protocols.retrieval import QueryGallery
from lookalike.metrics.clustering import clustering
from lookalike.metrics.neighbours import dir_at, global_average_precision, hubness
from lookalike.metrics.paired_tests import paired_differences
from lookalike.metrics.selection import DEFAULT
from lookalike.metrics.space import alignment, effective_rank, uniformity
from lookalike.metrics.verification import eer
from lookalike.metrics.verification_at_threshold import fnmr_at

DEFAULTS = {"draws": 300, "identities": 60, "dim": 16, "noise": 0.8, "largest": 8, "rows": 0, "seed": 0}
CLOSED = {
    **DEFAULT,
    "clustering": clustering,
    "eer": eer,
    "fnmr_at_far": fnmr_at,
    "effective_rank": effective_rank,
    "alignment": alignment,
    "uniformity": uniformity,
    "hubness": hubness,
}
OPEN = {"gap": global_average_precision, "dir_at_far": dir_at}


def evaluate_twice(vectors: np.ndarray, labels: np.ndarray) -> list[Evaluation]:
    """All images among all; and all against the first image of every second identity."""
    first = np.append(True, labels[1:] != labels[:-1])
    role = np.where(first & (labels % 2 == 0), "gallery", "query")
    closed = evaluate(vectors, labels, metrics=CLOSED, far=[0.1, 0.01])
    rules, frame = QueryGallery(), pl.DataFrame({"role": role})
    return [closed, evaluate(vectors, labels, metrics=OPEN, far=[0.1], protocol=rules, frame=frame)]


def random_models(
    seed: int, identities: int, dim: int, noise: float, largest: int = 8
) -> tuple[list[np.ndarray], np.ndarray]:
    """The vectors of two models that are as good, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), rng.integers(2, largest + 1, identities))
    centres = rng.normal(size=(identities, dim))
    spread = noise * rng.uniform(0.5, 1.5, identities)[labels, None]
    models = []
    for _ in range(2):
        own = centres + 0.3 * rng.normal(size=centres.shape)
        models.append(own[labels] + spread * rng.normal(size=(len(labels), dim)))
    return models, labels


def differ(one: Evaluation, other: Evaluation, metric: str) -> bool:
    """Whether one of two evaluations is called better by a metric of `per_query` or `per_identity`."""
    tables = [
        each.per_query if metric in each.per_query.columns else each.per_identity for each in (one, other)
    ]
    values = np.stack([each[metric].cast(pl.Float64).fill_null(np.nan).to_numpy() for each in tables], axis=1)
    (found,) = paired_differences(values, tables[0]["label"].to_numpy(), n=300)
    return found.verdict != "cannot tell"


def main(arguments: list[str]) -> None:
    """Simulate."""
    options = {**DEFAULTS, **{key: float(value) for key, value in (word.split("=") for word in arguments)}}
    draws, identities, dim, largest, rows = (
        int(options[key]) for key in ("draws", "identities", "dim", "largest", "rows")
    )
    torch.set_num_threads(1)
    if rows:
        pair_blocks.MOST_ROWS = rows
    intervals, named = defaultdict(list), defaultdict(list)
    for seed in range(int(options["seed"]), int(options["seed"]) + draws):
        models, labels = random_models(seed, identities, dim, options["noise"], largest)
        for place, (one, other) in enumerate(
            zip(*(evaluate_twice(each, labels) for each in models), strict=True)
        ):
            wanted = [name for name in one.metrics if not place or name.startswith(("gap", "dir@"))]
            for name in wanted:
                value = one.metrics[name]
                if "low" in value:
                    intervals[name].append((value["value"], value["low"], value["high"]))
            for name in {*one.per_query.columns, *one.per_identity.columns} & set(wanted):
                named[name].append(differ(one, other, name))
    lines = []
    for name, each in intervals.items():
        values, low, high = np.array(each).T
        inside = (low <= values.mean()) & (values.mean() <= high)
        width = (high - low).mean() / 2 / 1.96
        called = f"{100 * np.mean(named[name]):.1f}" if name in named else ""
        lines.append(
            [
                name,
                f"{values.mean():.4f}",
                f"{values.std():.4f}",
                f"{width:.4f}",
                f"{100 * inside.mean():.1f}",
                called,
            ]
        )
    columns = ["", "mean", "standard deviation", "of intervals", "intervals with the truth, %"]
    said = ", ".join(f"{key}={value:g}" for key, value in options.items())
    show(said, [*columns, "equal models told apart, %"], lines)
    told = 100 * np.array([np.mean(each) for each in named.values()])
    covered = np.array([float(line[4]) for line in lines])
    error = 100 * (0.05 * 0.95 / draws) ** 0.5
    for what, each in (("intervals with the truth", covered), ("equal models told apart", told)):
        print(f"\n{what}: {each.min():.1f} to {each.max():.1f} %, in the mean {each.mean():.1f}", end="")
    print(f"; standard error of 5 % of so many draws: {error:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
