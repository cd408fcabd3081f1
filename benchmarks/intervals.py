"""Whether 95 % intervals contain the truth in 95 of 100 draws, and equal models are seldom told apart.

python benchmarks/intervals.py [draws=100] [identities=60] [dim=16] [noise=0.8]

Identities are drawn anew for every draw: centres that are more or less alike, and images that lie more or
less close to them. The truth is the mean over all draws. For the second question two models see the same
images of the same identities, each with noise of its own.
"""

import sys
from collections import defaultdict

import numpy as np
import polars as pl

from _common import show
from lookalike.evaluation import Evaluation, evaluate
from lookalike.metrics.chosen import DEFAULT
from lookalike.metrics.clustering import clustering
from lookalike.metrics.decision import fnmr_at
from lookalike.metrics.neighbours import dir_at, global_average_precision, hubness
from lookalike.metrics.paired import paired_differences
from lookalike.metrics.space import alignment, effective_rank, uniformity
from lookalike.metrics.verification import eer
from lookalike.protocols.retrieval import QueryGallery

DEFAULTS = {"draws": 100, "identities": 60, "dim": 16, "noise": 0.8}
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


def judged(vectors: np.ndarray, labels: np.ndarray) -> list[Evaluation]:
    """All images among all; and all against the first image of every second identity."""
    first = np.append(True, labels[1:] != labels[:-1])
    role = np.where(first & (labels % 2 == 0), "gallery", "query")
    closed = evaluate(vectors, labels, metrics=CLOSED, far=[0.1, 0.01])
    rules, frame = QueryGallery(), pl.DataFrame({"role": role})
    return [closed, evaluate(vectors, labels, metrics=OPEN, far=[0.1], protocol=rules, frame=frame)]


def drawn(seed: int, identities: int, dim: int, noise: float) -> tuple[list[np.ndarray], np.ndarray]:
    """The vectors of two models that are as good, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), rng.integers(2, 9, identities))
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
    intervals, named = defaultdict(list), defaultdict(list)
    for seed in range(int(options["draws"])):
        models, labels = drawn(seed, int(options["identities"]), int(options["dim"]), options["noise"])
        for place, (one, other) in enumerate(zip(*(judged(each, labels) for each in models), strict=True)):
            wanted = [name for name in one.metrics if not place or name.startswith(("gap", "dir@"))]
            for name in wanted:
                value = one.metrics[name]
                if "low" in value:
                    intervals[name].append((value["value"], value["low"], value["high"]))
            for name in {*one.per_query.columns, *one.per_identity.columns} & set(wanted):
                named[name].append(differ(one, other, name))
    rows = []
    for name, each in intervals.items():
        values, low, high = np.array(each).T
        inside = (low <= values.mean()) & (values.mean() <= high)
        called = f"{100 * np.mean(named[name]):.0f}" if name in named else ""
        rows.append(
            [name, f"{values.mean():.4f}", f"{values.std():.4f}", f"{100 * inside.mean():.0f}", called]
        )
    columns = ["", "mean", "standard deviation", "intervals with the truth, %", "equal models told apart, %"]
    show(f"{options['draws']:g} draws of {options['identities']:g} identities", columns, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
